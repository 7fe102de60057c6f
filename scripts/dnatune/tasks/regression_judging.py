"""Judging values: errors and correlations of each output, intervals by conformal inference round the predictions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dnatune.comparison import METRIC_COLUMNS
from dnatune.conformal import half_widths, values_needed
from dnatune.evaluation import Evaluation
from dnatune.regression_metrics import evaluate
from dnatune.scores import Scores
from dnatune.tasks.base import EvaluationSettings, Judging

LOGGER = logging.getLogger("dnatune")
# Coverages that the figure of the intervals asks for.
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


class RegressionJudging(Judging):
    """See the module."""

    def evaluate(
        self, scores: Scores, names: Sequence[str], model: str, fold: int, settings: EvaluationSettings
    ) -> Evaluation:
        """Return metrics of test (calibrated: with intervals) and validation; per output for test only.

        ``curves`` holds, for test, measured and predicted (n, outputs), and coverage (levels, outputs) of the
        intervals that validation gives for ``levels``, and what was ``asked`` of those with ``half_width`` (outputs,).
        """
        validation, test = scores.part("validation"), scores.part("test")
        calibrator = self.calibrate(validation, settings)
        tables = []
        if len(validation.label):
            raw = evaluate(validation.label, validation.logits, names, per_output=False)
            tables.append(raw.assign(split="validation", stage="raw"))
        for stage, widths in (("raw", None), ("calibrated", calibrator["half_width"])):
            tables.append(evaluate(test.label, test.logits, names, widths).assign(split="test", stage=stage))
        curves = {
            "outputs": np.array(names, np.str_),
            "measured": test.label.astype(np.float32),
            "predicted": test.logits.astype(np.float32),
            "asked": np.array(settings.coverage),
            "half_width": np.array(calibrator["half_width"], np.float64),
            "levels": np.array(LEVELS),
            "coverage": np.array([self._coverage(validation, test, names, level) for level in LEVELS]),
        }
        metrics = pd.concat(tables, ignore_index=True).assign(model=model, fold=fold)[METRIC_COLUMNS]
        return Evaluation(calibrator, metrics, curves)

    def _coverage(self, validation: Scores, test: Scores, names: Sequence[str], level: float) -> list[float]:
        widths = half_widths(validation.label, validation.logits, level)
        table = evaluate(test.label, test.logits, names, widths)
        return table[(table["metric"] == "coverage") & (table["class"] != "all")]["value"].tolist()

    def calibrate(
        self, validation: Scores, settings: EvaluationSettings, held_out: Scores | None = None
    ) -> dict[str, Any]:
        """Return the half-width of each output's interval; null where there are too few values for one."""
        outputs = validation.logits.shape[1]
        method = "conformal" if settings.calibration == "auto" else settings.calibration
        values = (~np.isnan(validation.label)).sum(axis=0)
        calibrator: dict[str, Any] = {
            "method": method,
            "asked": settings.calibration,
            "records": len(validation.label),
            "values": values.tolist(),
            "coverage": settings.coverage,
            "half_width": [None] * outputs,
        }
        if method == "conformal":
            calibrator["half_width"] = half_widths(validation.label, validation.logits, settings.coverage)
            needed = values_needed(settings.coverage)
            columns = self.options["columns"]
            few = [f"{name} has {n}" for name, n in zip(columns, values, strict=True) if n < needed]
            if few:
                calibrator["note"] = (
                    f"an interval that holds {settings.coverage:g} of the values needs {needed} validation values, "
                    f"{', '.join(few)}: it has no interval"
                )
                LOGGER.warning("Calibration: %s.", calibrator["note"])
        return calibrator

    def calibrated(self, calibrator: dict[str, Any], scores: np.ndarray) -> np.ndarray:
        """Return the values as they are: calibration gives them an interval and does not move them."""
        return scores.astype(np.float64)

    def predictions(
        self, predicted: np.ndarray, lengths: np.ndarray, names: Sequence[str], calibrator: dict[str, Any], top_k: int
    ) -> pd.DataFrame:
        """Return <output>_value, <output>_low and <output>_high for each output, in its units."""
        columns = {}
        for i, (name, width) in enumerate(zip(names, calibrator["half_width"], strict=True)):
            columns[f"{name}_value"] = predicted[:, i]
            for end, sign in (("low", -1), ("high", 1)):
                columns[f"{name}_{end}"] = predicted[:, i] + sign * (np.nan if width is None else width)
        return pd.DataFrame(columns)
