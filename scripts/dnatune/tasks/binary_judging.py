"""Judging two classes: the figures of the positive one stand among the averages."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dnatune.evaluation import Evaluation
from dnatune.scores import Scores
from dnatune.tasks.base import EvaluationSettings
from dnatune.tasks.class_judging import ClassJudging

POSITIVE = ("precision", "recall", "f1", "pr_auc")


class BinaryJudging(ClassJudging):
    """See the module."""

    def evaluate(
        self, scores: Scores, names: Sequence[str], model: str, fold: int, settings: EvaluationSettings
    ) -> Evaluation:
        """Return the multiclass figures, and those of the positive class as averages."""
        found = super().evaluate(scores, names, model, fold, settings)
        keys = ["split", "stage"]
        own = found.metrics[found.metrics["class"] == names[-1]]
        rows = own[own["metric"].isin(POSITIVE)].copy()
        rows["metric"] += "_positive"
        # Recall of the other class: the share of negatives that are called so.
        other = found.metrics[(found.metrics["class"] == names[0]) & (found.metrics["metric"] == "recall")].copy()
        other["metric"] = "specificity"
        table = pd.concat([found.metrics, rows.assign(**{"class": "all"}), other.assign(**{"class": "all"})])
        averages = table["class"] == "all"
        table = pd.concat([table[averages].sort_values(keys, kind="stable"), table[~averages]], ignore_index=True)
        found.metrics = table
        return found
