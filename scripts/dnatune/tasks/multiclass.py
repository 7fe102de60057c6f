"""One name per sequence, out of two or more. Probabilities are the softmax of the logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from dnatune.tasks.base import Task


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
    fold_tables = ("confusions",)
    report_tables = ("per_class", "confusions")
    figures = (
        "class_balance",
        "folds",
        "barcode_gap",
        "model_comparison",
        "learning_curves",
        "precision_recall",
        "reliability",
        "confusions",
        "per_class_f1_vs_size",
    )
    sections = ("difficulty", "precision_recall", "reliability", "classes", "confusions", "unknowns")
    parts: ClassVar[Mapping[str, str]] = {
        "labels": "tasks.class_labels:ClassLabels",
        "learning": "tasks.class_learning:ClassLearning",
        "judging": "tasks.class_judging:ClassJudging",
        "report": "tasks.class_report:ClassReport",
        "baselines": "baselines:METHODS",
    }


TASK = Multiclass
