"""The figure of ranks: how deep names go and how many are right, for known and unknown labels; where mistakes land.

Small tables (``report_ranks``) in, one matplotlib Figure out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dnatune.figures import OKABE_ITO, WIDTH, empty_figure, shortened, styled, whole_numbers
from dnatune.report_words import percent

PALE = "#d9d9d9"


@styled
def ranks(
    table: pd.DataFrame, unknown: pd.DataFrame, mistakes: pd.DataFrame, colors: Sequence[str] = OKABE_ITO
) -> Figure:
    """Draw the shares of sequences named rightly, named wrongly and not named at each rank, and where mistakes land.

    ``table`` has the rows of one model in ``report_ranks.ranks``, ``unknown`` those of ``report_ranks.together``: a bar
    for sequences whose taxon is new and one for those whose taxon was trained; ``mistakes`` is that of the function of
    this name there.
    """
    table = table.dropna(subset=["named"])
    if table.empty:
        return empty_figure("There are no figures at ranks.")
    # Where nothing is named, no name is wrong.
    wrong_of_named = 1 - table["named_right"].fillna(1)
    shown = [
        (shortened(row["rank"], 18), row["named"], row["named"] * wrong)
        for row, wrong in zip(table.to_dict("records"), wrong_of_named, strict=True)
    ]
    for row in unknown.to_dict("records"):
        name = shortened(row["rank"], 18)
        if row["novel"] > 0:
            shown.append((f"never seen: new {name}", row["overclassified"], row["overclassified"]))
        if row["records"] > 0:
            shown.append((f"never seen: known {name}", row["named"], row["misclassified"]))
    wrong = mistakes[mistakes["count"] > 0] if len(mistakes) else mistakes
    heights = [0.9 + 0.36 * len(shown), 0.9 + 0.36 * max(1, len(wrong))]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=heights)
    _named(upper, shown, colors)
    if len(unknown):
        upper.axhline(len(table) - 0.5, color="#888888", linewidth=0.8, linestyle=":")
    _landing(lower, wrong, colors)
    figure.legend(*upper.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _named(axes: Axes, shown: list[tuple[str, float, float]], colors: Sequence[str]) -> None:
    """Draw bars with a name, the share that is named and the share that is named wrongly."""
    named, wrong = (np.array([row[place] for row in shown]) for place in (1, 2))
    right = named - wrong
    place, start = np.arange(len(shown)), np.zeros(len(shown))
    for share, name, color, hatch, ink in (
        (right, "named, rightly", colors[0], "", "white"),
        (wrong, "named, wrongly", colors[1 % len(colors)], "//", "black"),
        (1 - named, "not named at this rank", PALE, "", "black"),
    ):
        axes.barh(place, share, left=start, color=color, hatch=hatch, edgecolor="white", height=0.7, label=name)
        for row, (left, width) in enumerate(zip(start, share, strict=True)):
            if width >= 0.09:
                box = {"facecolor": color, "edgecolor": "none", "pad": 1.2} if hatch else None
                middle = left + width / 2
                axes.text(middle, row, percent(width), ha="center", va="center", color=ink, fontsize=9, bbox=box)
        start = start + share
    axes.set_yticks(place, [name for name, *_ in shown])
    axes.set_ylim(len(shown) - 0.45, -0.55)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share of sequences")
    axes.set_title("Named down to which rank")


def _landing(axes: Axes, wrong: pd.DataFrame, colors: Sequence[str]) -> None:
    axes.set_title("Where wrong best guesses land")
    if wrong.empty:
        axes.axis("off")
        axes.text(0.5, 0.5, "No best guess was wrong.", ha="center", va="center", transform=axes.transAxes)
        return
    place = np.arange(len(wrong))
    axes.barh(place, wrong["count"], color=colors[1 % len(colors)], height=0.7)
    for row, (count, share) in enumerate(zip(wrong["count"], wrong["share"], strict=True)):
        words = f"{count:,} ({percent(share, 0)})"
        axes.annotate(words, (count, row), (4, 0), textcoords="offset points", va="center", fontsize=10)
    axes.set_yticks(place, [shortened(lands, 40) for lands in wrong["lands"]])
    axes.set_ylim(len(wrong) - 0.45, -0.55)
    axes.margins(x=0.18)
    axes.grid(axis="y", visible=False)
    whole_numbers(axes)
    axes.set_xlabel("wrong best guesses of test sequences, all folds together")
