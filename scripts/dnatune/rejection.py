"""Rejection: which sequences belong to none of the classes a model knows, by a score and a threshold.

In: scores with evidence, calibrated probabilities. Out: the part ``rejection`` of a calibrator (score, threshold),
fitted on validation records alone, and the answer for each new sequence. Higher scores look less like what is known:

- probability: 1 - the calibrated probability of the best guess (Hendrycks & Gimpel 2017);
- energy: -logsumexp of the logits (Liu et al. 2020, eq. 4, temperature 1);
- distance: the cosine distance of the pooled vector to the nearest training sequence of the predicted class;
- nearest: the same to the nearest training sequence of any class (Sun et al. 2022, k = 1).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from dnatune.conformal import half_width, values_needed
from dnatune.scores import EVIDENCE, Scores

LOGGER = logging.getLogger("dnatune")
# In a tie, and where nothing can choose, the first is taken: distances did best on real barcodes (docs/benchmarks.md).
SCORES = ("distance", "nearest", "energy", "probability")

Named = dict[str, np.ndarray]


def rejection_scores(p: np.ndarray, evidence: np.ndarray | None) -> Named:
    """Return each score (n,) that there is; ``p`` calibrated probabilities (n, classes), ``evidence`` (n, 4)."""
    found = {"probability": 1 - p.max(axis=1) if len(p) else np.empty(0)}
    if evidence is not None:
        columns = dict(zip(EVIDENCE, evidence.astype(np.float64).T, strict=True))
        columns["energy"] = -columns["energy"]
        found |= {name: columns[name] for name in SCORES if name in columns}
    return {name: found[name] for name in SCORES if name in found and np.isfinite(found[name]).all()}


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """Return the chance that an unknown record has a higher score than a known one, ties half; NaN without either."""
    if not len(known) or not len(unknown):
        return float("nan")
    ranks = rankdata(np.concatenate([known, unknown]))[len(known) :]
    return float((ranks.sum() - len(unknown) * (len(unknown) + 1) / 2) / (len(known) * len(unknown)))


def threshold(known: np.ndarray, false_alarm: float) -> float:
    """Return the score above which a record is rejected: of new known records at most ``false_alarm`` are, on average.

    The k-th smallest of the scores (n,), k = ceil((n + 1) (1 - false_alarm)), as in ``conformal``; the highest where
    there are too few to promise that.
    """
    found = half_width(known, 1 - false_alarm)
    return float(known.max()) if found is None else found


def fit(
    validation: Scores, best: np.ndarray, score: str, false_alarm: float, held_out: Named | None = None
) -> dict[str, Any]:
    """Choose a score and its threshold on ``validation`` records.

    ``best`` (n,) are the calibrated probabilities of their best guesses, by a calibration that was fitted without the
    record (``calibration.held_out``): one fitted on it is surer of it than of new ones, and the threshold would be too
    strict for them.

    ``score`` auto takes the one that best tells validation records from the ``held_out`` ones, whose rejection scores
    are given; without such, the first of ``SCORES`` that there is. The threshold is that of validation records alone.
    Without any there is none, and nothing is rejected.

    Validation records with their own class struck out of logits and training sequences are no stand-in for an unknown
    species: measured on 107 annelids they chose the energy (AUROC 0.98 against them) where it did worst on species that
    were not trained (0.81; distances 0.97).
    """
    known = rejection_scores(best[:, None], validation.evidence)
    power = {name: auroc(known[name], held_out[name]) for name in known if len(best) and name in (held_out or {})}
    usual = next(iter(known), "probability")
    chosen = max(power, key=power.__getitem__, default=usual) if score == "auto" else score
    notes = []
    if chosen not in known:
        notes.append(f"this model has no score '{chosen}', so probability was used")
        chosen = "probability"
    if 0 < len(best) < values_needed(1 - false_alarm):
        notes.append(
            f"{len(best)} validation records are too few for {false_alarm:.0%} false alarms "
            f"({values_needed(1 - false_alarm)} needed); the threshold is the highest of their scores"
        )
    found: dict[str, Any] = {"score": chosen, "asked": score, "false_alarm": false_alarm, "records": len(best)}
    found["thresholds"] = {name: threshold(known[name], false_alarm) for name in known} if len(best) else {}
    found["power"] = power
    if notes:
        found["note"] = "; ".join(notes)
        LOGGER.warning("Rejection: %s.", found["note"])
    return found


def columns(p: np.ndarray, evidence: np.ndarray | None, fitted: dict[str, Any] | None) -> pd.DataFrame:
    """Return the columns of a prediction table: rejection_score and known (yes or no); none where nothing is fitted.

    ``p`` calibrated probabilities (n, classes), ``evidence`` (n, 4), ``fitted`` what ``fit`` gave.
    """
    score = _judged(p, evidence, fitted)
    if score is None:
        return pd.DataFrame(index=range(len(p)))
    known = np.where(score > fitted["thresholds"][fitted["score"]], "no", "yes")
    return pd.DataFrame({"rejection_score": score, "known": known})


def is_rejected(p: np.ndarray, evidence: np.ndarray | None, fitted: Mapping[str, Any] | None) -> np.ndarray:
    """Return which records (n,) lie above the threshold, none where nothing is fitted; arguments as of ``columns``."""
    score = _judged(p, evidence, fitted)
    return np.zeros(len(p), bool) if score is None else score > fitted["thresholds"][fitted["score"]]


def _judged(p: np.ndarray, evidence: np.ndarray | None, fitted: Mapping[str, Any] | None) -> np.ndarray | None:
    """Return the chosen rejection score (n,), None where it or its threshold is not there."""
    if not fitted or fitted["score"] not in fitted["thresholds"]:
        return None
    return rejection_scores(p, evidence).get(fitted["score"])
