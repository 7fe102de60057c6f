"""Figures of unknown sequences: how scores of known and unknown ones lie, and accuracy against the share that is named.

Arrays of curves.npz in (see ``rejection_figures``), one matplotlib Figure out; style and palette come from ``figures``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from dnatune.figures import GREY, OKABE_ITO, WIDTH, empty_figure, shortened, styled
from dnatune.figures_models import LINES, MARKERS
from dnatune.report_words_unknowns import KINDS, SCORES
from dnatune.unknown_kinds import UNKNOWN_KINDS

BINS = 40
FILLS = ("", "//", "..", "\\\\", "xx")

Folds = Sequence[Mapping[str, np.ndarray]]


@styled
def unknown_scores(folds: Folds, model: str = "", colors: Sequence[str] = OKABE_ITO) -> Figure:
    """Draw the rejection scores of known (test) and unknown records of one model, folds together.

    Folds may have chosen different scores: those with the commonest one are shown. All scores but the energy, which
    can be negative, are on a logarithmic axis. The dashed line is the mean threshold.
    """
    folds = [fold for fold in folds if "rejection_known" in fold]
    if not folds:
        return empty_figure("There are no rejection scores to show.")
    chosen = Counter(str(fold["rejection_score"]) for fold in folds).most_common(1)[0][0]
    folds = [fold for fold in folds if str(fold["rejection_score"]) == chosen]
    groups = {"known": [fold["rejection_known"] for fold in folds]}
    groups |= {kind: [f[f"rejection_{kind}"] for f in folds if f"rejection_{kind}" in f] for kind in UNKNOWN_KINDS}
    values = {name: np.concatenate(parts) for name, parts in groups.items() if parts}
    everything = np.concatenate(list(values.values()))
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.add_subplot()
    if chosen == "energy":
        edges = np.linspace(*_limits(everything), BINS + 1)
    else:
        lowest = max(float(np.quantile(everything, 0.005)), 1e-6)
        edges = np.geomspace(lowest, max(float(everything.max()), 2 * lowest), BINS + 1)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    for number, (name, scores) in enumerate(values.items()):
        counts = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)[0] / len(scores)
        label = f"{'known, test part' if name == 'known' else KINDS[name]} ({len(scores):,})"
        color = colors[number % len(colors)]
        axes.stairs(counts, edges, color=color, linewidth=1.6, linestyle=LINES[number % len(LINES)], label=label)
        hatch = FILLS[number % len(FILLS)]
        axes.stairs(counts, edges, fill=True, facecolor=color, edgecolor=color, alpha=0.22, hatch=hatch, linewidth=0)
    limit = float(np.mean([fold["rejection_threshold"] for fold in folds]))
    axes.axvline(limit, color=GREY, linestyle="--", linewidth=1.4)
    axes.annotate(
        "named | rejected", (limit, 1), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
        ha="center", fontsize=9.5, color=GREY,
    )  # fmt: skip
    axes.set_xlabel(SCORES[chosen].axis)
    axes.set_ylabel("share of its group")
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.2), ncols=2)
    axes.set_title(shortened(model), pad=16)
    return figure


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = (float(v) for v in np.quantile(values, (0.002, 0.998)))
    return (low, high) if high > low else (low - 1, low + 1)


@styled
def named_accuracy(models: Mapping[str, Folds], colors: Sequence[str] = OKABE_ITO) -> Figure:
    """Draw accuracy among those test records that get a name against their share, the least strange first.

    ``models``: the folds of each; lines are means over folds, a marker stands where the threshold of the fold lies.
    """
    models = {name: [f for f in folds if "named_accuracy" in f] for name, folds in models.items()}
    models = {name: folds for name, folds in models.items() if folds}
    if not models:
        return empty_figure("There are no rejection scores to show.")
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.add_subplot()
    lowest = 1.0
    for number, (name, folds) in enumerate(models.items()):
        share = folds[0]["named_share"]
        accuracy = np.mean([fold["named_accuracy"] for fold in folds], axis=0)
        style = {"color": colors[number % len(colors)], "linestyle": LINES[number % len(LINES)], "linewidth": 1.5}
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(share, accuracy, label=shortened(name, 28), marker=marker, markevery=(5 * number % 20, 20), **style)
        named = np.mean([(fold["rejection_known"] <= fold["rejection_threshold"]).mean() for fold in folds])
        axes.plot(named, np.interp(named, share, accuracy), marker="D", markersize=9, markerfacecolor="none",
                  color=colors[number % len(colors)], linestyle="none")  # fmt: skip
        lowest = min(lowest, float(accuracy[-1]))
    best = max(float(np.mean([f["named_accuracy"] for f in folds], axis=0)[-1]) for folds in models.values())
    # A method that only guesses would squeeze all others together.
    floor = lowest if lowest > best - 0.3 else best - 0.3
    axes.set_ylim(max(0.0, floor - 0.02), 1.005)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("share of known test sequences that get a name")
    axes.set_ylabel("right names among them")
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.2), ncols=2)
    return figure
