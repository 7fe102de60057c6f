"""What the report says of many labels: how well each is told, from which probability, together or alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from dnatune import report_tables, report_words
from dnatune.comparison import corrected_t
from dnatune.report import Run
from dnatune.report_words import Estimate, Metric, Sentence, counted, number, percent, spread
from dnatune.tasks.base import Report

SHOWN = ("threshold", "precision", "recall", "f1", "pr_auc")
COMPARED = ("pr_auc", "f1")
COUNTS = ("pr_auc_macro", "f1_macro", "log_loss")


class MultilabelReport(Report):
    """See the module."""

    words: ClassVar[Mapping[str, Metric]] = {
        "f1_macro": Metric(
            "Macro F1",
            "The balance (harmonic mean) of precision and recall of a label, averaged over labels. "
            "A rare label counts as much as a common one. 1 is perfect.",
        ),
        "precision_macro": Metric("Macro precision", "Of the sequences given a label, the share that have it."),
        "recall_macro": Metric("Macro recall", "Of the sequences that have a label, the share that is given it."),
        "pr_auc_macro": Metric(
            "Macro PR-AUC",
            "Area under the precision-recall curve, averaged over labels: are the sequences with a label ranked above "
            "those without, whatever the threshold? 1 is perfect; guessing gives the share of sequences with it.",
        ),
        "roc_auc_macro": Metric(
            "Macro ROC-AUC",
            "Chance that a sequence with a label gets a higher probability for it than one without. 0.5 is guessing.",
        ),
        "log_loss": Metric(
            "Log loss",
            "Penalty for probability missing from the truth, averaged over all decisions (a sequence, a label). "
            "0 is perfect. Where most labels are absent it is small even for a model that knows only how common "
            "they are: compare it with the baseline majority.",
            more_is_better=False,
        ),
        "brier": Metric(
            "Brier score",
            "Squared difference between stated probability and truth, averaged over all decisions. 0 is perfect, 1 "
            "is worst.",
            more_is_better=False,
        ),
        "ece": Metric(
            "Calibration error (ECE)",
            "How far the stated probability of a label is from the share of sequences that have it, on average over "
            "all decisions. 0.02 means 2 percentage points off. 0 is perfect.",
            more_is_better=False,
        ),
        "classes_present": Metric("Labels tested", "Labels that at least one test sequence of the fold has."),
        "support": Metric("Tested", "Test sequences that have the label, all folds together."),
        "precision": Metric("Precision", "Of the test sequences given the label, the share that have it."),
        "recall": Metric("Recall", "Of the test sequences that have the label, the share that is given it."),
        "pr_auc": Metric("PR-AUC", "Area under the precision-recall curve of this label. 1 is perfect."),
        "roc_auc": Metric("ROC-AUC", "Chance that a sequence with this label scores higher than one without."),
    }

    def answer(self, run: Run) -> list[Sentence]:
        """Say how well labels are told, how sure, against baselines, together or alone, and what overfitting is."""
        labels, kept = run.labels_summary.get("labels", 0), int(run.summary.get("records_kept") or 0)
        none = int(run.labels_summary.get("without_label") or 0)
        text = f"The model learned from and was tested on {counted(kept, 'sequence')} with {counted(labels, 'label')}; "
        text += f"{counted(none, 'sequence')} without any label took part like the others."
        sentences = [Sentence("On what data?", text)]
        if run.best is None:
            return [*sentences, Sentence("How well are the labels told?", "No model was run.")]
        own, raw = (report_tables.estimates(run.comparison, run.best, s) for s in ("calibrated", "raw"))
        language = run.best in run.language_models
        who = f"The language model {run.best}" if language else f"The baseline {run.best}"
        if language and len(run.language_models) > 1:
            who = f"The best of {len(run.language_models)} language models on validation, {run.best},"
        sentences += [_told(who, own, self._chance(run)), _certainty(raw, own)]
        if language:
            rivals = {name: report_tables.estimates(run.comparison, name) for name in run.baselines}
            gaps = [entry.get("gap") for entry in run.runs if entry["model"] == run.best]
            sentences.append(report_words.baseline_sentence(run.best, rivals, own, run.paired, counts=COUNTS))
            sentences += _together(run)
            rises = report_tables.rises(run.history, run.best)
            sentences.append(report_words.overfitting_sentence(gaps, rises))
        return [*sentences, Sentence("Are the labels even?", str(run.labels_summary.get("statement", "")))]

    def tables(self, run: Run) -> dict[str, pd.DataFrame]:
        """Return figures of each label, and what learning it together with the others does to it."""
        found = {"labels": label_table(run.metrics, run.balance, run.best)}
        if "negative_transfer" in run.task.report_tables:
            found["negative_transfer"] = transfer_table(run)
        return found

    def _chance(self, run: Run) -> float:
        """Return the macro PR-AUC of guessing: the mean share of test sequences that have a label."""
        mine = run.metrics[(run.metrics["model"] == run.best) & (run.metrics["split"] == "test")]
        mine = mine[mine["stage"] == "calibrated"]
        support = mine[(mine["metric"] == "support") & (mine["value"] > 0)]
        records = mine[mine["metric"] == "records"].set_index("fold")["value"]
        shares = support["value"] / support["fold"].map(records)
        return float(shares.groupby(support["fold"]).mean().mean()) if len(shares) else math.nan


def label_table(metrics: pd.DataFrame, balance: pd.DataFrame, model: str | None) -> pd.DataFrame:
    """Return label, records, tested, threshold, precision, recall, f1, pr_auc of each label for one model, on test.

    Means over the folds that test the label, weighted by its test sequences there; the threshold is the plain mean.
    """
    table = report_tables.per_class(metrics, balance, model)
    mine = metrics[(metrics["model"] == model) & (metrics["split"] == "test") & (metrics["stage"] == "calibrated")]
    thresholds = mine[mine["metric"] == "threshold"].groupby("class")["value"].mean()
    table.insert(3, "threshold", table["label"].map(thresholds))
    return table


def transfer_table(run: Run) -> pd.DataFrame:
    """Return what each label gains by being learned together: model, label, and for PR-AUC and F1 (calibrated, test)
    together, alone, difference (together minus alone, mean over folds) with its 95 % interval and p."""
    sizes = [(f["test"]["records"], f["train"]["records"]) for f in run.audit.get("per_fold") or []]
    share = float(np.mean([test / train for test, train in sizes])) if sizes else 0.0
    mine = run.metrics[(run.metrics["split"] == "test") & (run.metrics["stage"] == "calibrated")]
    rows: list[dict[str, Any]] = []
    for together, alone in zip(run.language_models, run.compared, strict=True):
        for label in run.balance["label"]:
            row: dict[str, Any] = {"model": together, "label": label}
            for metric in COMPARED:
                own = mine[(mine["metric"] == metric) & (mine["class"] == label)]
                wide = own.pivot(index="fold", columns="model", values="value").reindex(columns=[together, alone])
                both = wide.dropna()
                difference = (both[together] - both[alone]).to_numpy()
                mean, low, high, p = corrected_t(difference, share)
                values = (both[together].mean(), both[alone].mean(), mean, low, high, p)
                names = ("together", "alone", "difference", "ci_low", "ci_high", "p_value")
                row |= {f"{metric}_{name}": value for name, value in zip(names, values, strict=True)}
                row["folds"] = len(both)
            rows.append(row)
    return pd.DataFrame(rows)


def _told(who: str, own: Mapping[str, Estimate], chance: float) -> Sentence:
    nothing = Estimate(math.nan)
    pr_auc, f1, hamming = (own.get(name, nothing) for name in ("pr_auc_macro", "f1_macro", "hamming_loss"))
    subset = own.get("subset_accuracy", nothing)
    text = f"{who} reaches a macro F1 of {number(f1.mean)} ({spread(f1)}) and a macro PR-AUC of {number(pr_auc.mean)} "
    text += f"({spread(pr_auc)}) over the labels; guessing has a PR-AUC of {number(chance)}."
    if math.isfinite(chance) and pr_auc.mean < 1.25 * chance:
        text += " That is hardly better than guessing: it has learned little of use."
    text += f" {percent(hamming.mean)} of the single decisions (a sequence, a label) are wrong, and for "
    text += f"{percent(subset.mean)} of the sequences all labels are right (an easy thing where most have none)."
    return Sentence("How well are the labels told?", text)


def _certainty(raw: Mapping[str, Estimate], own: Mapping[str, Estimate]) -> Sentence:
    nothing = Estimate(math.nan)
    before, after = raw.get("ece", nothing).mean, own.get("ece", nothing).mean
    if not math.isfinite(after):
        return Sentence("How sure is it, and rightly so?", "The calibration was not measured.")
    text = (
        f"On average the stated probability of a label differs by {100 * after:.1f} percentage points from the share "
    )
    text += f"of sequences that have it (before calibration {100 * before:.1f})."
    return Sentence("How sure is it, and rightly so?", text)


def _together(run: Run) -> list[Sentence]:
    """Say whether the labels help or hurt each other, where the run asked."""
    if "negative_transfer" not in run.task.report_tables:
        return []
    alone = f"{run.best}.alone"
    both = [report_tables.estimates(run.comparison, model).get("pr_auc_macro") for model in (run.best, alone)]
    how = "label by label" if run.task.options["alone"] == "labels" else "group by group"
    question = "Do the labels help or hurt each other?"
    if None in both:
        return [Sentence(question, f"The models trained {how} were not measured.")]
    table = transfer_table(run)
    difference = table[table["model"] == run.best]["pr_auc_difference"].dropna()
    ahead = both[0].mean - both[1].mean
    row = report_words.paired(run.paired, "pr_auc_macro", run.best, alone)
    p = math.nan if row is None else float(row["p_value"])
    evidence = f"p = {p:.2g}" if math.isfinite(p) else "one fold, so no test"
    sure = math.isfinite(p) and p < 0.05
    head = (
        ("They help" if ahead > 0 else "They hurt") if sure
        else "Together is ahead, if not surely" if ahead > 0
        else "Alone is ahead, if not surely (negative transfer is possible)" if ahead < 0
        else "No difference"
    )  # fmt: skip
    text = (
        f"{head}: learned together, macro PR-AUC is {number(both[0].mean)}, {how} {number(both[1].mean)} ({evidence}). "
    )
    text += f"Of {counted(len(difference), 'label')} {int((difference > 0).sum())} are better together and "
    text += f"{int((difference < 0).sum())} better alone."
    return [Sentence(question, text)]
