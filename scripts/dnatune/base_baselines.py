"""The classical opponents where each base has a label: the commonest label, and what the bases around a base say.

Like ``baselines``, each takes sequences with targets per base (``PerBase``) and gives logits (bases of all, classes).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dnatune.baselines import METHODS as OF_SEQUENCES
from dnatune.baselines import Logits, Method, softmax_regression
from dnatune.per_base import PerBase

LETTERS = "ACGT"
UNKNOWN, OUTSIDE = 4, 5
_CODE_OF_BYTE = np.full(256, UNKNOWN, dtype=np.uint8)
for _code, _letter in enumerate(LETTERS):
    _CODE_OF_BYTE[ord(_letter)] = _code
# What lies outside of the sequence has a column of its own; an N has none.
ONE_HOT = np.zeros((6, 5), dtype=np.float32)
ONE_HOT[[0, 1, 2, 3, OUTSIDE], range(5)] = 1
TRIPLETS = 64
OCTAVES = 40
BLOCK = 50_000


def majority(
    train: Sequence[str], labels: PerBase, query: Sequence[str], classes: int, settings: Mapping[str, Any], *rest: Any
) -> Logits:
    """Every base gets the label frequencies of the training bases, with one base added to each label."""
    bases = range(sum(map(len, query)))
    return OF_SEQUENCES["majority"].logits(train, labels.values, bases, classes, settings, *rest)


def context_logistic_regression(
    train: Sequence[str],
    labels: PerBase,
    query: Sequence[str],
    classes: int,
    settings: Mapping[str, Any],
    seed: int,
    *_: Any,
) -> Logits:
    """Softmax regression on the bases around each base (see ``context``), trained on a sample of the bases."""
    total = len(labels.values)
    size = min(total, int(settings["train_bases"]))
    chosen = np.sort(np.random.default_rng([seed, 5]).choice(total, size, replace=False))
    cuts = np.searchsorted(chosen, np.append(labels.starts, total))
    table = np.concatenate(
        [
            context(sequence, chosen[low:high] - first, settings)
            for sequence, first, low, high in zip(train, labels.starts, cuts[:-1], cuts[1:], strict=True)
            if high > low
        ]
    )
    answer = softmax_regression(table, labels.values[chosen], classes, settings, seed)
    return np.concatenate([answer(block) for block in _blocks(query, settings)])


def _blocks(sequences: Sequence[str], settings: Mapping[str, Any]) -> Iterator[np.ndarray]:
    for sequence in sequences:
        for start in range(0, len(sequence), BLOCK):
            yield context(sequence, np.arange(start, min(start + BLOCK, len(sequence))), settings)


def context(sequence: str, positions: np.ndarray, settings: Mapping[str, Any]) -> np.ndarray:
    """Return what stands around some bases of a sequence, (positions, features) float32.

    One-hot A, C, G, T and outside of the sequence for the base and ``flank`` bases on each side; one-hot the distance
    to both ends of the sequence in half octaves, because a language model knows it too; then how frequent each of the
    64 triplets is that begin within ``composition`` bases: its share times 64, minus 1.
    """
    flank, reach = int(settings["flank"]), int(settings["composition"])
    codes = _CODE_OF_BYTE[np.frombuffer(sequence.encode("ascii"), np.uint8)]
    low, high = int(positions[0]), int(positions[-1])
    padded = np.pad(codes, flank, constant_values=OUTSIDE)[low : high + 2 * flank + 1]
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * flank + 1)[positions - low]
    ends = [np.floor(2 * np.log2(distance + 1)) for distance in (positions, len(codes) - 1 - positions)]
    octaves = [np.minimum(end, OCTAVES - 1)[:, None] == np.arange(OCTAVES) for end in ends]
    near = np.hstack([ONE_HOT[around].reshape(len(positions), -1), *octaves]).astype(np.float32)
    if not reach or len(codes) < 3:
        return np.hstack([near, np.zeros((len(positions), TRIPLETS if reach else 0), np.float32)])
    first = max(0, low - reach)
    piece = codes[first : high + reach + 3].astype(np.int64)
    triplet = 16 * piece[:-2] + 4 * piece[1:-1] + piece[2:]
    whole = (piece[:-2] < 4) & (piece[1:-1] < 4) & (piece[2:] < 4)
    seen = np.zeros((len(triplet) + 1, TRIPLETS), dtype=np.float32)
    seen[1:][whole, triplet[whole]] = 1
    np.cumsum(seen, axis=0, out=seen)
    last = np.clip(positions + reach + 1 - first, 0, len(triplet))
    counts = seen[last] - seen[np.clip(positions - reach - first, 0, len(triplet))]
    total = counts.sum(axis=1, keepdims=True)
    return np.hstack([near, np.where(total > 0, counts * TRIPLETS / np.maximum(total, 1) - 1, 0)]).astype(np.float32)


# Flank, composition, sample and epochs were chosen on the validation part of 500 training genes of Arabidopsis with
# four labels (outside, UTR, CDS, intron), by macro F1.
METHODS: dict[str, Method] = {
    "majority": Method(majority, "sequence", {}),
    "context_logistic_regression": Method(
        context_logistic_regression,
        "sequence",
        {
            "flank": 50,
            "composition": 100,
            "train_bases": 100_000,
            "learning_rate": 0.01,
            "l2": 1e-6,
            "epochs": 10,
            "batch_size": 200,
        },
    ),
}
