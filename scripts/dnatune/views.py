"""Views: the ways in which one sequence may be read, by strand and reading-frame offset.

In: a model's ``tokens`` section and the number of reading frames of its tokenizer. Out: the views that training
draws from, and those whose probabilities are averaged at prediction.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

FORWARD, REVERSE = 0, 1
_COMPLEMENT = str.maketrans("ACGT", "TGCA")


class View(NamedTuple):
    """One way to read a sequence: the strand, then the bases that are left out at its start."""

    strand: int
    frame: int


FIRST = View(FORWARD, 0)


def reverse_complement(sequence: str) -> str:
    """Return the other strand of a cleaned sequence (A, C, G, T, N), read from its own start."""
    return sequence.translate(_COMPLEMENT)[::-1]


def all_views(frames: int, strands: int = 1) -> tuple[View, ...]:
    """Return the views of the first ``frames`` offsets on one strand or both, in order."""
    return tuple(itertools.starmap(View, itertools.product(range(strands), range(frames))))


def training_views(tokens: dict[str, Any], frames: int) -> tuple[View, ...]:
    """Return the views that training draws from. All frames unless they are switched off (null is on)."""
    return all_views(frames if tokens["random_frame"] is not False else 1, 2 if _random_strand(tokens) else 1)


def prediction_views(tokens: dict[str, Any], frames: int) -> tuple[View, ...]:
    """Return the views that prediction averages over. Strands follow training unless they are named."""
    both = tokens.get("average_strands")
    both = _random_strand(tokens) if both is None else both
    return all_views(frames if tokens["average_frames"] is not False else 1, 2 if both else 1)


def needed_views(tokens: dict[str, Any], frames: int) -> tuple[View, ...]:
    """Return the views that training or prediction needs, sorted; FIRST is always one of them."""
    return tuple(sorted({*training_views(tokens, frames), *prediction_views(tokens, frames)}))


def _random_strand(tokens: dict[str, Any]) -> bool:
    return tokens.get("random_strand", False)  # models saved before there were strands do not have the key
