"""What the report says of classes: how well names are told apart, how sure, which ones are mixed up."""

from __future__ import annotations

import pandas as pd

from dnatune import report_tables, report_words_sets
from dnatune.report import Run
from dnatune.report_answers import classification_answer
from dnatune.report_words import Sentence
from dnatune.tasks.base import Report


class ClassReport(Report):
    """See the module."""

    def answer(self, run: Run) -> list[Sentence]:
        """Say how well names are told apart, how sure, against baselines, and what overfitting there is."""
        return classification_answer(run)

    def tables(self, run: Run) -> dict[str, pd.DataFrame]:
        """Return figures of each class and the most frequent confusions of the best model, and sets of all models."""
        return {
            "per_class": report_tables.per_class(run.metrics, run.balance, run.best),
            "confusions": report_tables.confusions(run.fold_tables["confusions"], run.best),
            "sets": report_words_sets.table(run.metrics),
        }
