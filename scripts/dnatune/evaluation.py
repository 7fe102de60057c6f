"""One fold of one model, judged: raw and calibrated metrics, curves and confusions from its scores.

Takes ``Scores``; calibrates on the validation part; gives what the rule writes. Test records are used for
nothing but the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from dnatune import prediction_sets
from dnatune.comparison import METRIC_COLUMNS
from dnatune.final_answer import Judged
from dnatune.metrics import (
    RECALL_GRID,
    confusions,
    evaluate,
    outcomes,
    rank_classes,
    reliability,
    top_choices,
)
from dnatune.rank_metrics import known_figures, mistakes, rank_figures, unknown_figures
from dnatune.rejection_figures import evaluate_rejection
from dnatune.scores import Scores, probabilities
from dnatune.tasks.base import EvaluationSettings, Task
from dnatune.unknown_kinds import HELD_OUT


@dataclass
class Evaluation:
    """``calibrator`` for calibration.json, the metrics, ``curves`` as arrays and other ``tables`` by name."""

    calibrator: dict[str, Any]
    metrics: pd.DataFrame
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)


def evaluate_fold(
    scores: Scores,
    class_names: Sequence[str],
    model: str,
    fold: int,
    task: Task,
    settings: EvaluationSettings,
) -> Evaluation:
    """Calibrate on validation, then evaluate test raw and calibrated, and validation raw.

    Calibrated validation figures would be those of records that the calibrator was fitted on, so there are
    none. Per-class rows are given for test only. With ranks there are also their figures (``rank_metrics``). What is
    named or rejected is what the final answers say of calibrated test and unknown records. ``curves`` holds, for test,
    reliability_raw and reliability_calibrated (15, 3: count, mean confidence, accuracy), pr_recall (m,),
    pr_precision_raw and pr_precision_calibrated (interpolated precision, averaged over present classes), for one name
    per sequence tested_id, _group, _label, _predicted, _top, _log_loss and _brier (n,) of the calibrated test records,
    and where the calibrator has sets of names set_size (n,) and set_asked, their coverage.
    """
    validation, test = scores.part("validation"), scores.part("test")
    calibrator = task.judging.calibrate(validation, settings, scores.of_kind(HELD_OUT))
    top_k = settings.top_k
    tables = []
    if len(validation.label):
        p = probabilities(validation.logits)
        raw = evaluate(p, validation.label, class_names, top_k, per_class=False)
        raw = pd.concat([raw, rank_figures(p, validation.label, settings)])
        del p
        tables.append(raw.assign(split="validation", stage="raw"))
    curves: dict[str, np.ndarray] = {"pr_recall": RECALL_GRID}
    p = None
    # One stage at a time: only one float64 table of the test part is in memory.
    for stage in ("raw", "calibrated"):
        del p
        p = probabilities(test.logits) if stage == "raw" else task.judging.calibrated(calibrator, test.logits)
        ranking = rank_classes(p, test.label)
        table = evaluate(p, test.label, class_names, top_k, ranking=ranking)
        table = pd.concat([table, rank_figures(p, test.label, settings)])
        tables.append(table.assign(split="test", stage=stage))
        predicted, top = top_choices(p)
        curves[f"reliability_{stage}"] = reliability(top, predicted == test.label)
        curves[f"pr_precision_{stage}"] = ranking.precision
        if stage == "calibrated" and test.counts is None:
            own = {"id": np.asarray(test.id, np.str_), "group": test.group, **outcomes(p, test.label)}
            curves |= {f"tested_{name}": values for name, values in own.items()}
        if stage == "calibrated" and calibrator.get("sets", {}).get("shared") is not None:
            table, curves["set_size"] = prediction_sets.judge(
                calibrator["sets"], p, test.label, test.group, settings.trained
            )
            curves["set_asked"] = np.array(settings.set_coverage)
            tables.append(table.assign(split="test", stage=stage))
    unknown = scores.part("unknown")
    known = Judged.of(test, p, calibrator)
    others = Judged.of(unknown, task.judging.calibrated(calibrator, unknown.logits), calibrator)
    tables.append(known_figures(known, settings).assign(split="test", stage="calibrated"))
    tables.append(unknown_figures(others, settings))
    rows, more = evaluate_rejection(known, others, calibrator.get("rejection"), settings.left_out)
    tables.append(rows)
    curves |= more
    metrics = pd.concat(tables, ignore_index=True).assign(model=model, fold=fold)[METRIC_COLUMNS]
    found = {
        "confusions": confusions(predicted, test.label, class_names),
        "rank_mistakes": mistakes(predicted, test.label, settings.taxonomy),
    }
    return Evaluation(calibrator, metrics, curves, found)
