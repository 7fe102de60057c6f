"""The whole workflow for values: two outputs in units far from 0, many of them missing, sequences measured twice."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from workflow_runs import Run, environment, model

UNITS = {"gc": (1000.0, 400.0), "ends": (-2.0, 0.01)}
NOISE = 0.05


def simulate(n: int = 160, seed: int = 4) -> pd.DataFrame:
    """Return id, sequence, gc and ends: GC share in the first half and in the last, in units of their own, with noise.

    About a third of the values are missing, one record has none, and the last ten sequences stand there twice.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n - 10):
        shares = rng.uniform(0.2, 0.8, 2)
        halves = [rng.choice(list("GCAT"), 60, p=[s / 2, s / 2, (1 - s) / 2, (1 - s) / 2]) for s in shares]
        rows.append({"id": f"R{i:03d}", "sequence": "".join(np.concatenate(halves))})
    rows += [{"id": f"R{n - 10 + i:03d}", "sequence": rows[-1 - i]["sequence"]} for i in range(10)]
    table = pd.DataFrame(rows)
    for (name, (offset, factor)), part in zip(UNITS.items(), (slice(0, 60), slice(60, None)), strict=True):
        share = np.array([sum(letter in "GC" for letter in s[part]) / 60 for s in table["sequence"]])
        table[name] = offset + factor * (share + rng.normal(0, NOISE, n))
    missing = rng.random((n, 2)) < 0.35
    missing[missing.all(axis=1), 0] = False
    missing[0] = True
    return table.assign(**{name: table[name].mask(missing[:, i]) for i, name in enumerate(UNITS)})


def write(folder: Path, table: pd.DataFrame) -> dict[str, str]:
    """Write the FASTA, the label table and a vector table; return them as the configuration's ``data``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s.fasta").write_text("".join(f">{r.id}\n{r.sequence}\n" for r in table.itertuples()))
    table.drop(columns="sequence").to_csv(folder / "l.csv", index=False)
    letters = pd.DataFrame(
        {"id": table["id"], "g": table["sequence"].str.count("G"), "c": table["sequence"].str[:60].str.count("C")}
    )
    letters.to_csv(folder / "v.csv", index=False)
    return {"sequences": str(folder / "s.fasta"), "labels": str(folder / "l.csv"), "vectors": str(folder / "v.csv")}


def configuration(folder: Path, **sections: object) -> dict:
    """Return a small complete configuration of two models, two folds."""
    table = simulate()
    query = folder / "new.fasta"
    data = {**write(folder, table), "columns": {"label": list(UNITS)}, "on_mismatch": "drop"}
    query.write_text("".join(f">Q{r.id}\n{r.sequence}\n" for r in table[1:6].itertuples()) + ">SHORT\nACGT\n")
    return {
        "name": "values",
        "seed": 3,
        "task": "regression",
        "data": data,
        "query": str(query),
        "split": {"folds": 2, "validation_share": 0.3},
        "models": {
            "full": model(epochs=6, learning_rate="3e-3"),
            "lora": {**model("lora", epochs=1), "lora": {"r": 4, "alpha": 8}},
        },
        "calibration": {"coverage": 0.8},
        "baselines": {"methods": ["mean", "kmer_ridge", "vector_ridge"], "kmer_ridge": {"k": 2}},
        **sections,
    }


@cache
def made(base: Path) -> Run:
    """Make the run once."""
    return Run(base / "regression", configuration(base / "regression_input")).make("all", "predict")


@pytest.fixture
def run(tmp_path_factory) -> Run:
    """A finished run with predictions."""
    return made(tmp_path_factory.getbasetemp())


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t")


def test_metrics_agree_with_scikit_learn_in_the_units_of_the_table(run):
    table = simulate().set_index("id")
    metrics = read(run.results / "metrics.tsv").set_index(["model", "fold", "split", "stage", "metric", "class"])[
        "value"
    ]
    for kind, name in (("models", "full"), ("models", "lora"), ("baselines", "kmer_ridge"), ("baselines", "mean")):
        with np.load(run.results / kind / name / "fold_1/scores.npz") as stored:
            test = stored["role"] == "test"
            ids, predicted = stored["id"][test], stored["logits"][test]
        found = []
        for i, output in enumerate(UNITS):
            truth = table.loc[ids, output].to_numpy()
            there = ~np.isnan(truth)
            wanted = r2_score(truth[there], predicted[there, i])
            assert metrics[name, 1, "test", "raw", "r2", output] == pytest.approx(wanted, abs=1e-4)
            assert metrics[name, 1, "test", "calibrated", "r2", output] == pytest.approx(wanted, abs=1e-4)
            mae = mean_absolute_error(truth[there], predicted[there, i])
            assert metrics[name, 1, "test", "raw", "mae", output] == pytest.approx(mae, rel=1e-4)
            found.append(wanted)
        assert metrics[name, 1, "test", "raw", "r2", "all"] == pytest.approx(np.mean(found), abs=1e-4)
        assert 0.4 < metrics[name, 1, "test", "calibrated", "coverage", "all"] <= 1


def test_models_learn_in_units_and_baselines_are_what_they_say(run):
    comparison = read(run.results / "comparison.tsv").set_index(["model", "split", "stage", "metric"])
    mean = comparison["mean"]
    history = read(run.results / "models/full/fold_0/history.tsv")
    assert history["train_mse"].iloc[-1] < history["train_mse"].iloc[0]
    assert mean["kmer_ridge", "test", "raw", "r2"] > 0.1
    assert -0.2 < mean["mean", "test", "raw", "r2"] <= 0
    # So few sequences teach a model little, but it starts at the mean of the values, not at 0.
    for name in ("full", "lora"):
        assert mean[name, "test", "raw", "r2"] > -0.5
    assert (comparison["ci_low"].dropna() <= comparison["ci_high"].dropna()).all()
    errors = comparison.xs("rmse", level="metric")
    assert errors["ci_high"].max() > 1
    assert np.isnan(mean["mean", "test", "raw", "pearson"])


def test_identical_sequences_and_missing_values(run):
    table = simulate()
    removed = read(run.results / "records/removed.tsv")
    assert removed[["id", "reason"]].values.tolist() == [["R000", "empty_label"]]
    folds = read(run.results / "folds/folds.tsv").merge(table[["id", "sequence"]], on="id")
    assert folds.groupby(["fold", "sequence"])["role"].nunique().max() == 1
    summary = json.loads((run.results / "labels/summary.json").read_text())
    assert 0 < summary["best_r2"]["gc"] < 1
    assert "Identical sequences were given different values" in summary["statement"]


def test_predictions_have_values_and_intervals_in_units(run):
    names = read(run.results / "predictions/new.tsv")
    assert list(names.columns[:4]) == ["id", "gc_value", "gc_low", "gc_high"]
    assert names.columns[-4:].tolist() == ["length", "windows", "note", "model"]
    usable = names[names["note"].isna()]
    assert len(usable) == 5 and names["gc_value"].isna().sum() == 1
    calibration = json.loads((run.results / f"final/{names['model'][0]}/calibration.json").read_text())
    assert (calibration["method"], calibration["coverage"]) == ("conformal", 0.8)
    for i, name in enumerate(UNITS):
        offset, factor = UNITS[name]
        assert usable[f"{name}_value"].between(offset, offset + factor).all()
        for end, sign in (("low", -1), ("high", 1)):
            wanted = usable[f"{name}_value"] + sign * calibration["half_width"][i]
            assert usable[f"{name}_{end}"].to_numpy() == pytest.approx(wanted.to_numpy(), rel=1e-6)


def test_the_report_answers_for_values(run):
    html = (run.results / "report/report.html").read_text()
    text = " ".join(re.sub("<[^>]+>", " ", re.sub(r"<(style|script)\b.*?</\1>", " ", html, flags=re.S)).split())
    assert "How well can the values of values be predicted?" in text
    assert "Its intervals for 80 % of values" in text
    for name in ("full", "lora", "mean", "kmer_ridge", "vector_ridge", *UNITS):
        assert name in text
    for word in ("classes large enough", "Class balance", "PR-AUC", "right name"):
        assert word not in text
    table = read(run.results / "report/tables/per_output.tsv")
    assert len(table) == 5 * 2
    for figure in ("predicted_measured", "interval_coverage", "target_distribution", "learning_curves"):
        assert {p.suffix for p in (run.results / "report/figures").glob(f"{figure}.*")} == {".svg", ".png"}


@pytest.mark.parametrize("name", ["full", "lora"])
def test_plain_transformers_gives_units_as_the_card_says(run, name, tmp_path):
    folder = run.results / "final" / name
    card = (folder / "README.md").read_text()
    assert "A predictor of gc, ends" in card and "A classifier" not in card
    code = re.search("```python\n(.*?)```", card, re.S)[1].replace("ACGT...", simulate()["sequence"][5])
    # The light version is in half precision; its offsets and units are not.
    code = code.replace("this folder", str(folder)) + code.replace("this folder", str(folder / "light"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**environment(), "HF_MODULES_CACHE": str(tmp_path), "PYTHONPATH": ""},
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    whole, light = (json.loads(line.replace("'", '"')) for line in done.stdout.strip().splitlines())
    for output, (offset, factor) in UNITS.items():
        assert offset < whole[output] < offset + factor
        assert light[output] == pytest.approx(whole[output], abs=0.01 * factor)


def test_an_ensemble_is_the_mean_of_values(run, tmp_path):
    shutil.copytree(run.directory, tmp_path / "work")
    packaging = {"mode": "ensemble", "models": ["full"], "light": False}
    again = Run(tmp_path / "work", {**run.config, "packaging": packaging})
    again.make("predict")
    names = read(again.results / "predictions/new.tsv")[:5]
    assert names["gc_value"].between(1000, 1400).all() and names["ends_value"].between(-2, -1.99).all()
    assert "the mean of the values of all folds' models" in (again.results / "final/full/README.md").read_text()
