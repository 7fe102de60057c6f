"""Figures that compare models: scores with intervals, learning, precision and recall, reliability.

Tables in, one matplotlib Figure out; style, palette and saving come from ``figures``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dnatune import report_words
from dnatune.comparison import RANGES, SHARE
from dnatune.figures import GREY, OKABE_ITO, WIDTH, empty_figure, shortened, styled
from dnatune.tasks.base import Task

# Seven and nine against eight colours: only the 505th model looks like the first.
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<")
# Kinds of models; each has a marker and a colour of its own.
KINDS = ("language model", "baseline", "several experts")


@styled
def model_comparison(
    comparison: pd.DataFrame,
    metrics: pd.DataFrame,
    kinds: Mapping[str, str],
    colors: Sequence[str],
    task: Task,
) -> Figure:
    """Draw the task's four headline metrics on test of every model: mean, 95 % interval and single folds;
    calibrated where it is.

    ``kinds`` (see ``KINDS``) of models by name; all others are baselines. ``comparison`` and ``metrics`` are the files
    of the same names. A model far from the best would squeeze all others together, so it is drawn as an arrow at the
    edge, with its value written beside it.
    """
    table = comparison[comparison["split"] == "test"]
    models = _ordered(table, task)
    if not models:
        return empty_figure("No model was evaluated.")
    figure = Figure(figsize=(WIDTH, 1.5 + 2 * (0.8 + 0.34 * len(models))), layout="constrained")
    grid = figure.subplots(2, 2, sharey=True)
    for axes, metric in zip(grid.flat, task.headline, strict=True):
        words = report_words.metric(metric)
        title, more = words.name, words.more_is_better
        panel = table[table["metric"] == metric]
        means = {model: _row(panel, model, "calibrated") for model in models}
        single = metrics[(metrics["split"] == "test") & (metrics["metric"] == metric) & (metrics["class"] == "all")]
        low, high = _range(means, single, more, metric)
        for place, model in enumerate(models):
            row = means[model]
            if row is None or not np.isfinite(row["mean"]):
                axes.text(1.05, place, "none", transform=axes.get_yaxis_transform(), va="center", fontsize=9)
                continue
            look = _look(kinds.get(model, "baseline"), colors)
            _one_model(axes, place, row, single, look, (low, high))
        axes.set_xlim(low, high)
        axes.set_ylim(len(models) - 0.4, -0.6)
        axes.set_title(title)
        axes.set_xlabel("more is better →" if more else "← less is better", fontsize=9.5, color=GREY)
        axes.locator_params(axis="x", nbins=5)
        axes.grid(axis="y", visible=False)
    grid[0, 0].set_yticks(range(len(models)), [shortened(model, 22) for model in models])
    drawn = {kinds.get(model, "baseline") for model in models}
    _comparison_legend(figure, [kind for kind in KINDS if kind in drawn], colors)
    return figure


def _ordered(table: pd.DataFrame, task: Task) -> list[str]:
    """Return the models, the best by the task's metric of choice first, those without a figure last."""
    every = list(dict.fromkeys(table["model"]))
    sign = 1 if task.curve[task.best_by] else -1
    rows = {model: _row(table[table["metric"] == task.best_by], model, "calibrated") for model in every}
    key = {m: -np.inf if r is None or not np.isfinite(r["mean"]) else sign * r["mean"] for m, r in rows.items()}
    return sorted(every, key=lambda model: (-key[model], model))


def _row(panel: pd.DataFrame, model: str, stage: str) -> pd.Series | None:
    """Return the row of ``model`` at ``stage``; where it was not calibrated, the raw one; else None."""
    mine = panel[panel["model"] == model]
    for wanted in (stage, "raw"):
        found = mine[mine["stage"] == wanted]
        if len(found):
            return found.iloc[0]
    return None


def _range(means: dict[str, pd.Series | None], single: pd.DataFrame, more: bool, metric: str) -> tuple[float, float]:
    """Return the limits of an axis that shows well the models near the best one."""
    values = {m: float(r["mean"]) for m, r in means.items() if r is not None and np.isfinite(r["mean"])}
    if not values:
        return 0.0, 1.0
    best = max(values.values()) if more else min(values.values())
    # Where nothing bounds a figure from below (R2), 0 is what the mean alone reaches: it stays in sight.
    bar = min(0.6 * best, best) if np.isfinite(RANGES.get(metric, SHARE)[0]) else min(best, -0.1)
    near = [m for m, v in values.items() if (v >= bar if more else v <= 5 * max(best, 0.05))]
    spread = [values[m] for m in near]
    spread += [float(means[m][end]) for m in near for end in ("ci_low", "ci_high")]  # type: ignore[index]
    for model in near:
        mine = (single["model"] == model) & (single["stage"] == means[model]["stage"])  # type: ignore[index]
        spread += single.loc[mine, "value"].tolist()
    spread = [value for value in spread if np.isfinite(value)]
    margin = 0.08 * (max(spread) - min(spread)) or 0.02 * (abs(best) or 1.0)
    low, high = min(spread) - margin, max(spread) + margin
    # No axis begins below 0 for figures that cannot: only agreement beyond chance can be negative.
    return (low if min(spread) < 0 else max(0.0, low)), (min(high, 1.0 + margin) if more else high)


def _one_model(
    axes: Axes,
    place: int,
    row: pd.Series,
    single: pd.DataFrame,
    look: tuple[str, str],
    limits: tuple[float, float],
) -> None:
    mean, low, high = (float(row[key]) for key in ("mean", "ci_low", "ci_high"))
    axes.text(1.05, place, report_words.number(mean), transform=axes.get_yaxis_transform(), va="center", fontsize=9.5)
    marker, color = look
    if not limits[0] <= mean <= limits[1]:
        edge, arrow = (limits[0], "<") if mean < limits[0] else (limits[1], ">")
        axes.plot([edge], [place], arrow, color=color, markersize=9, clip_on=False)
        return
    mine = single[(single["model"] == row["model"]) & (single["stage"] == row["stage"])]["value"]
    axes.plot(mine, np.full(len(mine), place + 0.24), "|", color=GREY, markersize=6, alpha=0.8)
    if np.isfinite(low) and np.isfinite(high):
        axes.plot([low, high], [place, place], color=color, linewidth=2.2, solid_capstyle="butt")
    axes.plot([mean], [place], marker, color=color, markersize=7)


def _look(kind: str, colors: Sequence[str]) -> tuple[str, str]:
    """Return the marker and the colour of a kind of model."""
    number = KINDS.index(kind)
    return MARKERS[number], colors[number % len(colors)]


def _comparison_legend(figure: Figure, kinds: Sequence[str], colors: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    looks = [(kind, *_look(kind, colors)) for kind in kinds]
    figure.legend(
        handles=[
            *(Line2D([], [], color=color, marker=marker, linewidth=2.2, label=kind) for kind, marker, color in looks),
            Line2D([], [], color=GREY, marker="|", linewidth=0, label="one fold"),
            Line2D([], [], color=GREY, marker="<", linewidth=0, label="beyond the edge"),
        ],
        loc="outside upper center",
        ncols=5,
        handletextpad=0.4,
        columnspacing=1.2,
    )


@styled
def learning_curves(history: pd.DataFrame, colors: Sequence[str], task: Task) -> Figure:
    """Draw the task's loss and its metric of the gap on train and validation against epochs, one row per model.

    ``history`` has model, fold and the columns of history.tsv. Thin lines are folds, thick ones their mean as
    far as all folds went; the shaded band between the two means is the train-validation gap.
    """
    if history.empty:
        return empty_figure("No language model was trained.")
    models = list(dict.fromkeys(history["model"]))
    figure = Figure(figsize=(WIDTH, 0.5 + 2.7 * len(models)), layout="constrained")
    grid = figure.subplots(len(models), 2, squeeze=False)
    for row, model in zip(grid, models, strict=True):
        mine = history[history["model"] == model]
        for axes, metric in zip(row, (task.tie_break, task.gap), strict=True):
            _learning_panel(axes, mine, metric, colors)
            axes.set_title(f"{shortened(model, 24)}: {report_words.metric(metric).name}")
            axes.set_xlabel("epoch")
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=3)
    return figure


def _learning_panel(axes: Axes, history: pd.DataFrame, metric: str, colors: Sequence[str]) -> None:
    means = {}
    for role, color, line, marker in (
        ("train", colors[1 % len(colors)], "--", "s"),
        ("validation", colors[0], "-", "o"),
    ):
        column = f"{role}_{metric}"
        if column not in history or not history[column].notna().any():
            continue
        seen = history.dropna(subset=[column])
        for _, fold in seen.groupby("fold"):
            axes.plot(fold["epoch"], fold[column], line, color=color, linewidth=0.8, alpha=0.4)
        by_epoch = seen.assign(epoch=seen["epoch"].round(3)).groupby("epoch")[column].agg(["mean", "size"])
        means[role] = by_epoch.loc[by_epoch["size"] >= by_epoch["size"].max(), "mean"]
        axes.plot(means[role].index, means[role], line, color=color, linewidth=2.4, label=f"{role}, mean",
                  marker=marker, markersize=4.5, markevery=max(1, len(means[role]) // 8))  # fmt: skip
    if len(means) == 2:
        both = pd.concat(means, axis=1).dropna()
        axes.fill_between(both.index, both["train"], both["validation"], color=GREY, alpha=0.15,
                          linewidth=0, label="gap between them")  # fmt: skip
    if report_words.metric(metric).more_is_better:
        axes.set_ylim(top=1.02)


@styled
def precision_recall(points: pd.DataFrame, colors: Sequence[str] = OKABE_ITO) -> Figure:
    """Draw precision against recall of each model, the mean over folds thick and single folds thin.

    ``points`` has model, fold, recall, precision and stage; calibrated ones are drawn where there are some.
    """
    if points.empty:
        return empty_figure("There are no precision-recall curves.")
    if "stage" in points and (points["stage"] == "calibrated").any():
        points = points[points["stage"] == "calibrated"]
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.add_subplot()
    grid = np.linspace(0, 1, 101)
    for number, model in enumerate(dict.fromkeys(points["model"])):
        curves = []
        for _, fold in points[points["model"] == model].groupby("fold"):
            fold = fold.dropna(subset=["recall", "precision"]).sort_values("recall", kind="stable")
            if len(fold):
                curves.append(np.interp(grid, fold["recall"], fold["precision"]))
                axes.plot(grid, curves[-1], color=colors[number % len(colors)], linewidth=0.6, alpha=0.3)
        if curves:
            axes.plot(
                grid,
                np.mean(curves, axis=0),
                color=colors[number % len(colors)],
                linestyle=LINES[number % len(LINES)],
                marker=MARKERS[number % len(MARKERS)],
                markevery=(4 * (number % 5), 20),
                markersize=5.5,
                linewidth=2,
                label=shortened(model, 26),
            )
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("recall: share of the true names that are found")
    axes.set_ylabel("precision: share of the given\nnames that are right")
    axes.legend(loc="lower left")
    return figure


@styled
def reliability(bins: pd.DataFrame, colors: Sequence[str] = OKABE_ITO) -> Figure:
    """Draw how often the model is right against how sure it says it is, before and after calibration.

    ``bins`` has model, stage, confidence, accuracy and count, one row per bin, folds already put together.
    Area of a point: how many test sequences are in the bin.
    """
    if bins.empty:
        return empty_figure("There are no reliability diagrams.")
    models = list(dict.fromkeys(bins["model"]))
    columns = 4 if len(models) > 1 else 2
    rows = -(-2 * len(models) // columns)
    figure = Figure(figsize=(WIDTH, 0.3 + rows * (2.15 if columns == 4 else 3.5)), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[2 * len(models) :]:
        axes.axis("off")
    panels = [(model, stage) for model in models for stage in ("raw", "calibrated")]
    for number, (axes, (model, stage)) in enumerate(zip(grid.flat, panels, strict=False)):
        mine = bins[(bins["model"] == model) & (bins["stage"] == stage) & (bins["count"] > 0)]
        after = stage == "calibrated"
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        axes.plot(mine["confidence"], mine["accuracy"], color=colors[0 if after else 1 % len(colors)],
                  linestyle="-" if after else "--", linewidth=1.4)  # fmt: skip
        axes.scatter(
            mine["confidence"],
            mine["accuracy"],
            s=8 + 110 * mine["count"] / max(mine["count"].sum(), 1),
            color=colors[0 if after else 1 % len(colors)],
            marker="o" if after else "s",
        )
        axes.set_title(f"{shortened(model, 20)}\n{'after' if after else 'before'}", fontsize=9.5)
        axes.set_xlim(-0.04, 1.04)
        axes.set_ylim(-0.04, 1.04)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_aspect("equal")
        if mine.empty:
            axes.text(0.5, 0.5, "not made", ha="center", va="center", color=GREY)
        if number + columns >= 2 * len(models):
            axes.tick_params(labelbottom=True)
    figure.supxlabel("probability the model gave its answer", fontsize=11)
    figure.supylabel("share of right answers", fontsize=11)
    return figure
