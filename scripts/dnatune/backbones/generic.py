"""Any checkpoint that transformers' Auto classes load: a hub id or a folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from dnatune.backbones.base import Backbone, first_sentence
from dnatune.errors import UserError
from dnatune.spans import token_widths

PROBE = "ACGTACGTTGCAACGTAGCTAGCT"
NO_LIMIT = 1_000_000  # tokenizers without a length of their own say 10**30


class TokenizerTokens:
    """Encoder (see ``dnatune.tokens.Encoder``) around a transformers tokenizer."""

    frames = 1

    def __init__(self, tokenizer: Any, vocabulary_size: int, context: int, source: str) -> None:
        self._tokenizer = tokenizer
        self.context = context
        self.vocabulary_size = vocabulary_size
        plain = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
        framed = tokenizer(PROBE)["input_ids"]
        start = next((i for i in range(len(framed)) if framed[i : i + len(plain)] == plain), None)
        if not plain or start is None:
            raise UserError(f"The tokenizer of {source} does not read DNA letters as they are; it cannot be used.")
        self.prefix, self.suffix = framed[:start], framed[start + len(plain) :]
        if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in plain:
            raise UserError(
                f"The tokenizer of {source} does not know the letters A, C, G, T (it reads them as "
                f"{tokenizer.unk_token}); are its tokenizer files beside config.json?"
            )
        highest = max([*framed, tokenizer.pad_token_id, *tokenizer.get_vocab().values()])
        if highest >= vocabulary_size:
            raise UserError(
                f"The tokenizer of {source} gives id {highest}, outside the model's embedding table of "
                f"{vocabulary_size}; tokenizer and model do not belong together."
            )
        self.pad_id = tokenizer.pad_token_id
        special = {*tokenizer.all_special_ids, *self.prefix, *self.suffix, self.pad_id}
        self.widths = token_widths(tokenizer.get_vocab().items(), vocabulary_size, special, tokenizer.unk_token_id)

    def encode(self, sequences: Sequence[str], frame: int) -> list[np.ndarray]:
        """Return the ids of each cleaned sequence from base ``frame`` on, without special tokens."""
        texts = [sequence[frame:] for sequence in sequences]
        encoded = self._tokenizer(texts, add_special_tokens=False, return_attention_mask=False)
        return [np.array(ids, dtype=np.int32) for ids in encoded["input_ids"]]


class GenericBackbone(Backbone):
    """Entry for everything that needs no special care."""

    @cached_property
    def tokenizer(self) -> Any:
        """The checkpoint's own tokenizer. Raises UserError if it cannot be loaded or cannot pad."""
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.source, **self.options)
        except (OSError, ValueError, KeyError) as reason:
            raise UserError(f"The tokenizer of {self.source} cannot be loaded: {first_sentence(reason)}") from reason
        if tokenizer.pad_token_id is None:
            raise UserError(
                f"The tokenizer of {self.source} has no padding token; set pad_token in its tokenizer_config.json."
            )
        tokenizer.model_max_length = NO_LIMIT  # windows are cut here, so its warning about length is noise
        return tokenizer

    @property
    def context(self) -> int:
        """Longest input in tokens: the smallest limit that tokenizer and configuration name."""
        limits = [getattr(self.config, name, None) for name in ("max_position_embeddings", "n_positions")]
        named = AutoTokenizer.from_pretrained(self.source, **self.options).model_max_length
        offset = 2 if self.config.model_type in ("roberta", "esm") else 0
        return min([limit - offset for limit in limits if limit] + [named if named < NO_LIMIT else NO_LIMIT])

    def encoder(self) -> TokenizerTokens:
        """Return the tokenizer as an encoder; every id is checked against the embedding table."""
        return TokenizerTokens(self.tokenizer, self.config.vocab_size, self.context, self.source)

    def saved_tokenizer(self) -> Any:
        """Return the checkpoint's tokenizer."""
        self.tokenizer.model_max_length = self.context
        return self.tokenizer
