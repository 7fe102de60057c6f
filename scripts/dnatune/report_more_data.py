"""Would more data help, in words: for the report's section and for a page of its own.

The tables of the learning curve in; sentences, rows for reading and the text of learning_curve.html out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dnatune import report, report_files, report_words
from dnatune.more_data import VERDICTS
from dnatune.report_words import Metric, Sentence, number, percent
from dnatune.tasks.base import Task

EXPLAINED = {
    "helps": "still rises",
    "level": "has levelled off",
    "unsure": "cannot be said",
    "single": "one split only",
}


@dataclass(frozen=True)
class MoreData:
    """The tables of points, of gains and of training records, and how it was trained.

    ``keep`` is the setting of that name; ``language_models`` are those of the curve.
    """

    curve: pd.DataFrame
    gains: pd.DataFrame
    counts: pd.DataFrame
    task: Task
    keep: str
    language_models: Sequence[str]

    @property
    def metric(self) -> Metric:
        """The words of the metric that decides."""
        return self.words(self.task.best_by)

    def words(self, metric: str) -> Metric:
        """Return the words for a metric, the task's own where it has some."""
        return self.task.report.metric(metric) or report_words.metric(metric)

    @property
    def sentences(self) -> list[Sentence]:
        """Return the answers in words."""
        found = [answer_sentence(self.gains, self.metric.name), parts_sentence(self.counts), limits_sentence()]
        return [*found, steps_sentence(self.keep)] if self.language_models else found

    @property
    def shares(self) -> list[dict[str, Any]]:
        """Return for each share its name, the training records (mean, fewest, most), the real share and classes."""
        rows = []
        for share, mine in self.counts.groupby("share"):
            records = mine["train_records"]
            sizes = {"mean": records.mean(), "fewest": records.min(), "most": records.max()}
            small = mine["small_classes"].mean() / mine["classes"].mean()
            rows.append({"name": named(share), **sizes, "real": mine["real_share"].mean(), "small": small})
        return rows

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return for each model the main metric at each share (mean, worst and best fold), its gain and words."""
        mine = self.curve[self.curve["metric"] == self.task.best_by]
        at = mine.groupby(["model", "share"])["value"].agg(["mean", "min", "max"])
        return [
            {**row, "at": at.loc[row["model"]].to_dict("records"), "explained": EXPLAINED[row["verdict"]]}
            for row in self.gains.to_dict("records")
        ]


def read(
    curve: str | Path, gains: str | Path, counts: str | Path, task: Task, keep: str, models: Sequence[str]
) -> MoreData:
    """Read the three tables; ``models`` are the language models of the run."""
    points = report_files.table(curve)
    there = [name for name in dict.fromkeys(points["model"]) if name in models]
    return MoreData(points, report_files.table(gains), report_files.table(counts), task, keep, there)


def named(share: float) -> str:
    """Return '10 %' or 'all'."""
    return "all" if share == 1 else f"{100 * share:g} %"


def answer_sentence(gains: pd.DataFrame, metric: str) -> Sentence:
    """Say for which models more data would help, for which it would not, and for which the folds cannot say."""
    parts = []
    for verdict, start in VERDICTS.items():
        mine = gains[gains["verdict"] == verdict]
        if len(mine):
            said = ", ".join(f"{row.model} ({signed(row.gain)}{_interval(row)})" for row in mine.itertuples())
            parts.append(f"{start}: {said}.")
    first = gains.iloc[0]
    interval = ", with its 95 % interval" if gains["ci_low"].notna().any() else ""
    parts.append(
        f"In brackets: the gain in {metric} when the training sequences grew from {named(first.from_share)} to "
        f"all (about {number(first.from_records, 0)} to {number(first.to_records, 0)}){interval}."
    )
    return Sentence("For which model?", " ".join(parts))


def signed(value: float) -> str:
    """Return a number with its sign, three digits."""
    return f"{value:+.3f}"


def _interval(row: Any) -> str:
    return "" if pd.isna(row.ci_low) else f"; {signed(row.ci_low)} to {signed(row.ci_high)}"


def parts_sentence(counts: pd.DataFrame) -> Sentence:
    """Say what the parts are, and where the smallest is more than was asked for."""
    share = counts["share"].min()
    mine = counts[counts["share"] == share]
    text = (
        "In each fold the smaller parts lie within the larger ones, with all labels in the same proportions and "
        "identical or clustered sequences together. Validation and test are the same at every point, and so is what is "
        "measured; the last point is the run itself."
    )
    if (mine["small_classes"] > 0).any():
        text += (
            f" No label is left without a sequence, so the part called {named(share)} really holds "
            f"{percent(mine['real_share'].mean(), 0)} of the training sequences: "
            f"{percent((mine['small_classes'] / mine['classes']).mean(), 0)} of the labels would have less than one."
        )
    return Sentence("What is compared?", text)


def limits_sentence() -> Sentence:
    """Say how far the answer reaches."""
    return Sentence(
        "How far does the answer reach?",
        "It is about more sequences with the same labels, drawn like these. It says nothing of labels that are "
        "missing, of another marker, or of wrong labels. Gains usually shrink with each doubling: take the last one as "
        "the most that the next will bring. Folds share training sequences, so the interval is widened for it (Nadeau "
        "and Bengio 2003); it still rests on few folds.",
    )


def steps_sentence(keep: str) -> Sentence:
    """Say how long language models were trained on the smaller parts."""
    text = {
        "steps": "With fewer sequences a language model passes over them more often, so that every point has the same "
        "number of training steps, the same schedule and as many evaluations to choose the best one from. What differs "
        "is the data, not how long was trained.",
        "epochs": "Every point has the same number of epochs, so a tenth of the sequences also means a tenth of the "
        "training steps. A language model that was trained too briefly on the small parts makes the curve steeper than "
        "more data alone would.",
    }[keep]
    return Sentence("How long were language models trained?", text)


def page(
    name: str,
    found: MoreData,
    figures: Mapping[str, tuple[str | Path, str]],
    template: str | Path,
    css: str | Path,
    js: str | Path,
) -> str:
    """Return learning_curve.html; ``figures`` are SVG files with their captions."""
    return report.page_of_its_own(figures, template, css, js, name=name, more_data=found, metric=found.words)
