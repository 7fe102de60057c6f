"""Nucleotide Transformer v1 (500M, 2.5B): ESM architecture, non-overlapping 6-mers, native in transformers.

Quirks: EsmTokenizer adds an <eos> outside the embedding table unless told not to, and is slow; ESM's own GELU
is five operations where torch has one.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.models.esm.modeling_esm import EsmIntermediate
from transformers.utils import cached_file

from dnatune.backbones.base import LORA_TARGETS, Backbone
from dnatune.backbones.kmer_tokenizer import KmerTokens, is_kmer_vocabulary, rust_tokenizer
from dnatune.errors import UserError


class FusedIntermediate(EsmIntermediate):
    """ESM's feed-forward step with torch's fused GELU: the same function (equal to rounding), one pass."""

    def forward(self, hidden_states):
        """Map hidden states (batch, tokens, hidden) to (batch, tokens, intermediate)."""
        return nn.functional.gelu(self.dense(hidden_states))


def fuse_gelu(model: PreTrainedModel) -> PreTrainedModel:
    """Give every ESM feed-forward step the fused GELU; names and weights of the modules stay as they are."""
    for module in model.modules():
        if type(module) is EsmIntermediate:
            module.__class__ = FusedIntermediate
    return model


class EsmBackbone(Backbone):
    """What all ESM models share."""

    def adjust(self, model: PreTrainedModel) -> PreTrainedModel:
        """Use the fused GELU."""
        return fuse_gelu(model)

    def lora_targets(self) -> list[str]:
        """Return ESM's attention layers, also for models of our own around it."""
        return list(LORA_TARGETS["esm"])


class NucleotideTransformer(EsmBackbone):
    """Entry of the Nucleotide Transformer v1 family, from the hub or a folder."""

    k = 6

    @cached_property
    def tokens(self) -> list[str]:
        """The lines of the checkpoint's vocab.txt, or nothing if it has none."""
        folder = Path(self.source)
        path = folder / "vocab.txt" if folder.is_dir() else None
        if path is None:
            found = cached_file(
                self.source,
                "vocab.txt",
                revision=self.options.get("revision"),
                _raise_exceptions_for_missing_entries=False,
            )
            path = Path(found) if found else folder
        return path.read_text("utf-8").split() if path.is_file() else []

    @property
    def context(self) -> int:
        """Longest input in tokens. Two positions of the table are kept free by the padding offset."""
        return self.config.max_position_embeddings - 2

    def serves(self) -> bool:
        """Say whether the checkpoint is an ESM model with the 6-mer vocabulary."""
        return self.config.model_type == "esm" and is_kmer_vocabulary(self.tokens, self.k)

    def encoder(self) -> KmerTokens:
        """Return the exact array replacement of EsmTokenizer. Raises UserError if its ids leave the embedding table."""
        if len(self.tokens) > self.config.vocab_size:
            raise UserError(
                f"The vocabulary of {self.source} has {len(self.tokens)} tokens, outside the embedding table of "
                f"{self.config.vocab_size}; tokenizer and model do not belong together."
            )
        return KmerTokens(self.tokens, self.k, self.context)

    def saved_tokenizer(self) -> Any:
        """Return the exact Rust replacement of EsmTokenizer."""
        return rust_tokenizer(self.tokens, self.k, self.context)
