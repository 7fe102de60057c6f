"""The figures of the report: each function takes plain tables and gives back one matplotlib Figure.

No global drawing state is touched, and the same tables give the same SVG, byte for byte. Colour never
stands alone: markers, line styles or hatches say the same thing. More of them in ``figures_models``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from dnatune.files import whole
from dnatune.fold_data import ROLES

# Okabe & Ito (2008), "Color universal design"; the light yellow comes last because it is faint on white.
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
HATCHES = ("", "//", "..")
GREY = "#666666"
WIDTH = 7.2  # inches; 11 pt text in it stays readable when a phone shows the figure 520 pixels wide
MANY_POINTS = 1000  # above it points are drawn as pixels inside the SVG, so that the file stays small
STYLE: dict[str, Any] = {
    "svg.hashsalt": "dnatune",
    "svg.fonttype": "path",
    "text.parse_math": False,  # a label such as "A$1 $B" is a name, not a formula
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e2e2e2",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "hatch.linewidth": 0.6,
    "figure.facecolor": "white",
}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Make a drawing function use ``STYLE`` and leave matplotlib's settings as they were."""

    @wraps(draw)
    def inside(*arguments: Any, **settings: Any) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*arguments, **settings)

    return inside


def save_figure(figure: Figure, *paths: str | Path) -> None:
    """Write ``figure`` to each path (.svg or .png; 150 dpi), without a date, whole or not at all."""
    with matplotlib.rc_context(STYLE):
        for path in map(Path, paths):
            metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
            with whole(path) as partial:
                figure.savefig(partial, format=path.suffix[1:], dpi=150, metadata=metadata)


def shortened(name: str, letters: int = 34) -> str:
    """Return ``name`` cut in its middle to at most ``letters`` letters, on one line."""
    name = " ".join(str(name).split())
    if len(name) <= letters:
        return name
    head = (letters - 1) * 2 // 3
    return f"{name[:head]}…{name[-(letters - 1 - head) :]}"


def empty_figure(sentence: str) -> Figure:
    """Return a figure that says in one sentence why there is nothing to draw."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.6), layout="constrained")
        axes = figure.add_subplot()
        axes.axis("off")
        axes.text(0.5, 0.5, sentence, ha="center", va="center", transform=axes.transAxes, wrap=True)
        return figure


@styled
def class_balance(balance: pd.DataFrame, colors: Sequence[str] = OKABE_ITO) -> Figure:
    """Draw how many records each class has.

    ``balance`` has label, class_id (-1: too rare to train on) and records. Up to 40 classes are shown by
    name; more are shown as a ranked curve beside the number of classes of each size.
    """
    if balance.empty:
        return empty_figure("There is no class to show.")
    table = balance.sort_values(["records", "label"], ascending=[False, True], ignore_index=True)
    rare = (table["class_id"] < 0).to_numpy()
    return _named_classes(table, rare, colors) if len(table) <= 40 else _ranked_classes(table, rare, colors)


def _named_classes(table: pd.DataFrame, rare: np.ndarray, colors: Sequence[str]) -> Figure:
    figure = Figure(figsize=(WIDTH, 1.3 + 0.25 * len(table)), layout="constrained")
    axes = figure.add_subplot()
    place = np.arange(len(table))
    for mask, name, color, hatch in (
        (~rare, "trained on", colors[0], ""),
        (rare, "too rare to train on", colors[1 % len(colors)], "//"),
    ):
        if mask.any():
            axes.barh(place[mask], table["records"][mask], color=color, hatch=hatch, edgecolor="white", label=name)
    axes.set_yticks(place, [shortened(label) for label in table["label"]], fontsize=10)
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    whole_numbers(axes)
    axes.set_xlabel("records")
    if rare.any():
        axes.legend(loc="lower right")
    return figure


def _ranked_classes(table: pd.DataFrame, rare: np.ndarray, colors: Sequence[str]) -> Figure:
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    ranked, sizes = figure.subplots(1, 2)
    records = table["records"].to_numpy()
    # One step for all classes of the same size: thousands of classes would be thousands of corners in the file.
    starts = np.flatnonzero(np.diff(records, prepend=-1))
    ends = np.append(starts, len(records)) + 0.5
    # The line shows the largest classes, each narrower than a dot.
    ranked.stairs(records[starts], ends, facecolor=colors[0], edgecolor=colors[0], linewidth=0.8, fill=True)
    ranked.set_yscale("log")
    ranked.set_ylim(0.8, records.max() * 1.3)
    plain_ticks(ranked.yaxis, 1, records.max())
    ranked.set_title("Records of each class")
    ranked.set_xlabel("classes, largest first")
    ranked.set_ylabel("records")
    edges = np.array([1, 2, 3, 5, 10, 20, 50, 100, 1000])
    names = ["1", "2", "3-4", "5-9", "10-19", "20-49", "50-99", "100-999", "1,000+"]
    bucket = np.searchsorted(edges, records, side="right") - 1
    below = np.zeros(len(edges))
    for mask, name, color, hatch in (
        (~rare, "trained on", colors[0], ""),
        (rare, "too rare to train on", colors[1 % len(colors)], "//"),
    ):
        if mask.any():
            count = np.bincount(bucket[mask], minlength=len(edges))
            sizes.barh(names, count, left=below, color=color, hatch=hatch, edgecolor="white", label=name)
            below = below + count
    sizes.grid(axis="y", visible=False)
    sizes.set_title("Classes of each size")
    sizes.set_xlabel("classes")
    sizes.set_ylabel("records in the class")
    if rare.any():
        sizes.legend(loc="best")
    return figure


@styled
def folds(counts: pd.DataFrame, colors: Sequence[str] = OKABE_ITO) -> Figure:
    """Draw the records of each role in each fold as stacked bars; ``counts`` has fold, role, records."""
    if counts.empty:
        return empty_figure("No folds were written.")
    wide = counts.pivot_table(index="fold", columns="role", values="records", aggfunc="sum", fill_value=0)
    figure = Figure(figsize=(WIDTH, 1.5 + 0.36 * len(wide)), layout="constrained")
    axes = figure.add_subplot()
    place, left = np.arange(len(wide)), np.zeros(len(wide))
    for number, role in enumerate(ROLES):
        if role not in wide.columns:
            continue
        width = wide[role].to_numpy(dtype=float)
        axes.barh(
            place,
            width,
            left=left,
            height=0.72,
            label=role,
            color=colors[number % len(colors)],
            hatch=HATCHES[number],
            edgecolor="white",
        )
        for row, (start, size) in enumerate(zip(left, width, strict=True)):
            if size > 0.07 * wide.sum(axis=1).max():
                axes.text(start + size / 2, row, f"{size:,.0f}", ha="center", va="center", fontsize=10,
                          bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})  # fmt: skip
        left = left + width
    axes.set_yticks(place, [f"fold {fold}" for fold in wide.index])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    whole_numbers(axes)
    axes.set_xlabel("records")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


@styled
def confusions(table: pd.DataFrame, colors: Sequence[str] = OKABE_ITO, top_k: int = 20) -> Figure:
    """Draw the ``top_k`` most frequent wrong names of one model; ``table`` has truth, predicted, count."""
    if table.empty:
        return empty_figure("No test sequence was given a wrong name.")
    total = table.groupby(["truth", "predicted"], as_index=False)["count"].sum()
    total = total.sort_values(["count", "truth", "predicted"], ascending=[False, True, True]).head(top_k)
    figure = Figure(figsize=(WIDTH, 0.9 + 0.44 * len(total)), layout="constrained")
    axes = figure.add_subplot()
    place = np.arange(len(total))
    axes.barh(place, total["count"], color=colors[0], height=0.7)
    for row, count in enumerate(total["count"]):
        axes.annotate(f"{count:,}", (count, row), (4, 0), textcoords="offset points", va="center")
    names = [
        f"{shortened(truth)}\nnamed {shortened(wrong)}"
        for truth, wrong in zip(total["truth"], total["predicted"], strict=True)
    ]
    axes.set_yticks(place, names, fontsize=9.5, linespacing=1.05)
    axes.set_ylim(len(total) - 0.5, -0.5)
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    whole_numbers(axes)
    axes.set_xlabel("test sequences, all folds together")
    return figure


@styled
def per_class_f1_vs_size(per_class: pd.DataFrame, model: str = "", colors: Sequence[str] = OKABE_ITO) -> Figure:
    """Draw F1 of each class against its size; ``per_class`` has records and f1, one row per class.

    Points of the same place are moved aside a little (at most 6 % of the size), always in the same way.
    The line joins the medians of the classes of similar size.
    """
    table = per_class.dropna(subset=["records", "f1"])
    if table.empty:
        return empty_figure("No class was tested.")
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.add_subplot()
    shift = np.random.default_rng(0).uniform(-0.06, 0.06, len(table))
    records, f1 = table["records"].to_numpy(dtype=float), table["f1"].to_numpy(dtype=float)
    axes.scatter(
        records * (1 + shift),
        f1,
        s=26 if len(table) < 300 else 12,
        alpha=0.55 if len(table) < 300 else 0.3,
        color=colors[0],
        linewidths=0,
        label="one class",
        rasterized=len(table) > MANY_POINTS,
    )
    bucket = np.floor(np.log2(np.maximum(records, 1)))
    median = pd.DataFrame({"bucket": bucket, "x": records, "y": f1}).groupby("bucket").median()
    axes.plot(
        median["x"],
        median["y"],
        color=colors[1 % len(colors)],
        marker="D",
        markersize=6,
        linewidth=2,
        label="median of classes of similar size",
    )
    axes.set_xscale("log")
    axes.set_xlim(records.min() * 0.8, records.max() * 1.25)
    plain_ticks(axes.xaxis, records.min(), records.max())
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel("records of the class in the whole data (logarithmic)")
    axes.set_ylabel("F1 on test sequences")
    if model:
        axes.set_title(model)
    axes.legend(loc="lower right")
    return figure


def whole_numbers(axes: Axes) -> None:
    """Let the horizontal axis count in whole numbers, because half a sequence does not exist."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def plain_ticks(axis: Axis, low: float, high: float) -> None:
    """Mark a logarithmic axis at 1, 2, 5, 10, ... written as plain numbers; a short one at both its ends."""
    steps = (1, 2, 3, 5, 7) if high / max(low, 1) < 10 else (1, 2, 5) if high / max(low, 1) < 500 else (1,)
    ticks = [step * 10**power for power in range(9) for step in steps if low <= step * 10**power <= high]
    if len(ticks) < 2:
        ticks = sorted({round(low), round(high)})
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.set_minor_locator(NullLocator())
