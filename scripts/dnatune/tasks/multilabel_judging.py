"""Judging many labels: calibrated and given from thresholds, both fitted on the validation part alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from dnatune.comparison import METRIC_COLUMNS
from dnatune.evaluation import Evaluation
from dnatune.metrics import RECALL_GRID, reliability
from dnatune.multilabel_calibration import apply_labels, fit_labels
from dnatune.multilabel_metrics import evaluate_labels, rank_labels, thresholds_of
from dnatune.scores import Scores
from dnatune.tasks.base import EvaluationSettings, Judging
from dnatune.tasks.multilabel_labels import rarest_label


class MultilabelJudging(Judging):
    """See the module."""

    def evaluate(
        self, scores: Scores, names: Sequence[str], model: str, fold: int, settings: EvaluationSettings
    ) -> Evaluation:
        """Return figures of all labels and of each, reliability of all decisions and precision-recall curves.

        Raw probabilities have thresholds of their own; those of the validation rows are fitted on the same records,
        so its F1 is flattered.
        """
        validation, test = scores.part("validation"), scores.part("test")
        calibrator = self._calibrated_for(names, validation, settings)
        p = expit(validation.logits.astype(np.float64))
        raw = thresholds_of(self.options["threshold"], p, validation.label)
        # Ranked by log-odds: where they are in the hundreds (naive Bayes), their probabilities are all 0 or 1.
        ranking = rank_labels(validation.logits, validation.label)
        table = evaluate_labels(p, validation.label, raw, names, per_label=False, ranking=ranking)
        tables = [table.assign(split="validation", stage="raw")]
        curves: dict[str, np.ndarray] = {"pr_recall": RECALL_GRID}
        for stage in ("raw", "calibrated"):
            p = expit(test.logits.astype(np.float64)) if stage == "raw" else self.calibrated(calibrator, test.logits)
            thresholds = raw if stage == "raw" else np.array(calibrator["thresholds"])
            ranking = rank_labels(test.logits if stage == "raw" else p, test.label)
            table = evaluate_labels(p, test.label, thresholds, names, ranking=ranking)
            tables.append(table.assign(split="test", stage=stage))
            curves[f"reliability_{stage}"] = reliability(p.ravel(), test.label.ravel() > 0)
            curves[f"pr_precision_{stage}"] = ranking.precision
        metrics = pd.concat(tables, ignore_index=True).assign(model=model, fold=fold)[METRIC_COLUMNS]
        return Evaluation(calibrator, metrics, curves)

    def calibrate(
        self, validation: Scores, settings: EvaluationSettings, held_out: Scores | None = None
    ) -> dict[str, Any]:
        """Fit calibration and thresholds; the thresholds stand in the calibrator, one for each label."""
        return self._calibrated_for([f"label {i}" for i in range(validation.logits.shape[1])], validation, settings)

    def _calibrated_for(self, names: Sequence[str], validation: Scores, settings: EvaluationSettings) -> dict[str, Any]:
        calibrator = fit_labels(
            settings.calibration,
            validation.logits,
            validation.label,
            rarest_label(validation.label),
            list(names),
            settings.seed,
            settings.cv_folds,
            validation.group,
        )
        p = self.calibrated(calibrator, validation.logits)
        thresholds = thresholds_of(self.options["threshold"], p, validation.label)
        return {**calibrator, "thresholds": thresholds.tolist()}

    def calibrated(self, calibrator: dict[str, Any], scores: np.ndarray) -> np.ndarray:
        """Return probabilities (n, labels); those of a record need not add up to 1."""
        return apply_labels(calibrator, scores)

    def predictions(
        self, predicted: np.ndarray, lengths: np.ndarray, names: Sequence[str], calibrator: dict[str, Any], top_k: int
    ) -> pd.DataFrame:
        """Return the labels given, joined by the separator, how many, their probabilities, and the top k of all."""
        given = predicted >= np.array(calibrator["thresholds"])
        k = min(top_k, len(names))
        best = np.argsort(-predicted, axis=1, kind="stable")
        rows = []
        for order, mine, p in zip(best, given, predicted, strict=True):
            chosen = order[mine[order]]
            rows.append(
                (
                    self.options["separator"].join(names[i] for i in chosen),
                    len(chosen),
                    _listed(chosen, names, p),
                    _listed(order[:k], names, p),
                )
            )
        return pd.DataFrame(rows, columns=["labels", "count", "probabilities", f"top_{top_k}"])


def _listed(chosen: np.ndarray, names: Sequence[str], p: np.ndarray) -> str:
    return "; ".join(f"{names[i]} ({p[i]:.4f})" for i in chosen)
