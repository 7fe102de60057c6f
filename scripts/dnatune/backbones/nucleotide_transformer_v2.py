"""Nucleotide Transformer v2 (50M to 500M): the tokenizer of v1 with two more special tokens, another architecture.

Quirks: its config.json says ``esm``, whose native class has no gate and so other shapes.
"""

from __future__ import annotations

from typing import Any

from dnatune.backbones.kmer_tokenizer import KmerTokens, is_kmer_vocabulary
from dnatune.backbones.modeling_gated_esm import GatedEsmConfig
from dnatune.backbones.native import NativeBackbone
from dnatune.backbones.nucleotide_transformer import NucleotideTransformer
from dnatune.errors import UserError


class NucleotideTransformerV2(NativeBackbone, NucleotideTransformer):
    """Entry of the Nucleotide Transformer v2 family, from the hub or a folder."""

    config_class = GatedEsmConfig
    targets = ("query", "key", "value")

    def is_published(self, settings: dict[str, Any]) -> bool:
        """Say whether the feed-forward step has no bias, which native ESM cannot express."""
        return settings.get("model_type") == "esm" and settings.get("add_bias_fnn") is False

    def encoder(self) -> KmerTokens:
        """Return the 6-mer encoder. Raises UserError for another vocabulary or ids outside the embedding table."""
        if not is_kmer_vocabulary(self.tokens, self.k):
            raise UserError(
                f"The vocab.txt of {self.source} is missing or does not list the 6-mers in the order of the "
                "Nucleotide Transformer; put the published file beside config.json."
            )
        return super().encoder()
