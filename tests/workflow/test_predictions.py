"""Names for new sequences from a run with a split of its own: calibrated, as deep as they are sure, also by an engine.

The run stands in the working directory of another.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metrics_by_hand import NAMED_METRICS
from workflow_runs import (
    SPECIES,
    Record,
    Run,
    add_split,
    configuration,
    fasta,
    files_of,
    finished_run,
    plan,
    scores,
    simulate,
    table,
    write_inputs,
)

QUERY = [Record("SHORT", "", "ACGT"), *(replace(r, id=f"Q{r.id}") for r in simulate(of_each=1)[:5])]


@pytest.fixture
def finished(tmp_path_factory) -> Run:
    """A finished run of three models and two baselines, two folds."""
    return finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def given_split(tmp_path_factory) -> Run:
    """A finished run of one model with a split column, beside the first and with names for a query."""
    return split_run(tmp_path_factory.getbasetemp())


@cache
def split_run(base: Path) -> Run:
    """Make the run with a split column in the working directory of the first run."""
    first = finished_run(base)
    inputs = write_inputs(base / "split" / "input", simulate(seed=2))
    add_split(inputs)
    query = inputs.folder / "new.fa.gz"
    query.write_bytes(gzip.compress(fasta(QUERY).encode()))
    config = configuration(inputs, "split", query=str(query), metrics={"top_k": 5}, calibration={"method": "auto"})
    config["data"]["columns"]["split"] = "split"
    config["engine"] = {"experts": ["full", "naive_bayes"]}
    before = files_of(first.results)
    run = Run(first.directory, config).make("all", "predict")
    (base / "split" / "untouched").write_text(str(files_of(first.results) == before))
    return run


def test_predictions_are_calibrated_probabilities_in_order(given_split):
    names = table(given_split.results / "predictions/new.tsv")
    assert list(names.columns[:3]) == ["id", "label", "probability"]
    assert {"top_5", "set", "set_size", "length", "windows"} <= set(names.columns)
    assert list(names["id"]) == [record.id for record in QUERY]
    assert list(names["length"]) == [len(record.sequence) for record in QUERY]
    assert pd.isna(names["label"][0]) and "shorter than" in names["note"][0]
    for row in names[1:].itertuples():
        found = re.findall(r"([^;]+?) \((\d\.\d+)\)", row.top_5)
        labels, values = [name.strip() for name, _ in found], [float(value) for _, value in found]
        assert sorted(labels) == sorted(SPECIES)
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(1, abs=5e-4)
        assert row.label == labels[0]
        assert row.probability == pytest.approx(values[0], abs=1e-4)
        assert row.windows == 1
        if pd.notna(row.set):  # none where validation is too small
            assert row.set.split("; ") == labels[: int(row.set_size)]


def test_predictions_go_as_deep_as_they_are_sure(given_split):
    names = table(given_split.results / "predictions/new.tsv", keep_default_na=False).set_index("id")
    form = table(given_split.results / "predictions/new.qiime.tsv", keep_default_na=False)
    assert list(form.columns) == ["Feature ID", "Taxon", "Confidence"]
    assert list(form["Feature ID"]) == [record.id for record in QUERY]
    form = form.set_index("Feature ID")
    assert tuple(form.loc["SHORT"]) == ("Unassigned", 0)
    for name, row in names.drop(index="SHORT").iterrows():
        found = re.findall(r"([^;]+?) \((\d\.\d+)\)", row["top_5"])
        sums = Counter()
        for label, value in found:
            sums[label.split()[0]] += float(value)
        assert row["genus"] == max(sums, key=sums.get)
        assert float(row["genus_probability"]) == pytest.approx(sums[row["genus"]], abs=5e-4)
        assert float(row["genus_probability"]) >= float(row["probability"])
        if float(row["probability"]) >= 0.8 and row["known"] == "yes":
            wanted = ("species", row["label"], f"g__{row['genus']}; s__{row['label']}", row["probability"])
        elif float(row["genus_probability"]) >= 0.8:
            wanted = ("genus", row["genus"], f"g__{row['genus']}", row["genus_probability"])
        else:
            wanted = ("", "", "Unassigned", row["genus_probability"])
        assert (row["rank"], row["taxon"], form["Taxon"][name]) == wanted[:3]
        assert form["Confidence"][name] == pytest.approx(float(wanted[3]))


def test_the_engine_is_judged_reported_and_saved_like_a_model(given_split):
    results = given_split.results
    folder = results / "engines/engine/fold_0"
    mine, expert = scores(folder), scores(results / "models/full/fold_0")
    assert (mine["id"] == expert["id"]).all() and (mine["role"] == expert["role"]).all()
    np.testing.assert_allclose(np.exp(mine["logits"].astype(float)).sum(axis=1), 1, atol=1e-5)
    metrics = table(results / "metrics.tsv", dtype={"class": str})
    engine = metrics[(metrics["model"] == "engine") & (metrics["class"] == "all")]
    assert {*NAMED_METRICS} <= set(engine["metric"])
    raw = engine[(engine["split"] == "validation") & (engine["metric"] == "log_loss")]["value"].item()
    losses = json.loads((folder / "run.json").read_text())["validation_log_loss"]
    assert raw == pytest.approx(losses["engine"], abs=1e-5)
    # The pool is calibrated already: curves on top of it are not tried.
    assert set(json.loads((folder / "calibration.json").read_text())["candidates"]) == {"none", "temperature"}
    text = (results / "report/report.html").read_text()
    assert "Do several experts together do better?" in text and "Several experts as one" in text
    assert {path.name for path in (results / "final/engine").iterdir() if path.is_dir()} == {"full", "naive_bayes"}
    namer = "engine" if losses["engine"] <= losses["full"] else "full"
    assert set(table(results / "predictions/new.tsv")["model"]) == {namer}
    assert f"snakemake predict uses {'the engine' if namer == 'engine' else namer}" in text


def test_a_split_column_is_one_fold(given_split):
    folds = table(given_split.results / "folds/folds.tsv")
    column = table(given_split.config["data"]["labels"]).set_index("id")["split"]
    assert set(folds["fold"]) == {0}
    removed = set(table(given_split.results / "records/removed.tsv")["id"])
    assert set(folds["id"]) == set(column.index) - removed
    wanted = column.replace({"dev": "validation"})
    assert (folds.set_index("id")["role"] == wanted[folds["id"]]).all()
    comparison = table(given_split.results / "comparison.tsv")
    assert (comparison.dropna(subset="mean")["folds"] == 1).all()
    assert comparison["sd"].isna().all()
    assert "top_5_accuracy" in set(comparison["metric"])
    assert "one fold, so no interval" in (given_split.results / "report/report.html").read_text()


def test_two_configurations_never_touch_each_other(finished, given_split):
    base = finished.directory.parent
    assert (base / "split/untouched").read_text() == "True"
    assert plan(finished).rules == Counter()
    assert plan(given_split, "all", "predict").rules == Counter()
    written = {path.name for path in (finished.directory / "results").iterdir()}
    assert written == {"tiny", "split"}
    assert {path.name for path in finished.directory.iterdir()} == {
        ".snakemake",
        "results",
        "tiny.yaml",
        "split.yaml",
    }


def test_an_ensemble_names_sequences(finished, tmp_path):
    shutil.copytree(finished.directory, tmp_path / "work")
    query = tmp_path / "more.fasta"
    query.write_text(fasta(QUERY))
    config = {**finished.config, "query": str(query), "packaging": {"mode": "ensemble", "models": ["full"]}}
    run = Run(tmp_path / "work", config)
    assert plan(run, "predict").rules == Counter(reference=1, package=1, name_query=1, predict=1)
    run.make("predict")
    saved = json.loads((run.results / "final/full/config.json").read_text())
    assert (saved["model_type"], saved["size"]) == ("dnatune-ensemble", 2)
    assert "mean of the probabilities of all folds" in (run.results / "final/full/README.md").read_text()
    names = table(run.results / "predictions/more.tsv")
    assert set(names["label"][1:]) <= set(SPECIES)
    assert names["probability"][1:].between(0, 1).all()
