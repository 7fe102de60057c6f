"""The words of the report: what each metric means, and the answer in plain sentences built from the numbers.

Numbers in, sentences out. Nothing here reads or writes files, so that every sentence can be tested.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from dnatune import report_words_differences, report_words_regression, report_words_sets, report_words_unknowns


@dataclass(frozen=True)
class Metric:
    """How a metric is called, what it means to a biologist, and which way is better."""

    name: str
    meaning: str
    more_is_better: bool = True


METRICS: dict[str, Metric] = {
    "accuracy": Metric("Accuracy", "Share of test sequences that get the right name. 1 is perfect."),
    "top_k_accuracy": Metric(
        "Top-k accuracy", "Share of test sequences whose right name is among the k most probable ones."
    ),
    "precision_macro": Metric(
        "Macro precision",
        "Of the sequences given a name, the share that truly bear it. Worked out for each class, then "
        "averaged, so a rare class counts as much as a common one.",
    ),
    "recall_macro": Metric(
        "Macro recall", "Of the sequences of a class, the share that is found. Averaged over classes."
    ),
    "f1_macro": Metric(
        "Macro F1",
        "The balance (harmonic mean) of precision and recall of a class, averaged over classes. "
        "A rare class counts as much as a common one. 1 is perfect.",
    ),
    "f1_weighted": Metric("Weighted F1", "F1 averaged over classes, each counted by its number of sequences."),
    "precision_weighted": Metric("Weighted precision", "Precision, each class counted by its size."),
    "recall_weighted": Metric("Weighted recall", "Recall, each class counted by its size (equals accuracy)."),
    "mcc": Metric(
        "MCC",
        "Matthews correlation: agreement of given and true names, corrected for chance. 0 is guessing, 1 is perfect.",
    ),
    "pr_auc_macro": Metric(
        "Macro PR-AUC",
        "Area under the precision-recall curve, averaged over classes: does the model rank the members of a "
        "class above all other sequences, whatever the threshold? 1 is perfect. Severe on rare classes.",
    ),
    "pr_auc_weighted": Metric("Weighted PR-AUC", "PR-AUC, each class counted by its number of sequences."),
    "roc_auc_macro": Metric(
        "Macro ROC-AUC",
        "Chance that a member of a class gets a higher score for it than a non-member. 0.5 is guessing. "
        "Mild when there are many classes, so read PR-AUC first.",
    ),
    "log_loss": Metric(
        "Log loss",
        "Penalty for probability missing from the true name: 0 is perfect, and being sure of a wrong name "
        "costs a lot. exp(-log loss) is the typical probability given to the true name.",
        more_is_better=False,
    ),
    "brier": Metric(
        "Brier score",
        "Squared distance between the stated probabilities and the truth. 0 is perfect, 2 is worst.",
        more_is_better=False,
    ),
    "ece": Metric(
        "Calibration error (ECE)",
        "How far the stated probability is from the share of right answers, on average. "
        "0.02 means 2 percentage points off. 0 is perfect.",
        more_is_better=False,
    ),
    "ece_by_chance": Metric(
        "ECE by chance",
        "The calibration error that a perfectly calibrated model would have of so few sequences, by chance alone.",
        more_is_better=False,
    ),
    "ece_pooled": Metric(
        "ECE, all folds",
        "Calibration error of the test sequences of all folds together: more sequences, so less of it is chance.",
        more_is_better=False,
    ),
    "ece_pooled_by_chance": Metric(
        "ECE, all folds, by chance",
        "The calibration error that a perfectly calibrated model would have of all folds' test sequences.",
        more_is_better=False,
    ),
    "precision_positive": Metric("Precision, positive", "Of the sequences called positive, the share that truly are."),
    "recall_positive": Metric("Recall, positive", "Of the positive sequences, the share that is found (sensitivity)."),
    "f1_positive": Metric("F1, positive", "The balance (harmonic mean) of precision and recall of the positive name."),
    "pr_auc_positive": Metric("PR-AUC, positive", "Area under the precision-recall curve of the positive name."),
    "specificity": Metric("Specificity", "Of the negative sequences, the share that is called negative."),
    "precision_micro": Metric("Micro precision", "Of all labels given, the share that is right."),
    "recall_micro": Metric("Micro recall", "Of all labels that sequences truly have, the share that is given."),
    "f1_micro": Metric(
        "Micro F1",
        "The balance (harmonic mean) of precision and recall over all decisions together, so a common label counts "
        "more than a rare one. 1 is perfect.",
    ),
    "pr_auc_micro": Metric(
        "Micro PR-AUC", "Area under the precision-recall curve of all decisions, ranked together. 1 is perfect."
    ),
    "subset_accuracy": Metric("Subset accuracy", "Share of test sequences all of whose labels are right."),
    "hamming_loss": Metric(
        "Hamming loss", "Share of decisions (a sequence, a label) that are wrong. 0 is perfect.", more_is_better=False
    ),
    "classes_present": Metric("Classes tested", "Classes with at least one test sequence in the fold."),
    "records": Metric("Sequences tested", "Number of test sequences in the fold."),
    "support": Metric("Tested", "Test sequences of the class, all folds together."),
    "precision": Metric("Precision", "Of the test sequences given this name, the share that truly bear it."),
    "recall": Metric("Recall", "Of the test sequences of this class, the share that got its name."),
    "f1": Metric("F1", "The balance (harmonic mean) of precision and recall. 1 is perfect."),
    "pr_auc": Metric("PR-AUC", "Area under the precision-recall curve of this class. 1 is perfect."),
    "roc_auc": Metric("ROC-AUC", "Chance that a member of this class scores higher than another sequence."),
    "threshold": Metric("Threshold", "Probability from which the label is given, chosen on the validation part."),
}


METRICS |= report_words_regression.metrics(Metric) | report_words_sets.metrics(Metric)
METRICS |= report_words_unknowns.metrics(Metric)


def metric(name: str) -> Metric:
    """Return the words for a metric; ``top_5_accuracy`` is filled in, an unknown one is named as it is."""
    if name.startswith("top_") and name.endswith("_accuracy"):
        k = name.removeprefix("top_").removesuffix("_accuracy")
        return Metric(f"Top-{k} accuracy", f"Share of test sequences whose right name is among the {k} most probable.")
    base, _, rank = name.partition("@")
    if rank and base in METRICS:
        return replace(METRICS[base], name=f"{METRICS[base].name}, {rank}")
    return METRICS.get(name, Metric(name.replace("_", " "), ""))


def glossary(measured: Iterable[str]) -> dict[str, Metric]:
    """Return the words for the metrics that were measured, those of averages first as they stand in ``METRICS``."""
    there = {metric(name) for name in measured}
    there |= {METRICS["top_k_accuracy"] for words in list(there) if words.name.startswith("Top-")}
    return {name: words for name, words in METRICS.items() if words.meaning and words in there}


@dataclass(frozen=True)
class Estimate:
    """A mean over folds with its 95 % interval (NaN where there is none) and the number of folds."""

    mean: float
    low: float = math.nan
    high: float = math.nan
    folds: int = 1

    @property
    def has_interval(self) -> bool:
        """Whether both ends of the interval are numbers."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class Sentence:
    """One statement of the answer: the question it answers, and its words."""

    question: str
    text: str


def number(value: Any, digits: int = 3) -> str:
    """Return a number for reading: thousands separated, fixed digits, a dash where there is none."""
    if value is None or isinstance(value, str) or not math.isfinite(float(value)):
        return value if isinstance(value, str) and value else "–"
    if isinstance(value, int) or digits == 0:
        return f"{value:,.0f}"
    if 0 < abs(float(value)) < 0.5 * 10**-digits:
        return f"{float(value):.2g}"  # errors may have any unit: 0.0002 is not 0
    return f"{float(value):,.{digits}f}"


def percent(value: float, digits: int = 1) -> str:
    """Return a share as per cent: 0.9621 becomes '96.2 %'."""
    return f"{100 * value:.{digits}f} %" if math.isfinite(value) else "–"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return '1 class' or '1,200 classes'."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def spread(value: Estimate, as_percent: bool = False) -> str:
    """Return the interval in words, or why there is none."""
    if not value.has_interval:
        return "one fold, so no interval" if value.folds <= 1 else "no interval"
    # A mean over folds plus or minus a multiple of its error can pass 100 %; no share can, so it ends there.
    ends = [percent(min(max(end, 0), 1)) if as_percent else number(end) for end in (value.low, value.high)]
    return f"95 % interval {ends[0]} to {ends[1]}, {counted(value.folds, 'fold')}"


def data_sentence(summary: Mapping[str, Any], classes: int) -> Sentence:
    """Say how many sequences and classes the answer rests on, and how many were left out."""
    known = int(summary.get("records_known") or summary.get("records_kept") or 0)
    read = int(summary.get("sequences_read") or known)
    text = f"The model learned from and was tested on {counted(known, 'sequence')} of "
    text += f"{counted(classes, 'class', 'classes')} (of {read:,} sequences read)."
    text += report_words_unknowns.set_aside(summary)
    conflicts = summary.get("conflicts") or {}
    if int(conflicts.get("sequences") or 0):
        many = int(conflicts["sequences"])
        text += f" {counted(many, 'sequence')} {'bears' if many == 1 else 'bear'} more than one name"
        best = float(conflicts.get("best_accuracy") or math.nan)
        if conflicts.get("policy") == "drop":
            text += f" and {'was' if many == 1 else 'were'} left out."
        else:
            text += f", so nobody could name more than {percent(best)} of the records rightly."
    return Sentence("On what data?", text)


def accuracy_sentence(model: str, accuracy: Estimate, f1: Estimate, majority: float = math.nan) -> Sentence:
    """Say how many of 100 unseen sequences get the right name.

    ``majority`` is the share of the largest class: what always giving its name would reach.
    """
    text = f"{model} gives the right name to {percent(accuracy.mean)} of the sequences it has not seen "
    text += f"({spread(accuracy, as_percent=True)})."
    if math.isfinite(majority) and accuracy.mean <= majority + 0.02:
        text += " That is no better than always giving the commonest name: it has learned nothing of use."
    if math.isfinite(f1.mean):
        drop = accuracy.mean - f1.mean
        text += f" Counting every class alike, common or rare, its score (macro F1) is {number(f1.mean)}"
        text += ", clearly lower: some classes are named worse than others." if drop > 0.05 else "."
    return Sentence("How well are they told apart?", text)


def certainty_sentence(
    raw: Estimate,
    calibrated: Estimate,
    log_loss: Estimate,
    word: str = "name",
    pooled: Estimate | None = None,
    by_chance: Estimate | None = None,
) -> Sentence:
    """Say whether the stated probabilities can be believed; ``raw`` and ``calibrated`` are the ECE, ``pooled`` that of
    all folds together, ``by_chance`` what a perfectly calibrated model would have there."""
    if not math.isfinite(calibrated.mean):
        return Sentence("How sure is it, and rightly so?", "The calibration was not measured.")
    points = 100 * calibrated.mean
    # All folds together where they are: of the few sequences of one fold much of the error is chance.
    off = points if pooled is None else 100 * pooled.mean
    verdict = (
        "can be taken nearly at their word" if off < 2
        else "are roughly right" if off < 5
        else "must be read with care" if off < 10
        else "must not be trusted as they stand"
    )  # fmt: skip
    text = f"Its probabilities {verdict}: on average they differ from the true share of right answers "
    text += f"by {points:.1f} percentage points"
    if math.isfinite(raw.mean):
        text += f" (before calibration {100 * raw.mean:.1f})"
    text += "."
    if pooled is not None and by_chance is not None:
        text += " Part of that is the chance of few sequences: with" if pooled.mean < calibrated.mean else " With"
        text += (
            f" those of all folds together it is {100 * pooled.mean:.1f}, where perfect probabilities would show "
            f"{100 * by_chance.low:.1f} to {100 * by_chance.high:.1f}"
        )
        little = "a little off" if off < 5 else "off by more than chance explains"
        text += f", so they are {little}." if pooled.mean > by_chance.high else ", so nothing says that they are wrong."
    if math.isfinite(log_loss.mean):
        text += f" It typically gives the true {word} a probability of {percent(math.exp(-log_loss.mean), 0)}"
        text += f" (log loss {number(log_loss.mean)})."
    return Sentence("How sure is it, and rightly so?", text)


def paired(tests: pd.DataFrame, name: str, model: str, other: str) -> pd.Series | None:
    """Return the paired test of ``model`` minus ``other`` on a metric, turned round where needed, or None.

    Over sequences where there is one, else over folds.
    """
    mine = report_words_differences.deciding(tests[tests["metric"] == name])
    straight = mine[(mine["model_a"] == model) & (mine["model_b"] == other)]
    if len(straight):
        return straight.iloc[0]
    turned = mine[(mine["model_a"] == other) & (mine["model_b"] == model)]
    if not len(turned):
        return None
    row = turned.iloc[0].copy()
    low, high = row["ci_low"], row["ci_high"]
    row["difference"], row["ci_low"], row["ci_high"] = -row["difference"], -high, -low
    return row


def baseline_sentence(
    model: str,
    baselines: Mapping[str, Mapping[str, Estimate]],
    own: Mapping[str, Estimate],
    tests: pd.DataFrame,
    counts: Sequence[str] = ("accuracy", "pr_auc_macro", "log_loss"),
) -> Sentence:
    """Say plainly whether a baseline does better than ``model``, on the metrics that count.

    ``baselines`` gives each baseline's calibrated test estimates by metric, ``own`` those of the model. On
    each metric the strongest baseline is the opponent: the choice favours the baselines, never the model.
    """
    question = "Is a language model worth it here?"
    parts, won, lost, behind, before, tested = [], 0, 0, 0, 0, 0
    for name in counts:
        words = metric(name)
        rivals = {b: e[name].mean for b, e in baselines.items() if name in e and math.isfinite(e[name].mean)}
        if not rivals or name not in own or not math.isfinite(own[name].mean):
            continue
        best = (max if words.more_is_better else min)(sorted(rivals), key=lambda rival: rivals[rival])
        ahead = (own[name].mean - rivals[best]) * (1 if words.more_is_better else -1)
        row = paired(tests, name, model, best)
        p = float(row.get("p_holm", row["p_value"])) if row is not None else math.nan
        values = f"{number(own[name].mean)} against {number(rivals[best])}"
        small = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
        evidence = small if math.isfinite(p) else "no test possible"
        if math.isfinite(p) and p < 0.05 and ahead != 0:
            won, lost = won + (ahead > 0), lost + (ahead < 0)
            verdict = f"the model beats {best}" if ahead > 0 else f"{best} beats the model"
        elif math.isfinite(p):
            who, whom = ("the model", best) if ahead > 0 else (best, "the model")
            verdict = f"{who} is ahead of {whom}, but not by enough to be sure"
        else:
            verdict = f"the model is {'ahead of' if ahead > 0 else 'behind' if ahead < 0 else 'level with'} {best}"
        behind, before, tested = behind + (ahead < 0), before + (ahead > 0), tested + math.isfinite(p)
        parts.append(f"{words.name}: {verdict} ({values}; {evidence})")
    if not parts:
        return Sentence(question, "No baseline was run, so this cannot be said.")
    if lost and not won:
        head = "No, not on this evidence: a classical method does better."
    elif won and not lost:
        head = "Yes: it does better than every baseline" + (
            " on all counts." if won == len(counts) else " where they differ."
        )
    elif won:
        head = "It depends on what you need: it wins on one count and loses on another."
    elif before == len(parts) and not tested:
        head = (
            "Perhaps: it is ahead of the strongest baseline on every count, but one split cannot tell luck from skill."
        )
    elif behind == len(parts):
        head = "Not shown: the strongest baseline, which is simpler and cheaper, is ahead everywhere, if not surely."
    else:
        head = "Not shown: no clear difference from the strongest baseline, which is simpler and cheaper."
    return Sentence(question, f"{head} {'. '.join(parts)}. {report_words_differences.how_tested(tests)}")


def overfitting_sentence(
    gaps: Sequence[float],
    rises: Sequence[float],
    measured: str = "macro PR-AUC",
    worsened: str = "its probabilities",
) -> Sentence:
    """Say how much better the model is on what it learned from.

    ``gaps``: what was ``measured`` on train minus validation at the chosen epoch, one per fold. ``rises``: validation
    log loss at the last evaluation divided by its lowest value, one per fold.
    """
    question = "Did it learn by heart?"
    gaps = [gap for gap in gaps if gap is not None and math.isfinite(gap)]
    rises = [rise for rise in rises if math.isfinite(rise)]
    if not gaps:
        return Sentence(question, "The training curves were not measured, so this cannot be said.")
    gap = sum(gaps) / len(gaps)
    text = (
        "Hardly" if gap < 0.03 else "A little" if gap < 0.1 else "Yes, clearly"
    ) + f": at the chosen epoch, {measured} is {abs(gap):.3f} {'higher' if gap >= 0 else 'lower'} on the "
    text += "training sequences than on the validation sequences it had not seen (mean over folds)."
    if rises and (rise := sum(rises) / len(rises)) > 1.05:
        text += f" By the end of training the validation loss was {percent(rise - 1, 0)} above its lowest point: "
        text += f"training longer made {worsened} worse."
    return Sentence(question, text)


def unknowns_sentence(rows: pd.DataFrame) -> str:
    """Say how sure the model is of classes it was never shown; rows have role and mean_top_probability."""
    mean = rows.groupby("role")["mean_top_probability"].mean()
    if "unknown" not in mean or "test" not in mean:
        return ""
    text = f"On sequences of classes it never saw, the model's best guess gets {percent(mean['unknown'], 0)} on "
    text += f"average; on test sequences of known classes {percent(mean['test'], 0)}. "
    if mean["test"] - mean["unknown"] > 0.2:
        return text + "A low probability is therefore a useful warning that a class may be new."
    return text + "The two are close: a high probability does not prove that the class is one the model knows."
