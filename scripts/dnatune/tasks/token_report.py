"""What the report says of labels per base: how many bases are right, which labels are hard, against what baseline."""

from __future__ import annotations

import math

import pandas as pd

from dnatune import report_tables, report_words, report_words_token
from dnatune.report import Run
from dnatune.report_answers import majority_share
from dnatune.report_words import Estimate, Metric, Sentence
from dnatune.tasks.base import Report

COUNTS = ("f1_macro", "accuracy", "log_loss")


class TokenReport(Report):
    """See the module."""

    def metric(self, name: str) -> Metric | None:
        """Return what a metric means, in bases."""
        return report_words_token.METRICS.get(name)

    def answer(self, run: Run) -> list[Sentence]:
        """Say how well bases are labelled, which labels are hard, how sure, against baselines, overfitting."""
        sentences = [report_words_token.data_sentence(run.summary, run.labels_summary)]
        if run.best is None:
            return [*sentences, Sentence("How well are bases labelled?", "No model was run.")]
        own, raw = (report_tables.estimates(run.comparison, run.best, s) for s in ("calibrated", "raw"))
        nothing = Estimate(math.nan)
        language = run.best in run.language_models
        who = f"The language model {run.best}" if language else f"The baseline {run.best}"
        sentences.append(report_words_token.accuracy_sentence(who, own, majority_share(run.labels_summary)))
        hard = report_words_token.extremes_sentence(self.tables(run)["per_label"].to_dict("records"))
        sentences += [hard] if hard else []
        ece = [stage.get("ece", nothing) for stage in (raw, own)]
        sentences.append(report_words.certainty_sentence(*ece, own.get("log_loss", nothing), "label"))
        if language:
            rivals = {name: report_tables.estimates(run.comparison, name) for name in run.baselines}
            gaps = [entry.get("gap") for entry in run.runs if entry["model"] == run.best]
            rises = report_tables.rises(run.history, run.best)
            sentences += [
                report_words.baseline_sentence(run.best, rivals, own, run.paired, COUNTS),
                report_words.overfitting_sentence(gaps, rises, "macro F1"),
            ]
        return [*sentences, Sentence("Are the labels even?", str(run.labels_summary["statement"]))]

    def tables(self, run: Run) -> dict[str, pd.DataFrame]:
        """Return the figures of each label and the confusions of the best model, folds together."""
        per_label = report_tables.per_class(run.metrics, run.balance, run.best)
        per_label.insert(1, "bases", per_label["label"].map(run.balance.set_index("label")["bases"]))
        return {
            "per_label": per_label,
            "label_confusions": report_tables.label_confusions(run.fold_tables["label_confusions"], run.best),
        }
