"""Probabilities that mean what they say at every rank, and stay one tree: fitted on validation.

Takes calibrated probabilities of labels (n, labels) and a ``Taxonomy``; gives a dictionary for the calibrator's key
``ranks``, and probabilities of labels whose sums are calibrated at every rank.

The probability of a label is a product of steps: of its family, of its genus within that family, of the label within
that genus. Each step gets a temperature (Guo et al. 2017, eq. 9) of its own, over the taxa of one parent. Since the log
loss of a rank is the sum of the losses of the steps down to it, the best temperature of each step makes every rank
better that contains it; and whatever the temperatures are, the result is a distribution over labels, so its sums add up
to one at each rank and never fall on the way up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dnatune import calibration
from dnatune.scores import row_blocks
from dnatune.taxonomy import Taxonomy

TINY = np.finfo(np.float64).tiny


def fit(
    taxonomy: Taxonomy, probabilities: np.ndarray, labels: np.ndarray, threshold: float, adjust: bool = True
) -> dict[str, Any]:
    """Return the tree, the ``threshold`` of names and a temperature for the step down to each rank.

    ``probabilities`` (n, labels) and ``labels`` (n,) of validation records. Without ``adjust``, and with fewer than two
    records, all temperatures are 1: plain sums.
    """
    enough = adjust and len(labels) >= 2
    temperatures = step_temperatures(taxonomy, probabilities, labels) if enough else [1.0] * len(taxonomy.ranks)
    return {**taxonomy.to_json(), "threshold": threshold, "temperatures": temperatures, "records": len(labels)}


def step_temperatures(taxonomy: Taxonomy, probabilities: np.ndarray, labels: np.ndarray) -> list[float]:
    """Return a temperature for the step down to each rank, from probabilities (n, labels) and labels (n,)."""
    found = []
    for rank, p in enumerate(taxonomy.roll_up(probabilities)):
        truth = taxonomy.of_label[rank][labels]
        if rank < len(taxonomy.parents):
            found.append(calibration.best_temperature(_step_loss(taxonomy, rank, p, truth), len(labels)))
        else:
            logits = np.log(np.maximum(p, TINY)).astype(np.float32)
            found.append(calibration.METHODS["temperature"].fit(logits, truth)["temperature"])
    return found


def _step_loss(taxonomy: Taxonomy, rank: int, p: np.ndarray, truth: np.ndarray) -> Callable[[np.float32], float]:
    """Return what gives the mean log loss (nats) of the step from the true parent down to ``truth`` (n,) of ``rank``.

    Only the parent's members are in the choice, a few of thousands of taxa: their logits stand one record after the
    other, in place of a table (n, taxa). The argument is what the logits are multiplied by.
    """
    order, starts = taxonomy.members(rank)
    above = taxonomy.parents[rank][truth]
    counts = np.diff([*starts, len(order)])[above]
    begins = np.cumsum(counts) - counts
    rows = np.repeat(np.arange(len(truth)), counts)
    members = order[np.arange(counts.sum()) - np.repeat(begins - starts[above], counts)]
    logits = np.log(np.maximum(p[rows, members], TINY)).astype(np.float32)
    own = np.log(np.maximum(p[np.arange(len(truth)), truth], TINY)).astype(np.float32)

    def loss(scale: np.float32) -> float:
        scaled = (logits * scale).astype(np.float64)
        highest = np.maximum.reduceat(scaled, begins)
        total = np.add.reduceat(np.exp(scaled - np.repeat(highest, counts)), begins)
        return float(np.mean(highest + np.log(total) - (own * scale).astype(np.float64)))

    return loss


def apply(fitted: dict[str, Any], probabilities: np.ndarray) -> np.ndarray:
    """Return the adjusted probabilities of labels (n, labels); rows add up to 1. Written over ``probabilities``."""
    if all(temperature == 1 for temperature in fitted["temperatures"]):
        return probabilities
    return tempered(Taxonomy.from_json(fitted), fitted["temperatures"], probabilities)


def tempered(taxonomy: Taxonomy, temperatures: list[float], probabilities: np.ndarray) -> np.ndarray:
    """Return probabilities of labels (n, labels) with a temperature for each step. Written over ``probabilities``."""
    for rows in row_blocks(probabilities.shape):
        probabilities[rows] = _tempered(taxonomy, temperatures, probabilities[rows])
    return probabilities


def _tempered(taxonomy: Taxonomy, temperatures: list[float], probabilities: np.ndarray) -> np.ndarray:
    scores = [
        np.log(np.maximum(p, TINY)) / temperature
        for p, temperature in zip(taxonomy.roll_up(probabilities), temperatures, strict=True)
    ]
    top = scores[-1] - scores[-1].max(axis=1, keepdims=True)
    logp = top - np.log(np.exp(top).sum(axis=1, keepdims=True))
    for rank in range(len(taxonomy.parents) - 1, -1, -1):
        parent = taxonomy.parents[rank]
        step = scores[rank] - taxonomy.over_members(np.maximum, scores[rank], rank)[:, parent]
        step -= np.log(taxonomy.over_members(np.add, np.exp(step), rank))[:, parent]
        logp = logp[:, parent] + step
    p = np.exp(logp)
    return p / p.sum(axis=1, keepdims=True)
