"""Would more data help: figures of each model at each share of the training records, and what the last step brought.

In: the metrics tables of all points of the learning curve and the table of ``training_shares``. Out: a tidy table of
points, and a row for each model on what it gained where the training records grew for the last time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dnatune.comparison import RANGES, SHARE, corrected_t
from dnatune.tasks.base import Task

POINT_COLUMNS = ["model", "share", "fold", "train_records", "metric", "value"]
GAIN_COLUMNS = ["model", "metric", "from_share", "from_records", "to_records", "from_value", "to_value"]
GAIN_COLUMNS += ["gain", "ci_low", "ci_high", "p_value", "doublings", "folds", "verdict"]
# The change of a figure whose best value is 1 that counts as none; of any other figure, the share of its value.
LITTLE, LITTLE_OF_VALUE = 0.01, 0.02


def points(tables: Sequence[pd.DataFrame], counts: pd.DataFrame, task: Task) -> pd.DataFrame:
    """Return the task's headline figures on test of each model, share and fold: ``POINT_COLUMNS``.

    ``tables`` are metrics tables, one for each share in ascending order; ``counts`` the table of ``training_shares``.
    Calibrated figures, raw ones of a metric that has no others.
    """
    shares = sorted(counts["share"].unique())
    found = []
    for share, table in zip(shares, tables, strict=True):
        wanted = (table["split"] == "test") & (table["class"] == "all") & table["metric"].isin(task.headline)
        mine = table[wanted].assign(share=share)
        mine = mine.sort_values("stage", key=lambda stage: stage == "calibrated", kind="stable")
        found.append(mine.drop_duplicates(["model", "fold", "metric"], keep="last").sort_index())
    together = pd.concat(found, ignore_index=True)
    return together.merge(counts[["fold", "share", "train_records"]], on=["fold", "share"])[POINT_COLUMNS]


def gains(curve: pd.DataFrame, test_share: float, task: Task) -> pd.DataFrame:
    """Return for each model what the task's main metric gained from the last share but one to all: ``GAIN_COLUMNS``.

    A ``gain`` above 0 is for the better whatever the metric. Its interval is that of the corrected resampled t-test
    (see ``comparison.paired_tests``): the folds share training records, and ``test_share`` says how much.
    ``doublings`` of the training records there were; ``verdict`` is of ``VERDICTS``.
    """
    metric, rows = task.best_by, []
    sign = 1 if task.curve[metric] else -1
    last, whole = sorted(curve["share"].unique())[-2:]
    for model in dict.fromkeys(curve["model"]):
        mine = curve[(curve["model"] == model) & (curve["metric"] == metric)]
        wide = mine.pivot(index="fold", columns="share", values="value").reindex(columns=[last, whole]).dropna()
        records = mine.groupby("share")["train_records"].mean()
        gain, low, high, p = corrected_t(sign * (wide[whole] - wide[last]).to_numpy(), test_share)
        before, after = (float(wide[share].mean()) for share in (last, whole))
        doublings = float(np.log2(records[whole] / records[last]))
        said = verdict(low / doublings, high / doublings, little(metric, after), len(wide))
        sizes = [last, records[last], records[whole], before, after]
        rows.append([model, metric, *sizes, gain, low, high, p, doublings, len(wide), said])
    return pd.DataFrame(rows, columns=GAIN_COLUMNS)


def little(metric: str, value: float) -> float:
    """Return the gain of a metric, now at ``value``, that is too small to matter."""
    return LITTLE if RANGES.get(metric, SHARE)[1] == 1 else LITTLE_OF_VALUE * abs(value)


# Verdict -> what it says of a model, as the start of a list of them.
VERDICTS = {
    "helps": "More data would still help",
    "level": "More data of this kind would change little",
    "unsure": "Cannot be said from these folds",
    "single": "Cannot be said from one split",
}


def verdict(low: float, high: float, small: float, folds: int) -> str:
    """Return the word of ``VERDICTS`` for the 95 % interval, ``low`` to ``high``, of what a doubling of data gained.

    Level needs the whole interval below what is ``small``: no difference found is not enough. Helps needs it above 0.
    """
    if folds < 2:
        return "single"
    if high < small:
        return "level"
    return "helps" if low > 0 else "unsure"
