"""The words of the report on which differences between models are real, and which may be luck."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from dnatune.report_words import Metric

LEVEL = 0.05


def deciding(tests: pd.DataFrame) -> pd.DataFrame:
    """Return the tests that decide: for each metric those over sequences where there are some, else those over folds.

    A table without the column ``test`` has tests over folds alone.
    """
    if "test" not in tests:
        return tests
    sequences = tests["test"] == "sequences"
    return tests[sequences | ~tests["metric"].isin(tests.loc[sequences, "metric"])]


def how_tested(tests: pd.DataFrame) -> str:
    """Return in brackets what the p values of the answer are."""
    if "p_holm" not in tests:
        return "(Paired over the same folds.)"
    if (tests["test"] == "sequences").any():
        return (
            "(Paired over the same test sequences, PR-AUC over the same folds; p is corrected for the number of tests.)"
        )
    return "(Paired over the same folds; p is corrected for the number of tests.)"


def verdict(row: Any, more_is_better: bool) -> str:
    """Return in words what one row of paired_tests.tsv says, its number of tests taken into account."""
    p, corrected = row["p_value"], row.get("p_holm", row["p_value"])
    if math.isnan(p) or (p < LEVEL and not row["difference"]):
        return "no test possible"
    better = row["model_a"] if (row["difference"] > 0) == more_is_better else row["model_b"]
    if corrected < LEVEL:
        return f"{better} is better"
    if p < LEVEL:
        return f"not sure: {better} is ahead, but one of so many tests may say so by luck"
    return "no clear difference"


def differences(model: str, others: Sequence[str], tests: pd.DataFrame, metric: Callable[[str], Metric]) -> str:
    """Say against which of ``others`` a difference of ``model`` is real (survives Holm's correction), and where not.

    ``metric`` gives the words of a metric. An empty text where nothing was tested.
    """
    decisive = deciding(tests)
    if not len(decisive) or "p_holm" not in decisive:
        return ""
    decisive = decisive[decisive["p_holm"].notna()]
    parts, level, real_ones = [], [], []
    for other in others:
        mine = decisive[
            ((decisive["model_a"] == model) & (decisive["model_b"] == other))
            | ((decisive["model_a"] == other) & (decisive["model_b"] == model))
        ]
        better, worse, unclear = [], [], []
        for _, row in mine.iterrows():
            words = metric(row["metric"])
            ahead = (row["difference"] > 0) == words.more_is_better
            real = row["p_holm"] < LEVEL and row["difference"] != 0
            won = ahead == (row["model_a"] == model)
            real_ones += [row] if real else []
            (better if real and won else worse if real else unclear).append(_in_text(words.name))
        if better or worse:
            found = {"better in": better, "worse in": worse, "no real difference in": unclear}
            said = [f"{words} {_listed(names)}" for words, names in found.items() if names]
            parts.append(f"Against {other}: {'; '.join(said)}")
        elif len(mine):
            level.append(other)
    if not parts and not level:
        return ""
    if level:
        parts.append(f"Against {_listed(level)}: no real difference in anything tested")
    by_sequences = "test" in decisive and (decisive["test"] == "sequences").any()
    over = "the test sequences were drawn anew" if by_sequences else "folds are compared"
    if by_sequences and (decisive["test"] == "folds").any():
        over += " (for other metrics folds are compared)"
    text = f"{model}, where {over} and all tests are corrected for their number (Holm): "
    return text + ". ".join(parts) + "." + _over_folds(real_ones, tests)


def _over_folds(real: Sequence[Any], tests: pd.DataFrame) -> str:
    """Say how many of the ``real`` differences over sequences stay when folds are compared; nothing where none is."""
    mine = [row for row in real if row.get("test") == "sequences"]
    folds = tests[tests["test"] == "folds"].set_index(["metric", "model_a", "model_b"])["p_holm"] if mine else None
    found = [folds.get((row["metric"], row["model_a"], row["model_b"]), math.nan) for row in mine]
    tested = [p for p in found if not math.isnan(p)]
    if not tested:
        return ""
    kept = sum(p < LEVEL for p in tested)
    return f" {kept} of these {len(tested)} differences are also clear over folds, where luck in training counts too."


def _in_text(name: str) -> str:
    """Return a metric's name as it stands within a sentence: abbreviations and people keep their capital."""
    return name if name.startswith("Brier") or not name[1:2].islower() else name[0].lower() + name[1:]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
