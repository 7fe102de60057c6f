"""Judging classes: metrics over all classes, probabilities calibrated, the most probable names of a sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from dnatune import calibration, prediction_sets, rank_calibration, rejection
from dnatune.evaluation import Evaluation, evaluate_fold
from dnatune.final_answer import final_answer
from dnatune.rank_predictions import qiime_table, rank_columns
from dnatune.scores import Scores
from dnatune.tasks.base import EvaluationSettings, Judging


def rank_steps(settings: EvaluationSettings) -> Callable[[np.ndarray, np.ndarray], dict[str, Any]] | None:
    """Return what fits the calibration of all ranks to probabilities (n, classes) and labels (n,), if there are any."""
    if settings.taxonomy is None:
        return None
    # An engine has members that are calibrated by rank.
    adjust = settings.calibration not in ("none", "auto_simple")
    return lambda p, labels: rank_calibration.fit(settings.taxonomy, p, labels, settings.rank_threshold, adjust=adjust)


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
        """Fit temperature, Platt or isotonic calibration, that of every rank where there are ranks, the thresholds of
        sets of names, and the threshold of what is rejected as unknown."""
        calibrator = calibration.fit(
            settings.calibration,
            validation.logits,
            validation.label,
            settings.seed,
            settings.cv_folds,
            validation.group,
        )
        steps, then = rank_steps(settings), None
        if steps is not None:
            calibrator["ranks"] = steps(calibration.apply(calibrator, validation.logits), validation.label)

            def then(p: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
                return partial(rank_calibration.apply, steps(p, labels))

        # Thresholds come from probabilities by a calibration that was fitted without the record: on its own records it
        # is surer than on new ones, and would promise too much.
        best = np.zeros(len(validation.label))

        def unseen() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            given = (validation.logits, validation.label, settings.seed, settings.cv_folds, validation.group, then)
            for rows, p in calibration.held_out(calibrator["method"], *given):
                best[rows] = p.max(axis=1)
                yield rows, p

        calibrator["sets"] = prediction_sets.fit(
            unseen(), validation.label, validation.group, settings.set_coverage, settings.allow_empty_sets
        )
        calibrator["rejection"] = self._rejection(calibrator, validation, best, settings, held_out)
        return calibrator

    def _rejection(
        self,
        calibrator: dict[str, Any],
        validation: Scores,
        best: np.ndarray,
        settings: EvaluationSettings,
        held_out: Scores | None,
    ) -> dict[str, Any]:
        strange = None
        if held_out is not None and len(held_out.id):
            strange = rejection.rejection_scores(self.calibrated(calibrator, held_out.logits), held_out.evidence)
        return rejection.fit(validation, best, settings.rejection, settings.false_alarm, strange)

    def calibrated(self, calibrator: dict[str, Any], scores: np.ndarray) -> np.ndarray:
        """Return probabilities (n, classes)."""
        p = calibration.apply(calibrator, scores)
        return rank_calibration.apply(calibrator["ranks"], p) if "ranks" in calibrator else p

    def with_evidence(
        self, table: pd.DataFrame, predicted: np.ndarray, evidence: np.ndarray | None, calibrator: dict[str, Any]
    ) -> pd.DataFrame:
        """Add rejection_score and known; what is not known gets no name at the rank of the labels, and above it the
        taxa of its closest relative."""
        said = rejection.columns(predicted, evidence, calibrator.get("rejection"))
        if "known" in said and "ranks" in calibrator:
            # Of all others ``predictions`` has said it already.
            rows = np.flatnonzero(said["known"] == "no")
            answer = final_answer(calibrator, predicted[rows], evidence if evidence is None else evidence[rows])
            told = rank_columns(calibrator["ranks"], answer, table["label"].iloc[rows].tolist())
            columns = {name: table[name].to_numpy(copy=True) for name in told}
            for name, column in columns.items():
                column[rows] = told[name]
            table = table.assign(**columns)
        return table.join(said)

    def predictions(
        self, predicted: np.ndarray, lengths: np.ndarray, names: Sequence[str], calibrator: dict[str, Any], top_k: int
    ) -> pd.DataFrame:
        """Return label, probability, the top k, the set of names with its size; with ranks also a taxon of each rank
        and the deepest sure one."""
        k = min(top_k, len(names))
        best = np.argsort(-predicted, axis=1, kind="stable")[:, :k]
        values = np.take_along_axis(predicted, best, axis=1)
        listed = [
            "; ".join(f"{names[c]} ({p:.4f})" for c, p in zip(line, ps, strict=True))
            for line, ps in zip(best, values, strict=True)
        ]
        table = pd.DataFrame(
            {"label": [names[c] for c in best[:, 0]], "probability": values[:, 0], f"top_{top_k}": listed}
        )
        if "sets" in calibrator:  # a model saved by an earlier version has none
            table = table.assign(**prediction_sets.columns(calibrator["sets"], predicted, names))
        # What the evidence says against a name comes after (``with_evidence``).
        ranks = calibrator.get("ranks")
        answer = final_answer({"ranks": ranks}, predicted, None)
        return table.join(rank_columns(ranks, answer, table["label"].tolist()))

    def other_forms(self, named: pd.DataFrame, calibrator: dict[str, Any]) -> dict[str, pd.DataFrame]:
        """Return QIIME 2's form where there are ranks."""
        return {"qiime": qiime_table(named, calibrator["ranks"])} if "ranks" in calibrator else {}
