"""One name per sequence, out of two or more. Probabilities are the softmax of the logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from dnatune.tasks.base import Card, Task


class Multiclass(Task):
    """See the module."""

    curve: ClassVar[Mapping[str, bool]] = {"log_loss": False, "pr_auc_macro": True, "accuracy": True, "f1_macro": True}
    best_by = "pr_auc_macro"
    tie_break = "log_loss"
    gap = "pr_auc_macro"
    tested = ("accuracy", "f1_macro", "pr_auc_macro", "log_loss", "brier", "ece")
    headline = ("accuracy", "f1_macro", "pr_auc_macro", "log_loss")
    shown = (
        "accuracy",
        "f1_macro",
        "pr_auc_macro",
        "log_loss",
        "ece",
        "top_k_accuracy",
        "mcc",
        "roc_auc_macro",
        "brier",
    )
    imbalance = ("none", "class_weights", "balanced_sampling", "focal", "logit_adjustment")
    calibrations = ("auto", "none", "temperature", "platt", "isotonic")
    baselines = (
        "majority",
        "naive_bayes",
        "logistic_regression",
        "vsearch_top_hit",
        "kmer_top_hit",
        "blast_top_hit",
        "sintax",
        "vector_logistic_regression",
    )
    on_request = ("kmer_top_hit", "blast_top_hit", "sintax")
    tuned = ("naive_bayes", "logistic_regression", "vector_logistic_regression")
    experts = (("logistic_regression",), ("vsearch_top_hit", "kmer_top_hit"))
    fold_tables = ("confusions",)
    report_tables = ("per_class", "confusions", "sets")
    figures = (
        "class_balance",
        "folds",
        "barcode_gap",
        "model_comparison",
        "learning_curves",
        "precision_recall",
        "reliability",
        "prediction_sets",
        "confusions",
        "per_class_f1_vs_size",
        "unknown_scores",
        "named_accuracy",
    )
    sections = ("difficulty", "engine", "precision_recall", "reliability", "sets", "classes", "confusions", "unknowns")
    card = Card(
        more=", gives the set of names that holds the true one as often as was asked (`sets` in that file), and says "
        "in the column `known` whether a sequence looks like those that it has seen"
    )
    parts: ClassVar[Mapping[str, str]] = {
        "labels": "tasks.class_labels:ClassLabels",
        "learning": "tasks.class_learning:ClassLearning",
        "judging": "tasks.class_judging:ClassJudging",
        "report": "tasks.class_report:ClassReport",
        "baselines": "baselines:METHODS",
    }

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        if options.get("ranks"):  # names have a genus, a family, ...
            self.fold_tables = (*self.fold_tables, "rank_mistakes")
            self.report_tables = (*self.report_tables, "ranks", "rank_mistakes", "rank_unknowns")
            self.figures = (*self.figures, "ranks")
            self.sections = (*(name for name in self.sections if name != "unknowns"), "ranks", "unknowns")
            self.card = replace(self.card, more=", and names each down to the deepest rank that is sure enough")
            self.other_forms = (*self.other_forms, "qiime")


TASK = Multiclass
