"""The words of the report for values: what their metrics mean, and the sentences of the answer.

Numbers in, words out, as in ``report_words``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dnatune.tasks.regression_values import amount

if TYPE_CHECKING:
    import pandas as pd

    from dnatune.report_words import Estimate, Metric, Sentence


def metrics(kind: type[Metric]) -> dict[str, Metric]:
    """Return the words for the metrics of values, as ``kind``."""
    return {
        "r2": kind(
            "R2",
            "Share of the values' variation that the prediction explains. 1 is perfect, 0 is no better than always "
            "giving the mean, below 0 is worse than that. With several outputs the mean of theirs.",
        ),
        "pearson": kind(
            "Pearson",
            "Correlation of predicted and measured values: do they lie on a line, whatever its slope? 1 is perfect, "
            "0 is none.",
        ),
        "spearman": kind(
            "Spearman", "Correlation of their ranks: is the order right, whatever the values? 1 is perfect, 0 is none."
        ),
        "mse": kind(
            "MSE",
            "Mean squared error, in squared units of the values. 0 is perfect. With several outputs the mean of "
            "theirs, whatever their units.",
            more_is_better=False,
        ),
        "rmse": kind(
            "RMSE",
            "Root of the mean squared error: how far off a prediction typically is, in the units of the values, large "
            "errors counted more. 0 is perfect. With several outputs the mean of theirs, whatever their units.",
            more_is_better=False,
        ),
        "mae": kind(
            "MAE",
            "Mean absolute error: how far off a prediction is on average, in the units of the values. 0 is perfect. "
            "With several outputs the mean of theirs, whatever their units.",
            more_is_better=False,
        ),
        "coverage": kind(
            "Coverage",
            "Share of measured values that lie within their prediction interval. Best is neither more nor less than "
            "was asked for.",
        ),
        "interval_width": kind(
            "Interval width",
            "Width of the prediction interval from end to end, in the units of the values. At the same coverage, "
            "narrower is better.",
            more_is_better=False,
        ),
    }


def data_sentence(summary: Mapping[str, Any], labels: Mapping[str, Any]) -> Sentence:
    """Say how many sequences there are, and how many values the answer rests on."""
    from dnatune.report_words import Sentence, counted

    known = int(summary.get("records_known") or summary.get("records_kept") or 0)
    read = int(summary.get("sequences_read") or known)
    text = f"The model learned from and was tested on {counted(known, 'sequence')} (of {read:,} read)"
    outputs = int(labels.get("outputs") or 1)
    text += f" with {outputs} outputs. " if outputs > 1 else ". "
    return Sentence("On what data?", text + str(labels.get("statement") or ""))


def error_sentence(who: str, own: Mapping[str, Estimate], outputs: pd.DataFrame) -> Sentence:
    """Say how much of the variation is explained and how far off predictions are.

    ``outputs`` has a row for each output of the model: output, r2, mae, rmse, spearman.
    """
    from dnatune.report_words import Sentence, number, spread

    question = "How far off are its predictions?"
    r2 = own.get("r2")
    if r2 is None or not math.isfinite(r2.mean):
        return Sentence(question, f"{who} could not be judged: too few test values.")
    text = f"{who} has an R2 of {number(r2.mean)} on sequences it has not seen ({spread(r2)})"
    text += f": it explains {100 * r2.mean:.0f} % of their variation." if r2.mean > 0.02 else "."
    if r2.mean <= 0.02:
        text += " That is no better than always giving the mean: it has learned nothing of use."
    each = [
        f"{row.output} by {amount(row.mae)} (standard deviation of the values {amount(row.sd)}; R2 {number(row.r2)}, "
        f"rank correlation {number(row.spearman)})"
        for row in outputs.itertuples()
    ]
    if each:
        text += " On average it misses " + "; ".join(each) + "."
    return Sentence(question, text)


def interval_sentence(coverage: Estimate | None, wanted: float, outputs: pd.DataFrame) -> Sentence:
    """Say whether the prediction intervals hold what they promise; ``outputs`` has coverage and interval_width."""
    from dnatune.report_words import Sentence, percent

    question = "How sure is it, and rightly so?"
    if coverage is None or not math.isfinite(coverage.mean):
        return Sentence(question, "There are no prediction intervals: none were asked for, or validation is too small.")
    short = wanted - coverage.mean
    verdict = (
        "hold what they promise" if abs(short) <= 0.02
        else "are a little too narrow" if 0 < short <= 0.05
        else "are too narrow and promise too much" if short > 0
        else "are wider than need be"
    )  # fmt: skip
    text = f"Its intervals for {percent(wanted, 0)} of values {verdict}: {percent(coverage.mean)} of the measured test "
    text += "values lie inside."
    widths = [
        f"{row.output} ± {amount(row.interval_width / 2)}"
        for row in outputs.itertuples()
        if math.isfinite(row.interval_width)
    ]
    return Sentence(question, f"{text} They reach {', '.join(widths)} round the prediction." if widths else text)
