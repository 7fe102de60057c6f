"""One fold of one model, judged: raw and calibrated metrics, curves and confusions from its scores.

Takes ``Scores``; calibrates on the validation part; gives what the rule writes. Test records are used for
nothing but the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dnatune import calibration
from dnatune.comparison import METRIC_COLUMNS
from dnatune.metrics import (
    RECALL_GRID,
    confusions,
    evaluate,
    rank_classes,
    reliability,
    top_choices,
)
from dnatune.scores import Scores, probabilities


@dataclass(frozen=True)
class Evaluation:
    """``calibrator`` for calibration.json, two tables, and the ``curves`` as arrays by name."""

    calibrator: calibration.Calibrator
    metrics: pd.DataFrame
    curves: dict[str, np.ndarray]
    confusions: pd.DataFrame


def evaluate_fold(
    scores: Scores,
    class_names: Sequence[str],
    model: str,
    fold: int,
    calibration_method: str = "auto",
    calibration_folds: int = 5,
    top_k: int = 5,
    seed: int = 0,
) -> Evaluation:
    """Calibrate on validation, then evaluate test raw and calibrated, and validation raw.

    Calibrated validation figures would be those of records that the calibrator was fitted on, so there are
    none. Per-class rows are given for test only. ``curves`` holds, for test, reliability_raw and
    reliability_calibrated (15, 3: count, mean confidence, accuracy), pr_recall (m,), pr_precision_raw and
    pr_precision_calibrated (interpolated precision, averaged over present classes).
    """
    validation, test = scores.part("validation"), scores.part("test")
    calibrator = calibration.fit(
        calibration_method, validation.logits, validation.label, seed, calibration_folds, validation.group
    )
    tables = []
    if len(validation.label):
        p = probabilities(validation.logits)
        raw = evaluate(p, validation.label, class_names, top_k, per_class=False)
        del p
        tables.append(raw.assign(split="validation", stage="raw"))
    curves: dict[str, np.ndarray] = {"pr_recall": RECALL_GRID}
    # One stage at a time: only one float64 table of the test part is in memory.
    for stage in ("raw", "calibrated"):
        p = probabilities(test.logits) if stage == "raw" else calibration.apply(calibrator, test.logits)
        ranking = rank_classes(p, test.label)
        table = evaluate(p, test.label, class_names, top_k, ranking=ranking)
        tables.append(table.assign(split="test", stage=stage))
        predicted, top = top_choices(p)
        curves[f"reliability_{stage}"] = reliability(top, predicted == test.label)
        curves[f"pr_precision_{stage}"] = ranking.precision
        del p
    metrics = pd.concat(tables, ignore_index=True).assign(model=model, fold=fold)[METRIC_COLUMNS]
    return Evaluation(calibrator, metrics, curves, confusions(predicted, test.label, class_names))
