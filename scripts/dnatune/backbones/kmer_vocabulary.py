"""Models with the Nucleotide Transformer's tokenizer on another architecture: plant-dnabert and plant-dnagpt.

Their k-mer and single-base variants (6mer, ..., singlebase) have its vocab.txt and EsmTokenizer, which is slow and
knows no reading frames. Their BPE variants need nothing special (see generic).
"""

from __future__ import annotations

from functools import cached_property

from dnatune.backbones.generic import GenericBackbone
from dnatune.backbones.kmer_tokenizer import KmerTokens, is_kmer_vocabulary


class KmerVocabulary(GenericBackbone):
    """Entry of any architecture with a vocab.txt of special tokens, k-mers and single bases, or single bases alone."""

    @cached_property
    def tokens(self) -> list[str]:
        """The lines of the checkpoint's vocab.txt, or nothing if it has none."""
        path = self.file("vocab.txt")
        return path.read_text("utf-8").split() if path else []

    @cached_property
    def k(self) -> int:
        """Bases per token, or 0 if the vocabulary is another."""
        k = max((len(token) for token in self.tokens if set(token) <= set("ACGT")), default=0)
        if k == 1:
            start = self.tokens.index("A") if "A" in self.tokens else 0
            return int(self.tokens[start : start + 5] == list("ATCGN"))
        return k if k and is_kmer_vocabulary(self.tokens, k) else 0

    def serves(self) -> bool:
        """Say whether the checkpoint has such a vocabulary."""
        return {"<cls>", "<pad>"} < set(self.tokens) and self.k > 0

    def encoder(self) -> KmerTokens:
        """Return the array replacement of EsmTokenizer, with the special tokens that the checkpoint's own adds.

        Raises UserError if an id lies outside the embedding table.
        """
        own = super().encoder()
        encoder = KmerTokens(self.tokens, self.k, own.context)
        encoder.prefix, encoder.suffix, encoder.pad_id = own.prefix, own.suffix, own.pad_id
        return encoder
