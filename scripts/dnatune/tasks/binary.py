"""Two names, one of which is the one looked for: bound or not, promoter or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from dnatune.errors import UserError
from dnatune.tasks.multiclass import Multiclass


class Binary(Multiclass):
    """Multiclass of two, with the figures of the positive class besides."""

    curve: ClassVar[Mapping[str, bool]] = {**Multiclass.curve, "mcc": True}
    best_by = "mcc"
    headline = ("accuracy", "f1_macro", "mcc", "roc_auc_macro")
    tested = ("accuracy", "f1_macro", "mcc", "pr_auc_macro", "log_loss", "brier", "ece")
    shown = (
        "accuracy",
        "f1_macro",
        "mcc",
        "roc_auc_macro",
        "log_loss",
        "ece",
        "precision_positive",
        "recall_positive",
        "f1_positive",
        "pr_auc_positive",
        "specificity",
        "precision_macro",
        "recall_macro",
        "brier",
    )
    # Two names have no gap to the next one, and members that need not resemble each other.
    figures = tuple(name for name in Multiclass.figures if name != "barcode_gap")
    sections = tuple(name for name in Multiclass.sections if name != "difficulty")
    parts: ClassVar[Mapping[str, str]] = {
        **Multiclass.parts,
        "labels": "tasks.binary_labels:BinaryLabels",
        "judging": "tasks.binary_judging:BinaryJudging",
    }

    def check(self, config: Mapping[str, Any]) -> None:
        """Refuse to hold out one of two classes: nothing would be left to tell it from."""
        if config["unknowns"]["held_out_share"] > 0:
            raise UserError(
                "Configuration key 'unknowns.held_out_share' has no effect with task: binary: with one of two classes "
                "held out nothing is left to tell apart; leave it out."
            )


TASK = Binary
