"""Figures where each base has a label: bases per label, F1 of each, confusions, and example sequences as tracks.

Tables in, one matplotlib Figure out. Colour-blind people tell the colours apart, and hatches say the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from dnatune.figures import WIDTH, empty_figure, shortened, styled, whole_numbers
from dnatune.figures_models import MARKERS

# Above this many labels the rarest are left out of a figure; the tables have all.
MOST = 40
HATCHES = ("", "///", "...", "xxx", "---", "ooo")
TRACKS = ("truth", "prediction")


@styled
def label_balance(balance: pd.DataFrame, colors: Sequence[str]) -> Figure:
    """Draw the bases of each label; ``balance`` has label, bases, share, the commonest first."""
    table = balance.head(MOST)
    figure = Figure(figsize=(WIDTH, 1.1 + 0.3 * len(table)), layout="constrained")
    axes = figure.add_subplot()
    place = np.arange(len(table))
    axes.barh(place, table["bases"], color=colors[0], height=0.7)
    for row, (bases, share) in enumerate(zip(table["bases"], table["share"], strict=True)):
        axes.annotate(f"{bases:,} ({100 * share:.3g} %)", (bases, row), (4, 0), textcoords="offset points", va="center")
    _rows(axes, table["label"])
    axes.margins(x=0.2)
    whole_numbers(axes)
    axes.set_xlabel("bases, all sequences")
    return figure


@styled
def label_f1(metrics: pd.DataFrame, labels: Sequence[str], best: str | None, colors: Sequence[str]) -> Figure:
    """Draw F1 of each label on test, calibrated, mean over folds, for the best language model and all baselines.

    ``metrics`` is metrics.tsv of these models, ``labels`` the rows from top to bottom.
    """
    mine = metrics[(metrics["metric"] == "f1") & (metrics["split"] == "test") & (metrics["stage"] == "calibrated")]
    means = mine.groupby(["model", "class"])["value"].mean()
    if means.empty:
        return empty_figure("No label was tested.")
    shown = list(labels)[:MOST]
    models = sorted(set(mine["model"]), key=lambda model: (model != best, model))
    figure = Figure(figsize=(WIDTH, 1.5 + 0.36 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    for number, model in enumerate(models):
        values = [means.get((model, label), np.nan) for label in shown]
        size = 9 if model == best else 6.5
        style = {"marker": MARKERS[number % len(MARKERS)], "color": colors[number % len(colors)], "markersize": size}
        axes.plot(values, np.arange(len(shown)), linestyle="none", label=model, zorder=3 - number / 100, **style)
    _rows(axes, shown)
    axes.grid(axis="y", visible=True)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("F1 per base, test")
    figure.legend(loc="outside upper center", ncols=min(3, len(models)))
    return figure


@styled
def label_confusions(table: pd.DataFrame, labels: Sequence[str]) -> Figure:
    """Draw which label the bases of each label get; ``table`` has truth, predicted, bases, share; cividis colours."""
    if table.empty:
        return empty_figure("No base was tested.")
    shown = list(labels)[:MOST]
    grid = table.pivot(index="truth", columns="predicted", values="share").reindex(index=shown, columns=shown)
    figure = Figure(figsize=(WIDTH, 1.4 + 0.42 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    values = grid.to_numpy(dtype=float)
    image = axes.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    names = [shortened(label, 18) for label in shown]
    axes.set_xticks(range(len(shown)), names, rotation=0 if max(map(len, names)) < 4 else 60)
    axes.set_yticks(range(len(shown)), names)
    axes.set_xlabel("label given")
    axes.set_ylabel("true label")
    axes.grid(visible=False)
    if len(shown) <= 15:
        for (row, column), value in np.ndenumerate(values):
            color = "black" if value > 0.55 else "white"
            axes.text(column, row, f"{100 * value:.0f} %", ha="center", va="center", color=color, fontsize=10)
    figure.colorbar(image, label="share of the true label's bases")
    return figure


@styled
def tracks(table: pd.DataFrame, labels: Sequence[str], colors: Sequence[str]) -> Figure:
    """Draw true and predicted segments of the example sequences of one fold, one above the other.

    ``table`` as ``token_judging.tracks`` makes it; ``labels`` in the order of their colours and hatches.
    """
    if table.empty:
        return empty_figure("No sequence was tested.")
    order = {label: number for number, label in enumerate(labels)}
    examples = list(table.groupby(["example", "id"], sort=False))
    figure = Figure(figsize=(WIDTH, 0.9 + 1.35 * len(examples)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(len(examples), 1))
    for axes, ((example, name), rows) in zip(panels, examples, strict=True):
        for track, part in rows.groupby("track"):
            for number, own in part.groupby(part["label"].map(order)):
                spans = list(zip(own["start"], own["end"] - own["start"], strict=True))
                axes.broken_barh(spans, (TRACKS.index(track) - 0.38, 0.76), **_look(number, colors))
        axes.set_yticks(range(len(TRACKS)), ["true", "predicted"])
        axes.set_ylim(len(TRACKS) - 0.5, -0.5)
        axes.set_xlim(0, rows["bases"].iloc[0])
        axes.grid(visible=False)
        whole_numbers(axes)
        right = f"{100 * rows['accuracy'].iloc[0]:.0f} % of bases right"
        axes.set_title(f"{example}: {shortened(name, 40)}, {right}", fontsize=10.5)
    panels[-1].set_xlabel("base of the sequence")
    used = [label for label in labels if label in set(table["label"])]
    handles = [Patch(label=shortened(label, 18), **_look(order[label], colors)) for label in used]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(6, len(handles)))
    return figure


def _look(number: int, colors: Sequence[str]) -> dict[str, object]:
    # Hatches turn with the colours, and shift where both would begin anew together.
    period = math.lcm(len(colors), len(HATCHES))
    hatch = HATCHES[(number + number // period) % len(HATCHES)]
    return {"facecolor": colors[number % len(colors)], "hatch": hatch, "edgecolor": "white", "linewidth": 0}


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), [shortened(label) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
