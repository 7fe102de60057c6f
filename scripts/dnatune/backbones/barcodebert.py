"""BarcodeBERT: a BERT on the k-mers of DNA barcodes, side by side, without [CLS] and [SEP].

Quirks: its tokenizer is code of its own, so it is made here; a k-mer with an N is [UNK]; padding is [UNK] too, with
attention mask 0, as is what is left of the last k-mer. The authors shift the frame at random in training, which is
what our reading frames do. Source: KmerTokenizer in bioscan-ml/BarcodeBERT, barcodebert/datasets.py.
"""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import Any

from transformers import PreTrainedModel

from dnatune.backbones.generic import GenericBackbone, TokenizerTokens
from dnatune.errors import UserError

SPECIAL_TOKENS = ["[MASK]", "[UNK]"]
BASES_READ = 660  # sequences are cut there: later positions were never trained
# Vocabularies of plain k-mers, and those in which k-mers with an N have ids of their own, behind the plain ones.
K_OF_SIZE = {len(SPECIAL_TOKENS) + letters**k: k for letters in (4, 5) for k in range(3, 9)}


class BarcodeBert(GenericBackbone):
    """Entry of BarcodeBERT, for any k."""

    @property
    def k(self) -> int:
        """Bases per token."""
        return K_OF_SIZE[self.config.vocab_size]

    @property
    def context(self) -> int:
        """Longest input in tokens."""
        return BASES_READ // self.k

    def serves(self) -> bool:
        """Say whether the checkpoint is a BERT with as many tokens as BarcodeBERT and no tokenizer in plain files."""
        fits = self.config.model_type == "bert" and self.config.vocab_size in K_OF_SIZE
        return fits and not self.file("tokenizer.json") and not self.file("vocab.txt")

    @cached_property
    def tokenizer(self) -> Any:
        """BarcodeBERT's tokenizer in Rust."""
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        kmers = ["".join(p) for p in itertools.product("ACGT", repeat=self.k)]
        if self.config.vocab_size > len(SPECIAL_TOKENS) + len(kmers):
            kmers += ["".join(p) for p in itertools.product("ACGTN", repeat=self.k) if "N" in p]
        ids = {token: i for i, token in enumerate(SPECIAL_TOKENS + kmers)}
        tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
        # What is shorter than a k-mer at the end is no token.
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(f".{{{self.k}}}"), "removed", invert=True)
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            unk_token="[UNK]",
            pad_token="[UNK]",
            mask_token="[MASK]",
            padding_side="right",
            model_input_names=["input_ids", "attention_mask"],
        )

    def encoder(self) -> TokenizerTokens:
        """Return the tokenizer as an encoder with k reading frames."""
        encoder = super().encoder()
        encoder.frames = self.k
        return encoder

    def model(
        self, labels: dict[str, int], pooling: str, head_dropout: float, head: dict[str, Any] | None = None
    ) -> PreTrainedModel:
        """Return the model. Raises UserError for a pooling that needs the [CLS] token it does not have."""
        if pooling in ("cls", "architecture"):
            raise UserError(f"BarcodeBERT ({self.source}) has no [CLS] token for pooling: {pooling}; use mean.")
        return super().model(labels, pooling, head_dropout, head)
