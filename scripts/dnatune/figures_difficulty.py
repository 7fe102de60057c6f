"""The barcode gap: how far the names are from each other against how much each of them varies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from dnatune.figures import GREY, MANY_POINTS, OKABE_ITO, WIDTH, empty_figure, styled

# Verdict -> words, marker: shape says the same as colour.
KINDS = {
    "gap": ("set apart by a gap", "o"),
    "overlap": ("overlaps with another name", "^"),
    "nearly": ("nearly the same as another name", "v"),
    "same": ("shares a sequence or a piece", "s"),
    "single": ("spread not known", "D"),
}
TICKS = (0, 0.1, 0.5, 1, 2, 5, 10, 15, 20, 30, 50)


@styled
def barcode_gap(species: pd.DataFrame, colors: Sequence[str] = OKABE_ITO) -> Figure:
    """Draw one point per class: distance to the nearest other class against its two farthest sequences, in per cent.

    ``species`` has between_min, within_max (NaN where it is not known: a strip at the left) and verdict. Axes are of
    square roots, because most of what matters is near 0; points are moved aside a little, always in the same way.
    """
    table = species.dropna(subset=["between_min"])
    if table.empty:
        return empty_figure("No two names are similar enough to be compared.")
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    strip, plane = figure.subplots(1, 2, sharey=True, width_ratios=[1, 6])
    shift = np.random.default_rng(0).uniform(-0.06, 0.06, (len(table), 2))
    known = table["within_max"].notna().to_numpy()
    across = np.where(known, np.sqrt(100 * table["within_max"].fillna(0)), 0.0) + shift[:, 0] * np.where(known, 1, 6)
    up = np.sqrt(100 * table["between_min"].to_numpy(dtype=float)) + shift[:, 1]
    for number, (verdict, (words, marker)) in enumerate(KINDS.items()):
        mine = (table["verdict"] == verdict).to_numpy()
        for axes, here in ((strip, mine & ~known), (plane, mine & known)):
            axes.scatter(
                across[here],
                up[here],
                s=22 if len(table) < 300 else 9,
                alpha=0.6 if len(table) < 300 else 0.35,
                color=colors[number % len(colors)],
                marker=marker,
                linewidths=0,
                rasterized=len(table) > MANY_POINTS,
            )
        if mine.any():
            plane.scatter(
                [], [], s=30, color=colors[number % len(colors)], marker=marker, label=f"{words} ({mine.sum():,})"
            )
    top = max(float(np.nanmax(up)), float(np.max(across[known], initial=0.0))) + 0.2
    plane.plot([0, top], [0, top], color=GREY, linestyle=":", linewidth=1.5)
    plane.text(0.97 * top, 0.9 * top, "as far as it varies", ha="right", va="top", color=GREY, fontsize=9.5)
    plane.set_xlim(-0.15, top)
    plane.set_ylim(-0.15, top)
    strip.set_xlim(-0.6, 0.6)
    strip.set_xticks([])
    strip.set_xlabel("no two\nsequences")
    strip.set_ylabel("% to the nearest other name")
    plane.set_xlabel("% between the two farthest sequences of the name")
    _per_cent(strip, plane, top)
    figure.legend(*plane.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def _per_cent(strip: Axes, plane: Axes, top: float) -> None:
    places = [float(np.sqrt(tick)) for tick in TICKS if np.sqrt(tick) <= top]
    for axis in (strip.yaxis, plane.xaxis):
        axis.set_major_locator(FixedLocator(places))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value**2:.2g}"))
