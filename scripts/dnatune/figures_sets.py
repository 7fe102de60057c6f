"""The figure of sets of names: is the promise kept, fold by fold, for rare and common classes; how many names.

Tables in, one matplotlib Figure out; style, palette and saving come from ``figures``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dnatune.figures import GREY, OKABE_ITO, WIDTH, empty_figure, shortened, styled
from dnatune.prediction_sets import GROUPS_OF_CLASSES, RARE_RECORDS

# Upper ends of the bars of set sizes.
ENDS = (1, 2, 3, 5, 10, 50)
LABELS = {
    "all": "all classes",
    GROUPS_OF_CLASSES[0]: f"rare: at most {RARE_RECORDS}\ntraining sequences",
    GROUPS_OF_CLASSES[1]: f"common: more\nthan {RARE_RECORDS}",
}
MARKERS = ("o", "s", "^")


@styled
def prediction_sets(
    metrics: pd.DataFrame,
    folds: Sequence[Mapping[str, np.ndarray]],
    model: str | None = None,
    colors: Sequence[str] = OKABE_ITO,
) -> Figure:
    """Draw the share of true names in their set against the promise, and how many names the sets hold.

    ``metrics`` is the file of that name; ``folds`` have set_size (n,) and set_asked of the test sequences of ``model``.
    Left: a mark for each fold, a bar for the mean. Right: share of test sequences by size, all folds together.
    """
    folds = [fold for fold in folds if "set_size" in fold]
    if not folds:
        return empty_figure("There are no sets of names.")
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    mine = metrics[(metrics["model"] == model) & (metrics["metric"] == "set_coverage") & (metrics["split"] == "test")]
    shown = [name for name in LABELS if (mine["class"] == name).any()]
    promised, low = float(folds[0]["set_asked"]), 1.0
    for place, name in enumerate(shown):
        values = mine.loc[mine["class"] == name, "value"].to_numpy(dtype=float)
        low = min(low, values.min())
        look = {"color": colors[place % len(colors)], "marker": MARKERS[place]}
        # Folds beside each other, or equal ones would hide.
        spots = place + np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else [place]
        left.plot(values, spots, linestyle="none", markersize=7, alpha=0.8, **look)
        left.plot([values.mean()] * 2, [place - 0.3, place + 0.3], color="black", linewidth=2)
        left.annotate(
            f"{100 * values.mean():.1f} %", (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=9.5
        )
    left.axvline(promised, color=GREY, linestyle=":", linewidth=1.6)
    left.annotate(
        f"promised {100 * promised:g} %", (promised, -0.62), ha="right", va="center", fontsize=9.5, color=GREY
    )
    left.set_xlim(max(0.0, min(low, promised) - 0.08), 1.01)
    left.set_ylim(len(shown) - 0.5, -0.75)
    left.set_yticks(range(len(shown)), [LABELS[name] for name in shown])
    left.grid(axis="y", visible=False)
    left.set_xlabel("share of true names in their set")
    left.set_title(f"Kept by {shortened(model or '', 20)}")
    share, names = sizes_by_bar(np.concatenate([fold["set_size"] for fold in folds]))
    bars = right.barh(range(len(share)), share, color=colors[0])
    right.bar_label(bars, [f"{value:.1f} %" if value else "0" for value in share], fontsize=9.5, padding=3)
    right.set_yticks(range(len(share)), names)
    right.set_ylim(len(share) - 0.4, -0.6)
    right.set_xlim(0, max(share) * 1.3)
    right.grid(axis="y", visible=False)
    right.set_ylabel("names in the set")
    right.set_xlabel("% of test sequences")
    right.set_title("How many names")
    return figure


def sizes_by_bar(sizes: np.ndarray) -> tuple[list[float], list[str]]:
    """Return the per cent of set sizes (n,) in each bar, and the bars' names; no bars beyond the largest set."""
    edges = [0, *ENDS, max(int(sizes.max()), ENDS[-1] + 1)]
    none = 100 * float((sizes == 0).mean())
    share, names = ([none], ["none"]) if none else ([], [])
    for below, end in pairwise(edges):
        if below and sizes.max() <= below:
            break
        share.append(100 * float(((sizes > below) & (sizes <= end)).mean()))
        last = end == edges[-1]
        names.append(f"> {below}" if last else str(end) if end - below == 1 else f"{below + 1}–{end}")
    return share, names
