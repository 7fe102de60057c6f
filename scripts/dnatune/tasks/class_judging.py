"""Judging classes: metrics over all classes, probabilities calibrated, the most probable names of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dnatune import calibration, rejection
from dnatune.evaluation import Evaluation, evaluate_fold
from dnatune.scores import Scores
from dnatune.tasks.base import EvaluationSettings, Judging


class ClassJudging(Judging):
    """See the module."""

    def evaluate(
        self, scores: Scores, names: Sequence[str], model: str, fold: int, settings: EvaluationSettings
    ) -> Evaluation:
        """Return multiclass metrics, reliability and precision-recall curves, and confusions."""
        return evaluate_fold(scores, names, model, fold, self.task, settings)

    def calibrate(
        self, validation: Scores, settings: EvaluationSettings, held_out: Scores | None = None
    ) -> dict[str, Any]:
        """Fit temperature, Platt or isotonic calibration, then the threshold of what is rejected as unknown."""
        fitted = calibration.fit(
            settings.calibration,
            validation.logits,
            validation.label,
            settings.seed,
            settings.cv_folds,
            validation.group,
        )
        p = calibration.apply(fitted, validation.logits)
        strange = None
        if held_out is not None and len(held_out.id):
            strange = rejection.rejection_scores(calibration.apply(fitted, held_out.logits), held_out.evidence)
        fitted["rejection"] = rejection.fit(validation, p, settings.rejection, settings.false_alarm, strange)
        return fitted

    def calibrated(self, calibrator: dict[str, Any], scores: np.ndarray) -> np.ndarray:
        """Return probabilities (n, classes)."""
        return calibration.apply(calibrator, scores)

    def known_or_not(
        self, predicted: np.ndarray, evidence: np.ndarray | None, calibrator: dict[str, Any]
    ) -> pd.DataFrame:
        """Return rejection_score and known."""
        return rejection.columns(predicted, evidence, calibrator.get("rejection"))

    def predictions(
        self, predicted: np.ndarray, lengths: np.ndarray, names: Sequence[str], calibrator: dict[str, Any], top_k: int
    ) -> pd.DataFrame:
        """Return label, probability and the top k."""
        k = min(top_k, len(names))
        best = np.argsort(-predicted, axis=1, kind="stable")[:, :k]
        values = np.take_along_axis(predicted, best, axis=1)
        listed = [
            "; ".join(f"{names[c]} ({p:.4f})" for c, p in zip(line, ps, strict=True))
            for line, ps in zip(best, values, strict=True)
        ]
        return pd.DataFrame(
            {"label": [names[c] for c in best[:, 0]], "probability": values[:, 0], f"top_{top_k}": listed}
        )
