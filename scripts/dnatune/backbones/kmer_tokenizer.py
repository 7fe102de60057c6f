"""The k-mer tokenizer of the Nucleotide Transformer, fast and exact: as arrays for bulk, in Rust for saved models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dnatune.kmer_encoding import KmerEncoder, vocabulary


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
        self._kmers = KmerEncoder(k, ids["A" * k], ids["A"])

    def encode(self, sequences: Sequence[str], frame: int) -> list[np.ndarray]:
        """Return the ids of each cleaned sequence from base ``frame`` on, without special tokens."""
        return [self._kmers.encode(sequence, frame) for sequence in sequences]


def is_kmer_vocabulary(tokens: list[str], k: int) -> bool:
    """Say whether the list holds all k-mers in A T C G order followed by A T C G N."""
    plain = vocabulary(k, ())
    start = tokens.index("A" * k) if "A" * k in tokens else -1
    return start > 0 and tokens[start : start + len(plain)] == plain


def rust_tokenizer(tokens: list[str], k: int, context: int) -> Any:
    """Return a ``PreTrainedTokenizerFast`` with the ids of ``EsmTokenizer`` (eos switched off).

    ``isolated`` keeps what the pattern does not match as its own piece, which becomes one <unk> as there.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(f"[ACGT]{{{k}}}|[ACGTN]"), "isolated")
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
