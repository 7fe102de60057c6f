"""A small invented results folder with every file the report reads: seeded numbers, no training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dnatune.comparison import TEST_COLUMNS
from dnatune.files import write_json, write_tsv

HOSTILE = '<script>alert(1)</script> & "x"'
MODELS = {"nt-mini": 0.96, "nt-mini-lora": 0.93}
BASELINES = {"majority": 0.04, "naive_bayes": 0.955, "logistic_regression": 0.982}
COUNTS = np.r_[0, np.arange(1, 14), 80]  # test sequences in each reliability bin
METRICS = ("accuracy", "top_5_accuracy", "f1_macro", "mcc", "pr_auc_macro", "roc_auc_macro")


def write_run(
    root: Path,
    classes: int = 30,
    folds: int = 5,
    models: dict[str, float] = MODELS,
    baselines: dict[str, float] = BASELINES,
    seed: int = 0,
    engines: dict[str, float] | None = None,
) -> Path:
    """Write the invented run ``root`` and return it. The last class bears a hostile name; engines (name and level, as
    of models) pool the first model and the last baseline."""
    random = np.random.default_rng(seed)
    labels = [f"Genus{i // 3:03d} species{i:04d}" for i in range(classes - 1)] + [HOSTILE]
    sizes = np.maximum(2, random.lognormal(2, 1, classes).astype(int))
    balance = pd.DataFrame({"label": labels, "class_id": range(classes), "records": sizes})
    rare = pd.DataFrame({"label": ["Rarus unus", "Rarus duo"], "class_id": -1, "records": 1})
    balance = pd.concat([balance, rare], ignore_index=True)
    balance["distinct_sequences"] = balance["records"]
    balance["share"] = balance["records"] / balance["records"].sum()
    known = int(sizes.sum())
    write_tsv(root / "labels/class_balance.tsv", balance)
    write_json(root / "labels/label_map.json", {"label2id": {n: i for i, n in enumerate(sorted(labels))}})
    write_json(root / "labels/summary.json", {"statement": f"The largest class has {sizes.max()} records."})
    write_records(root, known)
    write_audit(root, known, classes, folds)
    write_difficulty(root, labels, sizes, np.random.default_rng(seed))
    metrics = []
    for kind, named in (("models", models), ("baselines", baselines), ("engines", engines or {})):
        for model, level in named.items():
            for fold in range(folds):
                folder = root / kind / model / f"fold_{fold}"
                metrics += fold_metrics(model, fold, level, labels, sizes, random)
                write_fold(folder, kind, model, fold, level, labels, random)
    table = pd.DataFrame(metrics, columns=["model", "fold", "split", "stage", "metric", "class", "value"])
    write_tsv(root / "metrics.tsv", table)
    write_comparison(root, table)
    return root


def write_audit(root: Path, known: int, classes: int, folds: int) -> None:
    """Write a clean audit.json of a k-fold split without clusters."""
    sizes = {"train": int(0.72 * known), "validation": int(0.08 * known), "test": known // max(folds, 2)}
    nothing = {"sequences_in_two_roles": 0, "clusters_in_two_roles": 0, "groups_in_two_roles": 0}
    roles = {role: {"records": size, "classes": classes} for role, size in sizes.items()}
    write_json(
        root / "folds/audit.json",
        {
            "clean": True,
            "problems": [],
            "scheme": "k-fold",
            "folds": folds,
            "records_known": known,
            "classes_known": classes,
            "clusters_given": False,
            **nothing,
            "classes_never_tested": [],
            "classes_tested_without_training": 1,
            "records_never_tested": 0,
            "records_tested_twice": 0,
            "per_fold": [{"fold": k, **roles, **nothing} for k in range(folds)],
        },
    )


def write_difficulty(root: Path, labels: list[str], sizes: np.ndarray, random: np.random.Generator) -> None:
    """Write species.tsv, suspicious.tsv and summary.json: a gap here, an overlap there, one single sequence."""
    within, between = random.uniform(0, 0.05, len(labels)), random.uniform(0, 0.2, len(labels))
    within[0] = np.nan
    verdict = np.where(np.isnan(within), "single", np.where(between > within, "gap", "overlap"))
    columns = {"label": labels, "records": sizes, "distinct_sequences": sizes, "compared": sizes, "not_comparable": 0}
    distances = {
        "within_median": within / 2,
        "within_nearest": within / 2,
        "within_max": within,
        "between_min": between,
    }
    rest = {"nearest": labels[::-1], "shared_sequences": 0, "verdict": verdict}
    write_tsv(root / "difficulty/species.tsv", pd.DataFrame({**columns, **distances, **rest}))
    rows = [("s9", HOSTILE, "other_strand", "backwards: x (s8, 99.0 %); as given: nothing similar")]
    write_tsv(root / "difficulty/suspicious.tsv", pd.DataFrame(rows, columns=["id", "label", "reason", "evidence"]))
    counts = {name: int((verdict == name).sum()) for name in ("same", "nearly", "overlap", "gap", "single")}
    records = int(sizes.sum())
    summary = {"method": "shared 10-mers", "records": records, "distinct_sequences": records, "compared": records}
    summary |= {
        "min_identity": 0.7,
        "classes": len(labels),
        "verdicts": counts,
        "not_comparable": 3,
        "nearly_same": 0.005,
    }
    summary |= {"best_accuracy": 0.9951, "shared_sequences": 2, "nearest_neighbour_accuracy": 0.96}
    suspicious = {"neighbours_of_another_name": 0, "other_strand": 1, "same_sequence_other_name": 0}
    summary |= {"nearest_neighbour_records": records, "suspicious": suspicious}
    write_json(root / "difficulty/summary.json", summary)


def write_records(root: Path, known: int) -> None:
    """Write removed.tsv and summary.json."""
    rows = [("s1", "rare_class", "Rarus unus"), ("s2", "rare_class", "Rarus duo"), ("s3", "too_short", "12")]
    write_tsv(root / "records/removed.tsv", pd.DataFrame(rows, columns=["id", "reason", "detail"]))
    write_json(
        root / "records/summary.json",
        {
            "sequences_read": known + 3,
            "records_kept": known + 2,
            "records_known": known,
            "records_known_unknown": 2,
            "removed": {"rare_class": 2, "too_short": 1},
            "length": {"min": 300, "median": 651.0, "mean": 640.2, "max": 660},
            "iupac_letters": {"R": 12, "Y": 3},
            "lower_case_records": 4,
            "u_letters": 0,
            "gap_letters": 7,
            "duplicates": {"distinct": known - 2, "records_in_duplicates": 4},
            "conflicts": {"sequences": 2, "records": 5, "best_accuracy": 0.9951},
            "inputs": [{"role": "fasta", "path": "reads.fa", "sha256": "ab" * 32, "bytes": 123456, "rows": known}],
        },
    )


def fold_metrics(model, fold, level, labels, sizes, random) -> list[tuple]:
    """Return the rows of one fold's metrics.tsv."""
    rows = []
    for split in ("validation", "test"):
        for stage in ("raw", "calibrated"):
            for metric in METRICS:
                value = np.clip(level + random.normal(0, 0.006), 0, 1)
                rows.append((model, fold, split, stage, metric, "all", value))
            loss = -np.log(max(level, 0.02)) * (4 if stage == "raw" else 3) + abs(random.normal(0, 0.01))
            rows.append((model, fold, split, stage, "log_loss", "all", loss))
            rows.append((model, fold, split, stage, "brier", "all", 2 * (1 - level) * 0.8))
            rows.append((model, fold, split, stage, "ece", "all", 0.06 if stage == "raw" else 0.012))
    rows += set_metrics(model, fold, level, random)
    for label, size in zip(labels, sizes, strict=True):
        support = int(size) // 5 or int(random.random() < size / 5)
        values = np.clip(level + random.normal(0, 0.3 / np.sqrt(size), 4), 0, 1)
        rows.append((model, fold, "test", "calibrated", "support", label, support))
        for metric, value in zip(("precision", "recall", "f1", "pr_auc"), values, strict=True):
            rows.append((model, fold, "test", "calibrated", metric, label, value if support else np.nan))
    return rows


def set_metrics(model, fold, level, random) -> list[tuple]:
    """Return the rows of sets of names: kept for common classes, a little short for rare ones."""
    rows = []
    for name, off in (("all", 0.0), ("rare classes", -0.06), ("common classes", 0.01)):
        values = {"set_coverage": np.clip(0.91 + off + random.normal(0, 0.015), 0, 1), "set_size": 4 - 3 * level}
        values |= {
            "set_coverage_distinct": values["set_coverage"],
            "set_size_median": 1.0,
            "set_single": level,
            "set_empty": 0.0,
            "set_records": 40.0,
        }
        rows += [(model, fold, "test", "calibrated", metric, name, value) for metric, value in values.items()]
    return rows


def write_fold(folder: Path, kind, model, fold, level, labels, random) -> None:
    """Write what one job of one fold leaves: run, calibration, curves, confusions, history, benchmark."""
    run = {"model": model, "fold": fold, "seconds": 61.5 + fold, "peak_memory_mib": 912.3}
    run["versions"] = {"torch": "2.13.0", "numpy": "2.4.0"}
    if kind == "models":
        run |= {"backbone": "builtin:nt-mini", "tuning": "full", "precision": "fp32", "parameters": 1400000}
        run |= {"trainable_parameters": 1400000, "best_epoch": 18.0 + fold, "epochs_run": 25.0 - fold}
        run |= {"gap": 0.021 + 0.001 * fold, "device": "cpu", "samples_per_second": 55.5}
        write_tsv(folder / "history.tsv", history(level, fold))
    if kind == "engines":
        names = [next(iter(MODELS)), list(BASELINES)[-1]]
        pool = {
            "members": [*names, "product of all"],
            "weights": [0.2 + fold / 100, 0.5, 0.3 - fold / 100],
            "groups": 150,
        }
        losses = {model: 0.11, names[0]: 0.2, names[1]: 0.15}
        run |= {"pool": {**pool, "temperatures": [1.2, 0.8, 0.9]}, "validation_log_loss": losses}
    write_json(folder / "run.json", run)
    sets = {"coverage": 0.9, "shared": 0.1, "own": {}}
    write_json(folder / "calibration.json", {"method": "temperature", "candidates": {"temperature": 0.2}, "sets": sets})
    recall = np.linspace(0, 1, 51)
    confidence = (np.arange(15) + 0.5) / 15
    stored = {"pr_recall": recall, "set_asked": np.array(0.9), "set_size": random.geometric(max(level, 0.05), 50)}
    for stage, off in (("raw", 0.12), ("calibrated", 0.02)):
        accuracy = np.clip(confidence - off + random.normal(0, 0.03, 15), 0, 1)
        stored[f"pr_precision_{stage}"] = np.clip(1 - (1 - level) * 4 * recall**6, 0, 1)
        stored[f"reliability_{stage}"] = np.column_stack([COUNTS, confidence, accuracy])
    known, strange = random.gamma(2, 0.01, 80), random.gamma(4, 0.03, 30)
    stored |= {"rejection_score": np.array("distance"), "rejection_threshold": np.quantile(known, 0.95)}
    stored |= {"rejection_known": known, "rejection_rare": strange, "named_share": np.arange(1, 101) / 100}
    stored["named_accuracy"] = np.clip(1 - (1 - level) * stored["named_share"] ** 3, 0, 1)
    np.savez(folder / "curves.npz", **stored)
    pairs = random.choice(len(labels), (6, 2))
    rows = [(labels[a], labels[b], int(random.integers(1, 5)), 0.2) for a, b in pairs if a != b]
    write_tsv(folder / "confusions.tsv", pd.DataFrame(rows, columns=["truth", "predicted", "count", "share"]))
    benchmark = folder.parents[2] / "benchmarks" / kind / model / f"fold_{fold}.tsv"
    line = pd.DataFrame({"s": [70.1], "h:m:s": ["0:01:10"], "max_rss": [1003.2], "max_vms": ["-"]})
    write_tsv(benchmark, line)


def history(level: float, fold: int) -> pd.DataFrame:
    """Return a learning curve that saturates, with a validation loss that rises a little at the end."""
    epoch = np.arange(1, 26 - fold)
    train = 1 - np.exp(-epoch / 5)
    return pd.DataFrame(
        {
            "step": epoch * 50,
            "epoch": epoch.astype(float),
            "train_log_loss": 3 * np.exp(-epoch / 4) + 0.02,
            "validation_log_loss": 3 * np.exp(-epoch / 4) + 0.1 + 0.004 * epoch,
            "train_pr_auc_macro": train,
            "validation_pr_auc_macro": train * (level + 0.002 * fold),
        }
    )


def write_comparison(root: Path, metrics: pd.DataFrame) -> None:
    """Write comparison.tsv and paired_tests.tsv; one fold gives no interval and no test over folds."""
    average = metrics[metrics["class"] == "all"]
    keys = ["model", "split", "stage", "metric"]
    table = average.groupby(keys, sort=False)["value"].agg(mean="mean", sd="std", folds="size").reset_index()
    half = 2.776 * table["sd"] / np.sqrt(table["folds"])
    table["ci_low"], table["ci_high"] = table["mean"] - half, table["mean"] + half
    write_tsv(root / "comparison.tsv", table[[*keys, "mean", "sd", "ci_low", "ci_high", "folds"]])
    rows = []
    test = table[(table["split"] == "test") & (table["stage"] == "calibrated")]
    for metric in ("accuracy", "pr_auc_macro", "log_loss"):
        mean = test[test["metric"] == metric].set_index("model")["mean"]
        names = list(mean.index)
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                difference = mean[a] - mean[b]
                ends = (difference - 0.01, difference + 0.01)
                rows.append(("folds", metric, a, b, difference, *ends, 0.004, 0.03, 5, ""))
                if metric != "pr_auc_macro":
                    rows.append(("sequences", metric, a, b, difference, *ends, 0.001, 0.02, 5, 300))
    folds = metrics["fold"].nunique()
    table = pd.DataFrame(rows, columns=TEST_COLUMNS)
    write_tsv(root / "paired_tests.tsv", table if folds > 1 else table[table["test"] == "sequences"])
