"""The tables of the report, also written as report/tables/*.tsv.

The run's tables in; smaller tables out, one row per thing that a reader looks for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from dnatune.report_words import Estimate
from dnatune.tasks.base import Task

PER_CLASS = ("precision", "recall", "f1", "pr_auc")
REASONS = {
    "rare_class": "its class has too few distinct sequences to train on; kept aside as a known unknown",
    "too_short": "shorter than the configured minimum",
    "too_long": "longer than the configured maximum",
    "too_many_n": "too many undetermined bases (N)",
    "conflicting_label": "the same sequence bears another name elsewhere",
    "duplicate_id": "a second row or record with the same id; the first was kept",
    "not_selected": "left out by the configured selection of rows",
    "not_in_train": "its class has no training record in the given split; kept aside as a known unknown",
    "flagged_but_known": "marked unknown in the label table, but identical to (or in one cluster with) a known record; "
    "kept, but not scored",
    "split_leak": "identical to (or in one cluster with) a record of a more protected part of the split",
    "no_vector": "no row in the vectors table",
    "no_cluster": "no row in the clusters table",
    "no_label": "in the FASTA file but not in the label table",
    "no_sequence": "in the label table but not in the FASTA file",
    "empty_label": "the label is empty",
}


def best_model(metrics: pd.DataFrame, candidates: Sequence[str], task: Task) -> str | None:
    """Return the candidate with the best mean of the task's ``best_by`` on validation (raw: calibration uses it).

    Test figures never take part in the choice. With no validation figures, the first candidate; with no
    candidates, None.
    """
    mine = metrics[
        (metrics["split"] == "validation")
        & (metrics["metric"] == task.best_by)
        & (metrics["class"] == "all")
        & metrics["model"].isin(list(candidates))
    ]
    raw = mine[mine["stage"] == "raw"]
    means = (raw if len(raw) else mine).groupby("model")["value"].mean().dropna()
    if len(means):
        means = means.sort_index()
        return str(means.idxmax() if task.curve[task.best_by] else means.idxmin())
    return candidates[0] if candidates else None


def estimates(comparison: pd.DataFrame, model: str, stage: str = "calibrated") -> dict[str, Estimate]:
    """Return the test estimates of a model by metric; a metric that has no such stage is taken raw."""
    mine = comparison[(comparison["model"] == model) & (comparison["split"] == "test")]
    found: dict[str, Estimate] = {}
    for wanted in dict.fromkeys(("raw", stage)):
        for row in mine[mine["stage"] == wanted].itertuples():
            found[row.metric] = Estimate(row.mean, row.ci_low, row.ci_high, int(row.folds))
    return found


def models(
    comparison: pd.DataFrame,
    language_models: Iterable[str],
    calibrations: Sequence[Mapping[str, Any]],
    engines: Iterable[str] = (),
) -> pd.DataFrame:
    """Return one row per model, stage and test metric, with kind and the calibration chosen in most folds."""
    table = comparison[comparison["split"] == "test"].copy()
    language = set(language_models)
    chosen: dict[str, str] = {}
    for model in dict.fromkeys(entry["model"] for entry in calibrations):
        methods = pd.Series([entry.get("method", "") for entry in calibrations if entry["model"] == model])
        counts = methods.value_counts()
        chosen[model] = ", ".join(f"{name} ({count} of {len(methods)} folds)" for name, count in counts.items())
    table.insert(1, "kind", [kind(model, language, engines) for model in table["model"]])
    table.insert(2, "calibration", table["model"].map(chosen).fillna(""))
    return table.drop(columns="split").reset_index(drop=True)


def kind(model: str, language_models: Iterable[str], engines: Iterable[str]) -> str:
    """Return what a model is called in the table of models."""
    return "engine" if model in engines else "language model" if model in language_models else "baseline"


def per_class(metrics: pd.DataFrame, balance: pd.DataFrame, model: str | None) -> pd.DataFrame:
    """Return label, records, tested and precision, recall, F1, PR-AUC of each trained class for one model.

    Values are means over the folds that tested the class, weighted by its test sequences there.
    """
    frame = balance[balance["class_id"] >= 0][["label", "records"]].copy()
    mine = metrics[(metrics["model"] == model) & (metrics["split"] == "test") & (metrics["class"] != "all")]
    calibrated = mine[mine["stage"] == "calibrated"]
    mine = calibrated if len(calibrated) else mine
    wide = mine.pivot_table(index=["class", "fold"], columns="metric", values="value", aggfunc="first")
    if "support" not in wide:
        return frame.assign(tested=0, **dict.fromkeys(PER_CLASS, math.nan)).reset_index(drop=True)
    support = wide["support"].fillna(0)
    out = pd.DataFrame({"tested": support.groupby("class").sum().astype(int)})
    for name in PER_CLASS:
        if name in wide:
            weight = support.where(wide[name].notna(), 0.0)
            total = weight.groupby("class").sum()
            out[name] = (wide[name].fillna(0) * weight).groupby("class").sum() / total.where(total > 0)
        else:
            out[name] = math.nan
    frame = frame.merge(out, left_on="label", right_index=True, how="left")
    frame["tested"] = frame["tested"].fillna(0).astype(int)
    return frame.sort_values("label", ignore_index=True)


def removed_reasons(summary: Mapping[str, Any], removed: pd.DataFrame) -> pd.DataFrame:
    """Return reason, records and meaning, most frequent first; counted from removed.tsv itself."""
    counts = removed["reason"].value_counts() if len(removed) else pd.Series(summary.get("removed") or {})
    rows = [
        (reason, int(count), REASONS.get(str(reason), str(reason).replace("_", " ")))
        for reason, count in counts.items()
    ]
    table = pd.DataFrame(rows, columns=["reason", "records", "meaning"])
    return table.sort_values(["records", "reason"], ascending=[False, True], ignore_index=True)


def confusions(table: pd.DataFrame, model: str | None, top_k: int = 50) -> pd.DataFrame:
    """Return the most frequent wrong names of one model, folds together: truth, predicted, count, folds."""
    if table.empty or "truth" not in table:
        return pd.DataFrame(columns=["truth", "predicted", "count", "folds"])
    mine = table[table["model"] == model].groupby(["truth", "predicted"], as_index=False)
    total = mine.agg(count=("count", "sum"), folds=("fold", "nunique"))
    return total.sort_values(["count", "truth", "predicted"], ascending=[False, True, True]).head(top_k)


def label_confusions(table: pd.DataFrame, model: str | None) -> pd.DataFrame:
    """Return truth, predicted, bases and share of one model, all folds together."""
    if table.empty:
        return pd.DataFrame(columns=["truth", "predicted", "bases", "share"])
    mine = table[table["model"] == model].groupby(["truth", "predicted"], as_index=False, sort=False)["bases"].sum()
    mine["share"] = mine["bases"] / mine.groupby("truth")["bases"].transform("sum").clip(lower=1)
    return mine


def time_and_memory(runs: Sequence[Mapping[str, Any]], benchmarks: pd.DataFrame) -> pd.DataFrame:
    """Return job, seconds, peak_memory_mib, peak_gpu_memory_mib, samples_per_second, device; longest first.

    A fold's own account (run.json) stands beside Snakemake's (benchmark files), because only the first knows
    the GPU and only the second sees the whole process with its imports.
    """
    rows = [
        {
            "job": f"{run['model']}, fold {run['fold']}",
            "source": "run.json",
            **{
                key: run.get(key)
                for key in (
                    "seconds",
                    "peak_memory_mib",
                    "peak_gpu_memory_mib",
                    "samples_per_second",
                    "device",
                )
            },
        }
        for run in runs
    ]
    columns = [
        "job",
        "source",
        "seconds",
        "peak_memory_mib",
        "peak_gpu_memory_mib",
        "samples_per_second",
        "device",
    ]
    table = pd.DataFrame(rows, columns=columns)
    extra = benchmarks.assign(source="benchmark").reindex(columns=columns)
    table = pd.concat([part for part in (table, extra) if len(part)] or [table], ignore_index=True)
    return table.sort_values(["source", "seconds"], ascending=[False, False], ignore_index=True)


def setups(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return one row per language model: how it was made, from run.json; values of folds are joined."""
    shown = ("backbone", "tuning", "precision", "device", "parameters", "trainable_parameters")
    rows = []
    for model in dict.fromkeys(run["model"] for run in runs if run.get("backbone")):
        mine = [run for run in runs if run["model"] == model]
        row = {"model": model}
        for key in (*shown, "best_epoch", "epochs_run"):
            values = [run[key] for run in mine if run.get(key) is not None]
            written = [f"{v:,.10g}" if isinstance(v, (int, float)) else str(v) for v in values]
            row[key] = ", ".join(written if key in ("best_epoch", "epochs_run") else dict.fromkeys(written)) or "–"
        rows.append(row)
    return rows


def tuned(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return which settings the folds of each tuned baseline chose, in words."""
    lines = []
    for model in dict.fromkeys(run["model"] for run in runs if run.get("tried")):
        mine = [run for run in runs if run["model"] == model and run.get("tried")]
        keys = [key for key in mine[0]["tried"][0] if key != "log_loss"]
        said = pd.Series([", ".join(f"{key} {run['settings'][key]:g}" for key in keys) for run in mine])
        counts = said.value_counts()
        chosen = "; ".join(f"{words} ({count} of {len(mine)} folds)" for words, count in counts.items())
        lines.append(f"{model}, {len(mine[0]['tried'])} settings tried: {chosen}")
    return lines


def notes(calibrations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the calibration had to say, each remark once with the model and folds it concerns."""
    found: dict[tuple[str, str], list[str]] = {}
    for entry in calibrations:
        if entry.get("note"):
            found.setdefault((str(entry["model"]), str(entry["note"])), []).append(str(entry["fold"]))
    return [f"{model}, fold {', '.join(folds)}: {note}" for (model, note), folds in found.items()]


def rises(history: pd.DataFrame, model: str | None, metric: str = "log_loss") -> list[float]:
    """Return, per fold, the last validation loss (``metric``) divided by the lowest one."""
    column = f"validation_{metric}"
    if history.empty or column not in history:
        return []
    found = []
    for _, fold in history[history["model"] == model].groupby("fold"):
        loss = fold.sort_values("step")[column].dropna()
        if len(loss) and loss.min() > 0:
            found.append(float(loss.iloc[-1] / loss.min()))
    return found
