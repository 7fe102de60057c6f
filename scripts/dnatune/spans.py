"""Which bases a token stands for: the number of bases per token id, and a check that they add up.

In: the strings of a vocabulary. Out: widths by token id, from which ``TokenTable.spans`` finds the bases of each token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dnatune.errors import UserError

if TYPE_CHECKING:
    from dnatune.tokens import Encoder


def token_widths(
    strings: Iterable[tuple[str, int]], size: int, special: Iterable[int], unknown: int | None
) -> np.ndarray:
    """Return the bases (size,) int16 that each id stands for: 1 for the unknown token, 0 for special tokens.

    ``strings`` are pairs of token and id. Marks that a tokenizer adds to its tokens ("##", "Ġ") are no bases.
    """
    widths = np.zeros(size, dtype=np.int16)
    for token, i in strings:
        widths[i] = sum(letter in "ACGTN" for letter in token.upper())
    widths[list(special)] = 0
    if unknown is not None:
        widths[unknown] = 1
    return widths


def token_starts(start: int, widths: np.ndarray) -> np.ndarray:
    """Return the first base (tokens,) of each token, counted from the start of the sequence."""
    return start + np.cumsum(widths, dtype=np.int64) - widths


def check_spans(encoder: Encoder, sequences: Sequence[str], source: str) -> None:
    """Raise UserError if the tokens of a sequence do not stand for all of its bases.

    For tasks that say something about each base. Some tokenizers read several unknown letters as one token.
    """
    for sequence, ids in zip(sequences, encoder.encode(sequences, 0), strict=True):
        found = int(encoder.widths[ids].sum())
        if found != len(sequence):
            raise UserError(
                f"The tokenizer of {source} reads {len(sequence)} bases as tokens of {found} bases (sequence "
                f"{sequence[:20]}...); for a task per base expected one that keeps every base, such as "
                "builtin:nt-mini with overlapping: true."
            )
