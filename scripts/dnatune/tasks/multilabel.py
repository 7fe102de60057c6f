"""Any number of names per sequence, none included. A probability of its own, the sigmoid, for each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from dnatune.errors import UserError, first_ten, nearest
from dnatune.tasks.base import Card, Task, Wording

TUNED = "tuned"


class Multilabel(Task):
    """See the module."""

    classes = False
    empty_labels = True
    problem_type = "multi_label_classification"
    curve: ClassVar[Mapping[str, bool]] = {
        "log_loss": False,
        "pr_auc_macro": True,
        "pr_auc_micro": True,
        "f1_macro": True,
        "f1_micro": True,
        "subset_accuracy": True,
        "hamming_loss": False,
    }
    best_by = "pr_auc_macro"
    tie_break = "log_loss"
    gap = "pr_auc_macro"
    tested = ("pr_auc_macro", "f1_macro", "f1_micro", "subset_accuracy", "hamming_loss", "log_loss", "brier", "ece")
    headline = ("f1_macro", "f1_micro", "pr_auc_macro", "log_loss")
    shown = (
        "f1_macro",
        "f1_micro",
        "pr_auc_macro",
        "pr_auc_micro",
        "subset_accuracy",
        "hamming_loss",
        "roc_auc_macro",
        "log_loss",
        "brier",
        "ece",
    )
    imbalance = ("none", "class_weights", "balanced_sampling", "focal")
    calibrations = ("auto", "none", "temperature", "platt", "isotonic")
    baselines = ("majority", "naive_bayes", "logistic_regression", "vector_logistic_regression")
    figures = (
        "label_balance",
        "folds",
        "model_comparison",
        "learning_curves",
        "precision_recall",
        "reliability",
        "label_pr_auc",
    )
    card = Card(
        what="A classifier that gives DNA sequences any of {labels} labels, or none",
        metrics={
            "f1_macro": "macro F1",
            "f1_micro": "micro F1",
            "pr_auc_macro": "macro PR-AUC",
            "subset_accuracy": "subset accuracy",
            "hamming_loss": "Hamming loss",
            "log_loss": "log loss",
            "brier": "Brier score",
            "ece": "expected calibration error",
        },
        limits="A probability stands for each label on its own; those of a sequence need not add up to 1.",
        use=(
            "probabilities = logits.sigmoid()[0].tolist()\n"
            "print({model.config.id2label[i]: round(p, 3) for i, p in enumerate(probabilities)})"
        ),
        more=", and gives the labels whose calibrated probability reaches their threshold (`thresholds` in that file)",
    )
    wording = Wording(title="How well can the labels of {name} be told from the sequence?", labels="Labels")
    parts: ClassVar[Mapping[str, str]] = {
        "labels": "tasks.multilabel_labels:MultilabelLabels",
        "learning": "tasks.multilabel_learning:MultilabelLearning",
        "judging": "tasks.multilabel_judging:MultilabelJudging",
        "report": "tasks.multilabel_report:MultilabelReport",
        "baselines": "tasks.multilabel_baselines:METHODS",
    }

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        more = ("negative_transfer",) if options.get("alone") else ()
        self.sections = ("labels", *more, "precision_recall", "reliability")
        self.report_tables = ("labels", *more)

    def check(self, config: Mapping[str, Any]) -> None:
        """Refuse a threshold that is none, groups that share a label, and heads that have no place."""
        threshold, groups = self.options["threshold"], self.options["groups"]
        if threshold != TUNED and (isinstance(threshold, str) or not 0 < threshold < 1):
            raise UserError(
                f"Configuration key 'multilabel.threshold': found {threshold!r}, expected tuned or a number "
                "between 0 and 1."
            )
        if self.options["alone"] == "groups" and not groups:
            raise UserError(
                "Configuration key 'multilabel.alone': found 'groups', but 'multilabel.groups' names none; name them "
                "or use alone: labels."
            )
        for name in self.compared(config["models"]):
            if name in config["models"]:
                raise UserError(
                    f"Configuration key 'models.{name}': that is the name of a model that multilabel.alone adds; "
                    "choose another name."
                )
        for name, model in config["models"].items() if groups else ():
            if model["pooling"] == "architecture":
                raise UserError(
                    f"Configuration key 'models.{name}.pooling': groups of labels have heads of their own, which an "
                    "architecture's head has no place for; use mean, cls or last."
                )
        if self.options["labels"]:
            self.groups(self.options["labels"])

    def groups(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Return the groups of labels with a head each. Raises UserError unless each label is in exactly one."""
        groups = self.options["groups"]
        if not groups:
            return {}
        key = "Configuration key 'multilabel.groups"
        placed: dict[str, str] = {}
        for group, labels in groups.items():
            for label in labels:
                if label not in names:
                    raise UserError(f"{key}.{group}': there is no label '{label}'{nearest(label, names)}.")
                if label in placed:
                    raise UserError(
                        f"{key}': the label '{label}' is in '{placed[label]}' and in '{group}'; each label belongs "
                        "to exactly one group."
                    )
                placed[label] = group
        if missing := [name for name in names if name not in placed]:
            raise UserError(f"{key}': no group has {first_ten(missing)}; each label belongs to exactly one group.")
        return {group: list(labels) for group, labels in groups.items()}

    def head(self, names: Sequence[str] = ()) -> dict[str, Any]:
        """Return a linear head, or one with a part for each group of those labels."""
        groups = [[names.index(n) for n in labels if n in names] for labels in self.options["groups"].values()]
        groups = [group for group in groups if group]
        return {**super().head(names), **({"groups": groups} if groups else {})}

    def compared(self, models: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return for each model one that learns its labels, or groups of them, apart: does learning together help?"""
        alone = self.options.get("alone")
        compared = {name: {**settings, "alone": alone, "of": name} for name, settings in models.items()}
        return {f"{name}.alone": settings for name, settings in compared.items()} if alone else {}

    def units(self, settings: Mapping[str, Any], names: Sequence[str]) -> list[list[int]]:
        """Return each label, or each group of labels, for a model that learns them apart."""
        match settings.get("alone"):
            case "labels":
                return [[i] for i in range(len(names))]
            case "groups":
                return [[names.index(name) for name in group] for group in self.groups(names).values()]
            case _:
                return []


TASK = Multilabel
