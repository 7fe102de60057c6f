"""The words of the report where each base has a label: what the metrics mean, and the answer in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dnatune.report_words import Estimate, Metric, Sentence, counted, number, percent, spread

METRICS: dict[str, Metric] = {
    "accuracy": Metric("Accuracy", "Share of test bases that get the right label, all sequences together."),
    "accuracy_per_sequence": Metric(
        "Accuracy per sequence", "Share of right bases of each test sequence, averaged: long and short count alike."
    ),
    "precision_macro": Metric(
        "Macro precision", "Of the bases given a label, the share that truly have it. Averaged over labels."
    ),
    "recall_macro": Metric(
        "Macro recall", "Of the bases that have a label, the share that is found. Averaged over labels."
    ),
    "f1_macro": Metric(
        "Macro F1",
        "The balance (harmonic mean) of precision and recall of a label, counted in bases and averaged over labels: "
        "a rare label counts as much as a common one. 1 is perfect.",
    ),
    "mcc": Metric(
        "MCC",
        "Matthews correlation: agreement of given and true labels, corrected for chance. 0 is guessing, 1 is perfect.",
    ),
    "pr_auc_macro": Metric(
        "Macro PR-AUC",
        "Area under the precision-recall curve, averaged over labels: do the bases of a label rank above all others?",
    ),
    "log_loss": Metric(
        "Log loss",
        "Penalty for probability missing from a base's true label: 0 is perfect, and being sure of a wrong label costs "
        "a lot. exp(-log loss) is the typical probability given to the true label.",
        more_is_better=False,
    ),
    "support": Metric("Tested", "Test bases of the label, all folds together."),
    "precision": Metric("Precision", "Of the test bases given this label, the share that truly have it."),
    "recall": Metric("Recall", "Of the test bases with this label, the share that got it."),
    "f1": Metric("F1", "The balance (harmonic mean) of precision and recall of this label, in bases. 1 is perfect."),
    "pr_auc": Metric("PR-AUC", "Area under the precision-recall curve of this label. 1 is perfect."),
    "classes_present": Metric("Labels tested", "Labels that at least one test base of the fold has."),
    "bases": Metric("Bases tested", "Number of test bases in the fold."),
    "records": Metric("Sequences tested", "Number of test sequences in the fold."),
}


def data_sentence(summary: Mapping[str, Any], labels: Mapping[str, Any]) -> Sentence:
    """Say how many sequences, bases and labels the answer rests on."""
    text = (
        f"The model learned from and was tested on {counted(int(labels['records']), 'sequence')} with "
        f"{int(labels['bases']):,} bases, each of which has one of {counted(int(labels['classes']), 'label')} "
        f"(of {int(summary.get('sequences_read') or labels['records']):,} sequences read)."
    )
    return Sentence("On what data?", text)


def accuracy_sentence(who: str, own: Mapping[str, Estimate], majority: float) -> Sentence:
    """Say how many of 100 unseen bases get the right label; ``majority`` is the share of the commonest label."""
    nothing = Estimate(math.nan)
    accuracy, each, f1 = (own.get(name, nothing) for name in ("accuracy", "accuracy_per_sequence", "f1_macro"))
    text = f"{who} gives the right label to {percent(accuracy.mean)} of the bases of sequences it has not seen "
    text += f"({spread(accuracy, as_percent=True)})"
    if math.isfinite(majority):
        better = accuracy.mean - majority > 0.02
        text += f"; always giving the commonest label would be right for {percent(majority)}"
        text += "." if better else ". That is no better: it has learned nothing of use."
    else:
        text += "."
    if math.isfinite(each.mean):
        text += f" In a sequence it is right for {percent(each.mean)} of the bases on average."
    if math.isfinite(f1.mean):
        text += f" Counting every label alike, common or rare, its score (macro F1 per base) is {number(f1.mean)}."
    return Sentence("How well are bases labelled?", text)


def extremes_sentence(rows: list[dict[str, Any]]) -> Sentence | None:
    """Say which label is found best and which worst; ``rows`` have label, tested, f1, precision, recall."""
    tested = [row for row in rows if row["tested"] > 0 and math.isfinite(row["f1"])]
    if len(tested) < 2:
        return None
    best, worst = (pick(tested, key=lambda row: row["f1"]) for pick in (max, min))
    text = f"Best is '{best['label']}' (F1 {number(best['f1'])}). Worst is '{worst['label']}' "
    text += f"(F1 {number(worst['f1'])}): {percent(worst['recall'])} of its bases are found, and of the bases called "
    text += f"'{worst['label']}' {percent(worst['precision'])} truly are."
    return Sentence("Which labels are hard?", text)
