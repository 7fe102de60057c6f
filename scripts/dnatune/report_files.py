"""Reads the many small files of a run (one per model and fold) into a few tables for figures and report.

Paths in; pandas tables out. Model and fold come from the file where it names them, else from its path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dnatune.errors import UserError
from dnatune.files import read_json
from dnatune.tasks.base import Task

NAMED_TEXT = ("id", "class", "label", "truth", "predicted", "model", "split", "stage", "metric", "reason")
NAMED_TEXT += ("rank", "nearest")


@dataclass(frozen=True)
class Place:
    """Where a file of one fold belongs: ``kind`` is models, baselines or engines."""

    kind: str
    model: str
    fold: int


def place(path: str | Path) -> Place:
    """Return kind, model and fold of ``.../models/<model>/fold_<k>/file``, baselines or engines; else UserError."""
    parts = Path(path).parts
    for number in range(len(parts) - 3, -1, -1):
        kind, model, fold = parts[number : number + 3]
        if kind in ("models", "baselines", "engines") and fold.startswith("fold_") and fold[5:].isdigit():
            return Place(kind, model, int(fold[5:]))
    raise UserError(f"{path}: expected a path with models/<name>/fold_<k>, or baselines or engines, in it.")


def listed(value: Any) -> list[str]:
    """Return a named input of Snakemake as a list of paths: it may be absent, one path or many."""
    if value is None:
        return []
    return [value] if isinstance(value, (str, Path)) else [str(path) for path in value]


def table(path: str | Path) -> pd.DataFrame:
    """Read a table whose names stay text; empty cells in its number columns become NaN."""
    # All cells are read as text first: a class may be called "NA", "None" or "1" and must stay that.
    read = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    for column in read.columns.difference(NAMED_TEXT):
        number = pd.to_numeric(read[column], errors="coerce")
        if not (number.isna() & (read[column].astype(str) != "")).any():
            read[column] = number
    return read


def of_folds(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Return the tables of many folds as one, with kind, model and fold in front."""
    tables = []
    for path in paths:
        where, read = place(path), table(path)
        read = read.drop(columns=["kind", "model", "fold"], errors="ignore")
        for number, (name, value) in enumerate((("kind", where.kind), ("model", where.model), ("fold", where.fold))):
            read.insert(number, name, value)
        tables.append(read)
    filled = [read for read in tables if len(read)]
    return pd.concat(filled or tables, ignore_index=True) if tables else pd.DataFrame(columns=["model", "fold"])


def records_of(paths: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Return the JSON files of many folds (run.json, calibration.json), each with kind, model and fold."""
    found = []
    for path in paths:
        where = place(path)
        found.append({**read_json(path), "kind": where.kind, "model": where.model, "fold": where.fold})
    return found


def benchmarks(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Return job, seconds and peak_memory_mib of benchmark files; of a repeated job the largest."""
    rows = []
    for path in map(Path, paths):
        read = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
        values = {c: pd.to_numeric(read[c], errors="coerce").max() if c in read else np.nan for c in ("s", "max_rss")}
        parts = path.with_suffix("").parts
        # What stands behind the folder "benchmarks" names the job; the run's name in front of it is known.
        start = len(parts) - 1 - parts[::-1].index("benchmarks") + 1 if "benchmarks" in parts else len(parts) - 1
        rows.append(("/".join(parts[start:]), values["s"], values["max_rss"]))
    return pd.DataFrame(rows, columns=["job", "seconds", "peak_memory_mib"])


def curves(paths: Iterable[str | Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return precision-recall points and reliability bins of all curves.npz (see ``dnatune.evaluation``).

    First table: model, fold, stage, recall, precision. Second: model, stage, bin, confidence, accuracy,
    count, put together over folds (means weighted by count).
    """
    points, bins = [], []
    for path in paths:
        where = place(path)
        with np.load(path, allow_pickle=False) as stored:
            for stage in ("raw", "calibrated"):
                named = {"model": where.model, "fold": where.fold, "stage": stage}
                if f"pr_precision_{stage}" in stored:
                    line = {"recall": stored["pr_recall"], "precision": stored[f"pr_precision_{stage}"]}
                    points.append(pd.DataFrame({**named, **line}))
                if f"reliability_{stage}" in stored:
                    count, confidence, accuracy = stored[f"reliability_{stage}"].astype(float).T
                    sums = {"confidence": np.nan_to_num(confidence) * count, "count": count}
                    sums["accuracy"] = np.nan_to_num(accuracy) * count
                    bins.append(pd.DataFrame({**named, "bin": np.arange(len(count)), **sums}))
    columns = ["model", "fold", "stage", "recall", "precision"]
    return pd.concat(points, ignore_index=True) if points else pd.DataFrame(columns=columns), _pooled(bins)


def _pooled(bins: list[pd.DataFrame]) -> pd.DataFrame:
    if not bins:
        return pd.DataFrame(columns=["model", "stage", "bin", "count", "confidence", "accuracy"])
    total = pd.concat(bins).drop(columns="fold").groupby(["model", "stage", "bin"], as_index=False, sort=False).sum()
    for column in ("confidence", "accuracy"):
        total[column] = total[column] / total["count"].where(total["count"] > 0)
    return total


def unknowns(paths: Iterable[str | Path], model: str | None, task: Task) -> pd.DataFrame:
    """Return model, fold, role (unknown, test), records, mean_top_probability of one model's scores.npz.

    Probabilities are calibrated by the calibration.json beside each scores file. Folds without records of
    unknown classes give no rows; other models' files are not opened.
    """
    from dnatune.scores import Scores

    rows = []
    for path in map(Path, paths):
        where = place(path)
        if where.model != model:
            continue
        scores = Scores.load(path)
        if not (scores.role == "unknown").any():
            continue
        calibrator = read_json(path.with_name("calibration.json"))
        for role in ("unknown", "test"):
            logits = scores.part(role).logits
            if len(logits):
                top = task.judging.calibrated(calibrator, logits).max(axis=1)
                rows.append((where.model, where.fold, role, len(top), float(top.mean())))
    return pd.DataFrame(rows, columns=["model", "fold", "role", "records", "mean_top_probability"])


def role_counts(audit: Mapping[str, Any]) -> pd.DataFrame:
    """Return fold, role, records from the leakage audit."""
    rows = [
        (int(entry["fold"]), role, int(entry[role]["records"]))
        for entry in audit.get("per_fold") or []
        for role in ("train", "validation", "test")
        if role in entry
    ]
    return pd.DataFrame(rows, columns=["fold", "role", "records"])


def audit_checks(audit: Mapping[str, Any], classes: bool = True) -> list[dict[str, Any]]:
    """Return the audit's checks as rows: check, found (a count), result (passed, failed or a remark).

    Without ``classes`` (a task whose labels are none) the checks of classes are left out.
    """
    k_fold = audit.get("scheme") == "k-fold"
    rows = []
    for key, check, strict, remark in (
        ("sequences_in_two_roles", "The same sequence in two roles of a fold", True, ""),
        ("clusters_in_two_roles", "The same cluster in two roles of a fold", True, ""),
        ("groups_in_two_roles", "Linked records (same sequence or cluster) in two roles of a fold", True, ""),
        ("classes_never_tested", "Classes that are tested in no fold", k_fold, "as the given split has it"),
        ("records_never_tested", "Records that are tested in no fold", k_fold, "as the given split has it"),
        (
            "records_tested_twice",
            "Records that are tested in more than one fold",
            k_fold,
            "as the given split has it",
        ),
        (
            "classes_tested_without_training",
            "Classes tested in a fold whose training part has none of them",
            False,
            "cannot be named rightly there; it counts against the model",
        ),
        (
            "records_held_out_and_never_tested",
            "Records held out on purpose in the fold that would have tested them",
            False,
            "as unknowns.held_out_share has it; scored as unknown there",
        ),
    ):
        if key not in audit or (key.startswith("classes_") and not classes):
            continue
        if key == "records_held_out_and_never_tested" and not audit["records_held_out"]:
            continue
        if key == "clusters_in_two_roles" and audit.get("clusters_given") is False:
            rows.append({"check": check, "found": "–", "result": "no clusters were given"})
            continue
        found = len(audit[key]) if isinstance(audit[key], list) else int(audit[key])
        result = "passed" if not found else "failed" if strict else remark
        rows.append({"check": check, "found": found, "result": result})
    return rows
