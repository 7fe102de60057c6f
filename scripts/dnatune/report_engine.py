"""What the report says of the engine: how much each expert counts, what pooling gains, who names new sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dnatune import report_tables, report_words, report_words_differences
from dnatune.engine import validation_losses
from dnatune.pooling import PRODUCT
from dnatune.rank_experts import expert_of
from dnatune.report_words import Sentence, number

if TYPE_CHECKING:
    from dnatune.report import Run

COUNTS = ("accuracy", "pr_auc_macro", "log_loss")


def engine_runs(run: Run) -> list[Mapping[str, Any]]:
    """Return the engine's run.json of each fold."""
    return [entry for entry in run.runs if entry["model"] in run.engines]


def members(runs: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per expert, and one for their product: name, weights of the folds and their mean, the same of
    temperatures, log loss alone on validation."""
    losses = validation_losses(runs)
    rows = []
    for place, name in enumerate(runs[0]["pool"]["members"] if runs else []):
        weights = [entry["pool"]["weights"][place] for entry in runs]
        temperatures = [entry["pool"]["temperatures"][place] for entry in runs]
        row = {"member": name, "weight": float(np.mean(weights)), "weights": weights}
        rows.append({**row, "temperatures": temperatures, "log_loss": losses.get(name), "product": name == PRODUCT})
    return rows


def sentences(run: Run) -> list[Sentence]:
    """Return the engine's part of the answer: nothing where there is no engine."""
    if not run.engines:
        return []
    engine = run.engines[0]
    rows = members(engine_runs(run))
    names = list(dict.fromkeys(expert_of(row["member"]) for row in rows if not row["product"]))
    own = report_tables.estimates(run.comparison, engine)
    others = {name: report_tables.estimates(run.comparison, name) for name in names}
    parts, ahead_on, sure = [], 0, 0
    for key in COUNTS:
        words = run.words(key)
        known = {name: found[key].mean for name, found in others.items() if key in found}
        if key not in own or not known:
            continue
        best = (max if words.more_is_better else min)(known, key=known.__getitem__)
        ahead = (own[key].mean - known[best]) * (1 if words.more_is_better else -1)
        row = report_words.paired(run.paired, key, engine, best)
        p = float("nan") if row is None else float(row.get("p_holm", row["p_value"]))
        ahead_on, sure = ahead_on + (ahead > 0), sure + (ahead > 0 and p < 0.05)
        evidence = "" if np.isnan(p) else " (p < 0.001)" if p < 0.001 else f" (p = {p:.2g})"
        parts.append(f"{words.name} {number(own[key].mean)} against {number(known[best])} of {best}{evidence}")
    head = verdict(len(parts), ahead_on, sure)
    text = f"{head}: the engine, which pools {listed(names)}, has {', '.join(parts)}; each time the best single "
    text += f"expert on test is the opponent. {report_words_differences.how_tested(run.paired)} {who_names(run)}"
    return [Sentence("Do several experts together do better?", text if parts else who_names(run))]


def listed(names: list[str]) -> str:
    """Return names in words: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def verdict(counts: int, ahead: int, sure: int) -> str:
    """Say whether the engine beats its best expert: ``ahead`` on so many counts, ``sure`` (p < 0.05) on so many."""
    if sure == counts:
        return "Yes, on all counts"
    if ahead == counts:
        return "It is ahead on all counts, but not by enough for these folds to be sure"
    return "It is ahead on some counts" if ahead else "No: one of them alone does as well or better"


def who_names(run: Run) -> str:
    """Say who names new sequences, and why."""
    engine, model = run.engines[0], run.best_saved
    if run.naming == run.predict_with:
        return f"snakemake predict uses {run.predict_with}, as the configuration says."
    losses, chosen = validation_losses(engine_runs(run)), run.naming
    if engine not in losses:
        return f"snakemake predict uses {chosen}: no validation records tell more."
    loss = f"its log loss on validation is {number(losses[engine])}"
    against = f", that of {model} {number(losses[model])}" if model in losses else ""
    if chosen == engine:
        return f"snakemake predict uses the engine: {loss}{against}."
    return f"snakemake predict uses {model}, not the engine: {loss}{against}."


def shown(run: Run) -> dict[str, Any]:
    """Return what the section of the engine shows: its name, its members, folds, and who names new sequences."""
    runs = engine_runs(run)
    losses = validation_losses(runs)
    return {
        "name": run.engines[0],
        "members": members(runs),
        "folds": [entry["fold"] for entry in runs],
        "log_loss": losses.get(run.engines[0]),
        "groups": [entry["pool"]["groups"] for entry in runs],
        "who": who_names(run),
    }
