"""The figure of the learning curve: how good each model is with how many training records.

The table of points in, one matplotlib Figure out; style, palette and saving come from ``figures``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dnatune import report_words
from dnatune.figures import GREY, OKABE_ITO, WIDTH, empty_figure, plain_ticks, shortened, styled
from dnatune.figures_models import LINES, MARKERS
from dnatune.tasks.base import Task


@styled
def more_data(points: pd.DataFrame, task: Task, colors: Sequence[str] = OKABE_ITO) -> Figure:
    """Draw the task's four headline figures against the number of training records, on a logarithmic axis.

    ``points`` has the columns of ``more_data.POINT_COLUMNS``. A mark is the mean over folds, the bar through it goes
    from the worst fold to the best; models stand a little beside each other, or bars would hide bars.
    """
    if points.empty:
        return empty_figure("There are no points of a learning curve.")
    models = list(dict.fromkeys(points["model"]))
    figure = Figure(figsize=(WIDTH, 1.0 + 0.25 * -(-len(models) // 3) + 2 * 2.7), layout="constrained")
    for axes, metric in zip(figure.subplots(2, 2).flat, task.headline, strict=True):
        words = report_words.metric(metric)
        for number, model in enumerate(models):
            mine = points[(points["model"] == model) & (points["metric"] == metric)]
            _one_model(axes, mine, shortened(model, 24), number, 1 + 0.025 * (number - (len(models) - 1) / 2), colors)
        records = points.groupby("share")["train_records"].mean()
        axes.set_xscale("log")
        axes.set_xlim(records.min() / 1.25, records.max() * 1.25)
        plain_ticks(axes.xaxis, records.min() / 1.25, records.max() * 1.25)
        axes.set_title(words.name)
        direction = "more is better" if words.more_is_better else "less is better"
        axes.set_ylabel(direction, fontsize=9.5, color=GREY)
        axes.set_xlabel("training sequences (logarithmic)", fontsize=9.5, color=GREY)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=3)
    return figure


def _one_model(axes: Axes, mine: pd.DataFrame, name: str, number: int, aside: float, colors: Sequence[str]) -> None:
    by_share = mine.groupby("share")
    value = by_share["value"].agg(["mean", "min", "max"])
    look = {"color": colors[number % len(colors)], "marker": MARKERS[number % len(MARKERS)]}
    axes.errorbar(
        by_share["train_records"].mean().to_numpy() * aside,
        value["mean"],
        yerr=np.abs([value["mean"] - value["min"], value["max"] - value["mean"]]),
        linestyle=LINES[number % len(LINES)],
        linewidth=1.6,
        elinewidth=1.1,
        markersize=6,
        label=name,
        **look,
    )
