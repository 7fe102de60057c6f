"""The report's section on unknown sequences: from metrics and calibrators of a run to tables and sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from dnatune import report_tables
from dnatune import report_words_unknowns as words
from dnatune.rejection import SCORES
from dnatune.unknown_kinds import HELD_OUT, UNKNOWN_KINDS

if TYPE_CHECKING:
    from dnatune.report import Run

NOTHING = float("nan")


def section(run: Run) -> dict[str, Any]:
    """Return sentences, limits, and the tables of models and of scores; empty where nothing was rejected or tried."""
    fitted = {
        (entry["model"], entry["fold"]): entry["rejection"]
        for entry in run.calibrations
        if (entry.get("rejection") or {}).get("thresholds")
    }
    means = _means(run.metrics)
    everyone = dict.fromkeys([*run.engines, *run.language_models, *run.baselines])
    models = [m for m in everyone if ("test", "rejected", "all", m) in means]
    if not models or not fitted:
        return {}
    found: dict[str, Any] = {"limits": words.LIMITS, "models": [], "scores": [], "sentences": []}
    for model in models:
        chosen = [entry["score"] for (name, _), entry in fitted.items() if name == model]
        found["models"].append(
            {
                "model": model,
                "score": ", ".join(words.SCORES[name].name for name in dict.fromkeys(chosen)),
                "false_alarms": means.get(("test", "rejected", "all", model), NOTHING),
                "misclassified": means.get(("test", "misclassified", "all", model), NOTHING),
                "accuracy_named": means.get(("test", "accuracy_named", "all", model), NOTHING),
                "kinds": [_kind(means, kind, model) for kind in _kinds(means)],
            }
        )
    best = run.naming if run.naming in models else models[0]
    own = {fold: entry for (name, fold), entry in fitted.items() if name == best}
    found["sentences"] = words.threshold_sentences(own[min(own)], len(own))
    if best in run.engines and HELD_OUT in _kinds(means):
        found["sentences"].append(words.WITNESS)
    found["best"] = best
    kept = 1 - means["test", "rejected", "all", best]
    everything = _kind(means, "all", best)
    values = (everything["auroc"], everything["rejected"], everything["records"], everything["overclassified"])
    found["sentences"].append(words.result_sentence(best, kept, *values, *run.rank_names[:1]))
    kinds = {kind: _kind(means, kind, best) for kind in _kinds(means) if kind != "all"}
    left = {kind: figures for kind, figures in kinds.items() if figures["left_out"] > 0}
    found["left_out"] = [words.left_out_sentence(kind, best, figures) for kind, figures in left.items()]
    found["kinds"] = [words.KINDS[kind] for kind in _kinds(means)]
    for score in SCORES:
        if ("unknown", f"auroc_{score}", "all", best) in means:
            cells = [
                (means.get(("unknown", f"auroc_{score}", kind, best), NOTHING),
                 means.get(("unknown", f"rejected_{score}", kind, best), NOTHING))
                for kind in _kinds(means)
            ]  # fmt: skip
            alarms = means.get(("test", f"rejected_{score}", "all", best), NOTHING)
            found["scores"].append({"score": words.SCORES[score].name, "false_alarms": alarms, "kinds": cells})
    noted = [{"model": name, "fold": fold, **entry} for (name, fold), entry in fitted.items()]
    found["notes"] = report_tables.notes(noted)
    return found


def _means(metrics: pd.DataFrame) -> dict[tuple[str, str, str, str], float]:
    """Return the mean over folds of the calibrated figures, by (split, metric, class, model)."""
    wanted = (metrics["stage"] == "calibrated") & (
        (metrics["split"] == "unknown") | ((metrics["split"] == "test") & (metrics["class"] == "all"))
    )
    keys = ["split", "metric", "class", "model"]
    return metrics[wanted].groupby(keys)["value"].mean().to_dict()


def _kinds(means: dict[tuple[str, str, str, str], float]) -> list[str]:
    there = {kind for split, metric, kind, _ in means if split == "unknown" and metric == "records"}
    kinds = [kind for kind in UNKNOWN_KINDS if kind in there]
    return [*kinds, "all"] if len(kinds) > 1 else kinds


def _kind(means: dict[tuple[str, str, str, str], float], kind: str, model: str) -> dict[str, Any]:
    names = ("records", "auroc", "rejected", "rejected_at_95", "overclassified")
    names += ("left_out", "rejected_of_all", "rejected_at_95_of_all")
    return {name: means.get(("unknown", name, kind, model), NOTHING) for name in names}
