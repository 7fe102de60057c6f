"""What the report says of classes: how well names are told apart, how sure, which ones are mixed up."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dnatune import report_ranks, report_tables, report_words_ranks, report_words_sets, report_words_unknowns
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
        """Return figures of each class and the most frequent confusions of the best model, sets of all models, and
        with ranks theirs too, in detail those of the model that names new sequences."""
        tables = {
            "per_class": report_tables.per_class(run.metrics, run.balance, run.best),
            "confusions": report_tables.confusions(run.fold_tables["confusions"], run.best),
            "sets": report_words_sets.table(run.metrics),
        }
        if run.rank_names:
            models = [*run.engines, *run.language_models, *run.baselines]
            tables |= {
                "ranks": report_ranks.ranks(run.comparison, models, run.rank_names),
                "rank_mistakes": report_ranks.mistakes(run.fold_tables["rank_mistakes"], run.naming, run.rank_names),
                "rank_unknowns": report_ranks.unknowns(run.metrics, run.naming, run.rank_names),
            }
        return tables

    def section_words(self, run: Run) -> dict[str, dict[str, Any]]:
        """Return the words of the section on ranks."""
        if not run.rank_names:
            return {}
        tables, lowest = self.tables(run), run.rank_names[0]
        mine = tables["ranks"][tables["ranks"]["model"] == run.naming]
        words = {
            "depth": report_words_ranks.depth(mine, run.config["taxonomy"]["threshold"]),
            "kinds": report_words_unknowns.KINDS,
            "landing": report_words_ranks.landing(tables["rank_mistakes"], lowest),
            "unseen": report_words_ranks.unseen(report_ranks.together(tables["rank_unknowns"]), lowest),
        }
        return {"rank_words": words}
