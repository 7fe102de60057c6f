"""A label for each base: exon, intron, splice site. Probabilities are the softmax of the logits of each token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from dnatune.tasks.base import Card, Task, Wording


class Token(Task):
    """Token classification. Targets are class ids per base (``PerBase``); figures are per base unless they say else."""

    classes = False
    per_base = True
    strands = False
    wording = Wording(title="How well can the bases of {name} be labelled?", labels="Labels")
    curve: ClassVar[Mapping[str, bool]] = {
        "log_loss": False,
        "f1_macro": True,
        "accuracy": True,
        "mcc": True,
        "pr_auc_macro": True,
    }
    best_by = "f1_macro"
    tie_break = "log_loss"
    gap = "f1_macro"
    tested = ("f1_macro", "accuracy", "mcc", "pr_auc_macro", "log_loss", "brier", "ece")
    headline = ("f1_macro", "accuracy", "mcc", "log_loss")
    shown = (
        "f1_macro",
        "accuracy",
        "accuracy_per_sequence",
        "mcc",
        "precision_macro",
        "recall_macro",
        "pr_auc_macro",
        "log_loss",
        "brier",
        "ece",
    )
    imbalance = ("none", "class_weights")
    calibrations = ("auto", "none", "temperature", "platt", "isotonic")
    baselines = ("majority", "context_logistic_regression")
    fold_tables = ("label_confusions", "tracks")
    report_tables = ("per_label", "label_confusions")
    prediction_tables = ("segments",)
    figures = (
        "base_balance",
        "folds",
        "model_comparison",
        "learning_curves",
        "label_f1",
        "label_confusions",
        "tracks",
        "reliability",
    )
    sections = ("base_labels", "tracks", "reliability")
    parts: ClassVar[Mapping[str, str]] = {
        "labels": "tasks.token_labels:TokenLabels",
        "learning": "tasks.token_learning:TokenLearning",
        "judging": "tasks.token_judging:TokenJudging",
        "report": "tasks.token_report:TokenReport",
        "baselines": "base_baselines:METHODS",
    }
    card = Card(
        what="A model that gives each base of a DNA sequence one of {labels} labels",
        limits="A base that is none of these gets one of the labels all the same. The forward strand only was learned.",
        use="print([model.config.id2label[int(i)] for i in logits[0].argmax(-1)])  # one per token, special ones too",
        auto_class="AutoModelForTokenClassification",
        more=", and gives each base the mean of all tokens that cover it",
        metrics={
            "f1_macro": "macro F1 per base",
            "accuracy": "accuracy per base",
            "accuracy_per_sequence": "accuracy, mean over sequences",
            "mcc": "MCC",
            "log_loss": "log loss",
            "brier": "Brier score",
            "ece": "expected calibration error",
        },
    )

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        # None: each letter of the label text is the label of a base.
        self.separator: str | None = options.get("separator")


TASK = Token
