"""Tokenizers of k-mers and of single bases, fast and exact: as arrays for bulk, in Rust for saved models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dnatune.kmer_encoding import BASES, SPECIAL_TOKENS, KmerEncoder, base_ids, vocabulary
from dnatune.spans import token_widths

BASE_VOCABULARY = [*SPECIAL_TOKENS, *BASES, "N"]


class KmerTokens:
    """Encoder (see ``dnatune.tokens.Encoder``) for a vocabulary of special tokens, k-mers, A T C G N."""

    def __init__(self, tokens: list[str], k: int, context: int) -> None:
        ids = {token: i for i, token in enumerate(tokens)}
        self.prefix = [ids["<cls>"]]
        self.suffix: list[int] = []
        self.pad_id = ids["<pad>"]
        self.vocabulary_size = len(tokens)
        self.frames = k
        self.context = context
        self.widths = token_widths(ids.items(), len(ids), (ids[token] for token in SPECIAL_TOKENS), ids["<unk>"])
        self._kmers = KmerEncoder(k, ids["A" * k], ids["A"])

    def encode(self, sequences: Sequence[str], frame: int) -> list[np.ndarray]:
        """Return the ids of each cleaned sequence from base ``frame`` on, without special tokens."""
        return [self._kmers.encode(sequence, frame) for sequence in sequences]


class BaseTokens:
    """Encoder (see ``dnatune.tokens.Encoder``) with one token per base; every frame is the same but for its start."""

    def __init__(self, context: int) -> None:
        ids = {token: i for i, token in enumerate(BASE_VOCABULARY)}
        self.prefix = [ids["<cls>"]]
        self.suffix: list[int] = []
        self.pad_id = ids["<pad>"]
        self.vocabulary_size = len(ids)
        self.frames = 1
        self.context = context
        self.widths = token_widths(ids.items(), len(ids), range(len(SPECIAL_TOKENS)), ids["<unk>"])

    def encode(self, sequences: Sequence[str], frame: int) -> list[np.ndarray]:
        """Return the ids of each cleaned sequence from base ``frame`` on, without special tokens."""
        return [base_ids(sequence, len(SPECIAL_TOKENS))[frame:] for sequence in sequences]


def array_encoder(tokens: list[str], context: int) -> KmerTokens | BaseTokens | None:
    """Return the encoder for a vocabulary of this module (tokens in the order of their ids), or None."""
    if tokens == BASE_VOCABULARY:
        return BaseTokens(context)
    k = max((len(token) for token in tokens if set(token) == {"A"}), default=0)
    return KmerTokens(tokens, k, context) if k > 1 and is_kmer_vocabulary(tokens, k) else None


def is_kmer_vocabulary(tokens: list[str], k: int) -> bool:
    """Say whether the list holds all k-mers in A T C G order followed by A T C G N."""
    plain = vocabulary(k, ())
    start = tokens.index("A" * k) if "A" * k in tokens else -1
    return start > 0 and tokens[start : start + len(plain)] == plain


def rust_tokenizer(tokens: list[str], k: int, context: int) -> Any:
    """Return a ``PreTrainedTokenizerFast`` with the ids of ``EsmTokenizer`` (eos switched off).

    ``isolated`` keeps what the pattern does not match as its own piece, which becomes one <unk> as there.
    """
    return _rust_tokenizer(tokens, f"[ACGT]{{{k}}}|[ACGTN]", context)


def rust_base_tokenizer(context: int) -> Any:
    """Return a ``PreTrainedTokenizerFast`` with one token per letter."""
    return _rust_tokenizer(BASE_VOCABULARY, r"[\s\S]", context)


def _rust_tokenizer(tokens: list[str], pattern: str, context: int) -> Any:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<cls> $A", special_tokens=[("<cls>", ids["<cls>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        cls_token="<cls>",
        model_max_length=context,
        padding_side="right",
        model_input_names=["input_ids", "attention_mask"],
    )
