"""The words of the report on sets of names: what their figures mean, and what they say of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from dnatune.prediction_sets import GROUPS_OF_CLASSES, RARE_RECORDS

if TYPE_CHECKING:
    from dnatune.report import Run

COLUMNS = (
    "set_coverage",
    "set_coverage_distinct",
    "set_size",
    "set_size_median",
    "set_single",
    "set_empty",
    "set_records",
)
# Below the promise by more than this is said to be short of it; folds differ by about as much.
TOLERANCE = 0.02


def metrics(metric: type) -> dict[str, Any]:
    """Return the words of the figures of sets by name; ``metric`` makes an entry of name, meaning, more_is_better."""
    return {
        "set_coverage": metric("True name in the set", "Share of test sequences whose true name is in their set."),
        "set_coverage_distinct": metric(
            "The same, distinct",
            "The same with identical sequences (or a cluster of them) counted once: what is promised.",
        ),
        "set_size": metric("Names in a set", "Number of names in the set of a test sequence, on average.", False),
        "set_size_median": metric(
            "Names in a set, median", "Half of the test sequences have a set of at most so many names.", False
        ),
        "set_single": metric("Sets of one name", "Share of test sequences whose set holds a single name."),
        "set_empty": metric(
            "Empty sets", "Share of test sequences whose set holds no name: no name is sure enough.", False
        ),
        "set_records": metric("Sequences with a set", "Number of test sequences in the fold."),
    }


def table(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return model, classes (all, rare, common) and the figures ``COLUMNS`` on test: means over folds, records' sum.

    Also set_coverage_low and set_coverage_high, the worst and the best fold.
    """
    mine = metrics[metrics["metric"].isin(COLUMNS) & (metrics["split"] == "test")]
    mine = mine[mine["class"].isin(["all", *GROUPS_OF_CLASSES])]
    rows = []
    for (model, name), part in mine.groupby(["model", "class"], sort=False):
        wide = part.pivot(index="fold", columns="metric", values="value")
        row = {"model": model, "classes": name, **wide.reindex(columns=list(COLUMNS)).mean().to_dict()}
        row["set_records"] = int(wide["set_records"].sum())
        row["set_coverage_low"], row["set_coverage_high"] = wide["set_coverage"].min(), wide["set_coverage"].max()
        rows.append(row)
    columns = ["model", "classes", *COLUMNS, "set_coverage_low", "set_coverage_high"]
    return pd.DataFrame(rows, columns=columns)


def asked(calibrations: Sequence[Mapping[str, Any]]) -> float:
    """Return the coverage that was asked of the sets, NaN where there are none."""
    return next((float(entry["sets"]["coverage"]) for entry in calibrations if "sets" in entry), math.nan)


def sentences(table: pd.DataFrame, model: str | None, promised: float, accuracy: float) -> list[str]:
    """Return what the sets of one model say, in sentences; none where it has no sets.

    ``table`` as made here, ``promised`` the coverage asked for, ``accuracy`` the share named rightly by one name.
    """
    mine = table[table["model"] == model].set_index("classes")
    if "all" not in mine.index:
        return []
    every = mine.loc["all"]
    kept, size = every["set_coverage"], every["set_size"]
    # The promise counts identical sequences once.
    distinct = every["set_coverage_distinct"]
    verdict = "kept" if distinct >= promised - TOLERANCE else "not kept"
    once = f", {_percent(distinct)} with identical ones counted once" if abs(distinct - kept) >= 0.0005 else ""
    found = [
        f"The promise was {_percent(promised)} and is {verdict}: the true name is in the set of {_percent(kept)} of "
        f"the test sequences of {model} ({_percent(every['set_coverage_low'])} to "
        f"{_percent(every['set_coverage_high'])} in single folds{once}). A set holds {size:.1f} names on average, "
        f"and one name alone for {_percent(every['set_single'])} of the sequences."
    ]
    empty = every["set_empty"]
    if empty > 0:
        found.append(
            f"For {_percent(empty)} the set is empty: there even the most probable name is not sure enough to be among "
            f"the {_percent(promised)} that were asked for."
        )
    elif math.isfinite(accuracy) and accuracy >= promised:
        found.append(
            f"Its first name alone is right for {_percent(accuracy)}, more than was asked, and each set holds that "
            "name: so more is kept than was promised. Ask for more (sets.coverage) if a missed name costs you more "
            "than a longer list, or let a set be empty (sets.allow_empty) where no name is sure enough."
        )
    rare, common = (mine.loc[name] if name in mine.index else None for name in GROUPS_OF_CLASSES)
    if rare is not None and common is not None:
        text = (
            f"For classes with at most {RARE_RECORDS} training sequences it is in the set of "
            f"{_percent(rare['set_coverage'])} ({rare['set_size']:.1f} names on average, "
            f"{int(rare['set_records']):,} test sequences), for larger classes of {_percent(common['set_coverage'])} "
            f"({common['set_size']:.1f} names)."
        )
        if rare["set_coverage"] < promised - TOLERANCE:
            text += " So rely less on the sets where you expect a rare class: the promise is for all together."
        found.append(text)
    return found


def sentences_of(run: Run) -> list[str]:
    """Return the sentences on the model that names new sequences, and the notes of folds without sets."""
    own = run.metrics[(run.metrics["model"] == run.naming) & (run.metrics["metric"] == "accuracy")]
    own = own[(own["split"] == "test") & (own["stage"] == "calibrated") & (own["class"] == "all")]
    found = sentences(table(run.metrics), run.naming, asked(run.calibrations), float(own["value"].mean()))
    notes: dict[str, list[str]] = {}
    for entry in run.calibrations:
        if entry.get("sets", {}).get("note"):
            notes.setdefault(f"{entry['model']}: {entry['sets']['note']}", []).append(str(entry["fold"]))
    return [*found, *(f"{note} (fold {', '.join(folds)})." for note, folds in notes.items())]


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
