"""AIDO.DNA-300M and AIDO.DNA-7B ("DNA FM 7B"): a token per base, published for a package of its own.

Quirks: the repositories hold weights and a config.json, but neither model code nor tokenizer; the default sizes
of the architecture are those of no published model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from dnatune.backbones.generic import TokenizerTokens
from dnatune.backbones.modeling_rnabert import RNABertConfig
from dnatune.backbones.native import NativeBackbone

# The order is that of the published vocab.txt.
VOCABULARY = (
    *("[PAD]", "[MASK]", "[CLS]", "[SEP]", "[UNK]"),
    *"AGCTUN",
    *("[BOS]", "[EOS]", "[UNUSED1]", "[UNUSED2]", "[UNUSED3]"),
)


def letter_tokenizer(context: int) -> Any:
    """Return a ``PreTrainedTokenizerFast`` with the published ids: [CLS], one token per base, [SEP].

    Upper-case letters only; a run of anything else is one [UNK], as in the published tokenizer.
    """
    from tokenizers import Tokenizer, models, processors
    from transformers import PreTrainedTokenizerFast

    ids = {token: i for i, token in enumerate(VOCABULARY)}
    # Byte pairs without a single merge are letters, and found faster than by a pattern.
    tokenizer = Tokenizer(models.BPE(ids, [], unk_token="[UNK]", fuse_unk=True))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, ids[name]) for name in ("[CLS]", "[SEP]")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        mask_token="[MASK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        model_max_length=context,
        padding_side="right",
        model_input_names=["input_ids", "attention_mask"],
    )


class LetterTokens(TokenizerTokens):
    """Encoder that looks the letters of cleaned sequences up in an array: the tokenizer's ids, many times faster."""

    def __init__(self, tokenizer: Any, vocabulary_size: int, context: int, source: str) -> None:
        super().__init__(tokenizer, vocabulary_size, context, source)
        self._ids = np.full(256, tokenizer.unk_token_id, dtype=np.int32)
        for letter in "ACGTN":
            self._ids[ord(letter)] = tokenizer.convert_tokens_to_ids(letter)

    def encode(self, sequences: Sequence[str], frame: int) -> list[np.ndarray]:
        """Return the ids of each cleaned sequence from base ``frame`` on, without special tokens."""
        return [self._ids[np.frombuffer(sequence.encode("ascii"), np.uint8)[frame:]] for sequence in sequences]


class AidoDna(NativeBackbone):
    """Entry of the ``rnabert`` checkpoints, from the hub or a folder."""

    config_class = RNABertConfig
    targets = ("query", "value")  # the authors' own choice

    @property
    def context(self) -> int:
        """Longest input in tokens, [CLS] and [SEP] included."""
        return self.config.max_position_embeddings

    @cached_property
    def tokenizer(self) -> Any:
        """The published tokenizer, written out here because no repository holds it."""
        return letter_tokenizer(self.context)

    def encoder(self) -> LetterTokens:
        """Return the tokenizer as an encoder; every id is checked against the embedding table."""
        return LetterTokens(self.tokenizer, self.config.vocab_size, self.context, self.source)

    def saved_tokenizer(self) -> Any:
        """Return the tokenizer."""
        return self.tokenizer
