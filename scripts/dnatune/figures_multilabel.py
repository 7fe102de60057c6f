"""The figure of a run with many labels: how well each is ranked, against chance, a baseline and being alone.

Tables in, one matplotlib Figure out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd
from matplotlib.figure import Figure

from dnatune.figures import GREY, OKABE_ITO, WIDTH, empty_figure, shortened, styled
from dnatune.tasks.base import Task

MOST_LABELS = 60


@styled
def label_pr_auc(
    metrics: pd.DataFrame,
    best: str | None,
    language_models: Collection[str],
    task: Task,
    colors: Sequence[str] = OKABE_ITO,
) -> Figure:
    """Draw PR-AUC of each label on test, the mean over folds: the best model, the strongest baseline, the best model
    with each label learned alone (where that was asked), and the share of test sequences with the label (chance).

    ``metrics`` is the file of the same name. Of more than 60 labels the best and the worst 30 are shown.
    """
    mine = metrics[(metrics["split"] == "test") & (metrics["stage"] == "calibrated")]
    labels = mine[mine["class"] != "all"]
    wide = labels[labels["metric"] == "pr_auc"].pivot_table(index="class", columns="model", values="value")
    if best not in wide or wide[best].isna().all():
        return empty_figure("No label was tested.")
    alone = list(task.compared({model: {} for model in language_models}))
    rivals = [model for model in wide if model not in language_models and model not in alone]
    wide = wide.dropna(subset=[best]).sort_values(best, ascending=False)
    if len(wide) > MOST_LABELS:
        wide = pd.concat([wide.head(MOST_LABELS // 2), wide.tail(MOST_LABELS // 2)])
    drawn = [(best, "o", 0)]
    if rivals:
        drawn.append((wide[rivals].mean().idxmax(), "s", 1))
    if (own := f"{best}.alone") in wide:
        drawn.append((own, "D", 2))
    figure = Figure(figsize=(WIDTH, 1.4 + 0.27 * len(wide)), layout="constrained")
    axes = figure.add_subplot()
    tested = labels[(labels["model"] == best) & (labels["metric"] == "support")]
    records = mine[(mine["model"] == best) & (mine["metric"] == "records")].set_index("fold")["value"]
    share = (tested["value"] / tested["fold"].map(records)).groupby(tested["class"]).mean()
    place = range(len(wide))
    axes.plot(share.reindex(wide.index), place, "|", color=GREY, markersize=11, markeredgewidth=2, label="guessing")
    for model, marker, color in reversed(drawn):
        axes.plot(
            wide[model],
            place,
            marker,
            color=colors[color % len(colors)],
            markersize=7,
            fillstyle="full" if model == best else "none",
            markeredgewidth=1.6,
            label=shortened(model, 26),
        )
    axes.set_yticks(place, [shortened(label, 36) for label in wide.index], fontsize=9.5)
    axes.set_ylim(len(wide) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("PR-AUC on test sequences (more is better)")
    figure.legend(loc="outside upper center", ncols=len(drawn) + 1)
    return figure
