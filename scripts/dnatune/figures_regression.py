"""Figures of values: how they are distributed, predicted against measured, and whether intervals hold.

Arrays in, one matplotlib Figure out; style, palette and saving come from ``figures``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from dnatune.figures import GREY, MANY_POINTS, OKABE_ITO, WIDTH, empty_figure, plain_ticks, shortened, styled
from dnatune.regression_metrics import point_metrics
from dnatune.report_words import number

COLUMNS = 3
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P")
# Parts of the range of predictions in which coverage is looked at on its own, and values needed in each.
PARTS, PART_VALUES = 5, 20

Folds = Sequence[Mapping[str, np.ndarray]]


def _panels(outputs: int, height: float) -> tuple[Figure, np.ndarray]:
    columns = min(outputs, COLUMNS)
    rows = -(-outputs // columns)
    figure = Figure(figsize=(WIDTH, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[outputs:]:
        axes.axis("off")
    return figure, grid


@styled
def target_distribution(histograms: Mapping[str, Mapping[str, Any]], colors: Sequence[str] = OKABE_ITO) -> Figure:
    """Draw how often each value was measured; ``histograms`` has for each output edges (bins + 1) and counts."""
    if not histograms:
        return empty_figure("There are no values to show.")
    figure, grid = _panels(len(histograms), 2.7)
    for axes, (name, histogram) in zip(grid.flat, histograms.items(), strict=False):
        axes.stairs(histogram["counts"], histogram["edges"], fill=True, color=colors[0], alpha=0.85)
        axes.set_title(shortened(name, 28))
        axes.set_xlabel("measured value")
    for axes in grid[:, 0]:
        axes.set_ylabel("sequences")
    return figure


@styled
def predicted_measured(folds: Folds, model: str = "", colors: Sequence[str] = OKABE_ITO) -> Figure:
    """Draw predicted against measured test values of one model, a panel for each output, all folds together.

    ``folds`` have outputs (outputs,), measured and predicted (n, outputs). Few values are points, many are counted
    in hexagons. The dotted line is where a perfect prediction lies.
    """
    if not folds:
        return empty_figure("No model was evaluated.")
    names = [str(name) for name in folds[0]["outputs"]]
    measured, predicted = (np.concatenate([fold[key] for fold in folds]) for key in ("measured", "predicted"))
    figure, grid = _panels(len(names), 5.0 if len(names) < COLUMNS else 3.8)
    shades = LinearSegmentedColormap.from_list("counts", ["#e8eef5", colors[0], "#000000"])
    for axes, name, x, y in zip(grid.flat, names, measured.T, predicted.T, strict=False):
        there = ~np.isnan(x)
        x, y = x[there].astype(float), y[there].astype(float)
        if not len(x):
            axes.text(0.5, 0.5, "no test values", ha="center", va="center", transform=axes.transAxes)
            continue
        ends = np.array([min(x.min(), y.min()), max(x.max(), y.max())])
        ends += np.array([-0.03, 0.03]) * np.ptp(ends)
        axes.axline((ends[0], ends[0]), slope=1, color=GREY, linewidth=1.2, linestyle=":", zorder=3)
        if len(x) > MANY_POINTS:
            drawn = axes.hexbin(
                x, y, gridsize=45, extent=(*ends, *ends), mincnt=1, bins="log", cmap=shades, linewidths=0,
                rasterized=True,
            )  # fmt: skip
            bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", shrink=0.8)
            plain_ticks(bar.ax.xaxis, 1, max(2, drawn.get_array().max()))
            bar.set_label("sequences", fontsize=9.5)
        else:
            axes.scatter(x, y, s=14, alpha=0.5, color=colors[0], linewidths=0)
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        axes.set_aspect("equal")
        found = point_metrics(x, y)
        axes.set_title(f"{shortened(name, 24)}\nR2 {number(found['r2'])}, {len(x):,} values", fontsize=10.5)
        axes.set_xlabel("measured")
    for axes in grid[:, 0]:
        axes.set_ylabel(f"predicted by {shortened(model, 22)}" if model else "predicted")
    return figure


@styled
def interval_coverage(folds: Folds, model: str = "", colors: Sequence[str] = OKABE_ITO) -> Figure:
    """Draw whether intervals hold as many test values as they promise: at every level, and low to high predictions.

    ``folds`` have outputs (outputs,), levels (l,), coverage (l, outputs), half_width (outputs,) for the coverage that
    was asked, measured and predicted (n, outputs). The first panel is the mean over folds.
    """
    if not folds:
        return empty_figure("No model was evaluated.")
    names = [str(name) for name in folds[0]["outputs"]]
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=GREY, linewidth=1.2, linestyle=":")
    stacked = np.ma.masked_invalid(np.stack([fold["coverage"] for fold in folds])).mean(axis=0).filled(np.nan)
    for i, name in enumerate(names):
        look = {
            "color": colors[i % len(colors)],
            "linestyle": LINES[i % len(LINES)],
            "marker": MARKERS[i % len(MARKERS)],
            "markersize": 5,
        }
        left.plot(folds[0]["levels"], stacked[:, i], label=shortened(name, 26), **look)
        right.plot(range(1, PARTS + 1), coverage_by_prediction(folds, i), **look)
    left.set_title("At every level")
    left.set_xlabel("share of values promised")
    left.set_ylabel("share of test values inside")
    left.set_xlim(0, 1)
    left.set_ylim(0, 1.02)
    left.set_aspect("equal")
    right.axhline(float(folds[0]["asked"]), color=GREY, linewidth=1.2, linestyle=":")
    right.set_title("Low to high predictions")
    right.set_xlabel("fifth of the predictions, lowest first")
    right.set_xticks(range(1, PARTS + 1))
    right.set_ylim(0, 1.02)
    figure.legend(loc="outside upper center", ncols=min(len(names), 3))
    return figure


def coverage_by_prediction(folds: Folds, output: int) -> np.ndarray:
    """Return the share of test values within their interval in each fifth (5,) of the predictions of an output.

    NaN for a part of fewer than 20 values, and where there are no intervals.
    """
    order, inside = [], []
    for fold in folds:
        there = ~np.isnan(fold["measured"][:, output])
        predicted, width = fold["predicted"][there, output], fold["half_width"][output]
        if np.isfinite(width) and len(predicted):
            order.append(predicted.argsort().argsort() / len(predicted))
            inside.append(np.abs(fold["measured"][there, output] - predicted) <= width)
    found = np.full(PARTS, np.nan)
    if order:
        part = (np.concatenate(order) * PARTS).astype(int)
        hits = np.concatenate(inside)
        for number_of in range(PARTS):
            mine = hits[part == number_of]
            found[number_of] = mine.mean() if len(mine) >= PART_VALUES else np.nan
    return found
