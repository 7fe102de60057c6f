"""A whole run on a tiny data set: files and columns that others build on, and figures that can be trusted."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.special import softmax

from metrics_by_hand import NAMED_METRICS, at_genus, by_scikit_learn, by_steps, named_at_ranks
from workflow_runs import (
    RARE,
    SPECIES,
    Record,
    Run,
    configuration,
    environment,
    fasta,
    finished_run,
    label_table,
    model,
    scores,
    simulate,
    table,
    write_inputs,
)

MODELS = ("full", "lora", "probe")
BASELINES = ("majority", "naive_bayes")
PAIRED = "test metric model_a model_b difference ci_low ci_high p_value p_holm folds groups"
FOLDERS = [f"models/{name}" for name in MODELS] + [f"baselines/{name}" for name in BASELINES]


@pytest.fixture
def finished(tmp_path_factory) -> Run:
    """A finished run of three models and two baselines, two folds."""
    return finished_run(tmp_path_factory.getbasetemp())


def cleaned(record: Record) -> str:
    """Return the sequence that counts: upper case, IUPAC letters to N."""
    return re.sub("[^ACGT]", "N", record.sequence.upper())


def test_a_second_run_does_nothing(finished):
    done = finished.snakemake()
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout


def test_fixed_names_and_columns(finished):
    results = finished.results
    columns = {
        "folds/folds.tsv": ["fold", "id", "role"],
        "metrics.tsv": ["model", "fold", "split", "stage", "metric", "class", "value"],
        "comparison.tsv": ["model", "split", "stage", "metric", "mean", "sd", "ci_low", "ci_high", "folds"],
        "paired_tests.tsv": PAIRED.split(),
        "records/removed.tsv": ["id", "reason", "detail"],
    }
    for name, wanted in columns.items():
        assert list(table(results / name).columns) == wanted, name
    assert set(table(results / "paired_tests.tsv")["test"]) == {"folds", "sequences"}
    labels = json.loads((results / "labels/label_map.json").read_text())
    assert labels["label2id"] == {name: i for i, name in enumerate(sorted(SPECIES))}
    assert labels["id2label"] == {str(i): name for i, name in enumerate(sorted(SPECIES))}
    for name in MODELS:
        for fold in (0, 1):
            found = scores(results / f"models/{name}/fold_{fold}")
            assert found["logits"].dtype == np.float32
            assert found["logits"].shape == (len(found["id"]), len(SPECIES))
            assert np.issubdtype(found["label"].dtype, np.integer)
            assert set(found["role"]) == {"validation", "test", "unknown"}
        assert (results / f"final/{name}/config.json").is_file()
    metrics = table(results / "metrics.tsv", keep_default_na=False, dtype=str)
    assert set(metrics["stage"]) == {"raw", "calibrated"}
    assert set(metrics["model"]) == {*MODELS, *BASELINES}
    averages = metrics[metrics["class"] == "all"]
    assert {*NAMED_METRICS, "top_2_accuracy"} <= set(averages["metric"])
    named = metrics[(metrics["class"] != "all") & (metrics["split"] != "unknown")]
    assert set(named["class"]) == set(SPECIES)
    assert (results / "report/report.html").is_file()
    for figure in ("learning_curves", "reliability", "class_balance", "precision_recall"):
        assert {p.suffix for p in (results / "report/figures").glob(f"{figure}.*")} == {".svg", ".png"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_metrics_agree_with_scikit_learn(finished, folder):
    written = table(finished.results / "metrics.tsv", dtype={"class": str})
    names = sorted(SPECIES)
    for fold in (0, 1):
        where = finished.results / folder / f"fold_{fold}"
        given = scores(where)
        calibration = json.loads((where / "calibration.json").read_text())
        assert calibration["method"] in ("temperature", "none")
        ranks, genera = calibration["ranks"], [name.split()[0] for name in names]
        assert ranks["ranks"] == ["species", "genus"]
        raw = softmax(given["logits"].astype(float), axis=1)
        calibrated = softmax(given["logits"].astype(float) / calibration.get("temperature", 1.0), axis=1)
        probabilities = {"raw": raw, "calibrated": by_steps(calibrated, genera, *ranks["temperatures"])}
        mine = written[(written["model"] == folder.split("/")[1]) & (written["fold"] == fold)]
        for split, stage in (("test", "raw"), ("test", "calibrated"), ("validation", "raw")):
            rows = given["role"] == split
            p = probabilities[stage][rows]
            wanted = by_scikit_learn(given["label"][rows], p, names if split == "test" else [])
            wanted |= at_genus(given["label"][rows], p, genera)
            if stage == "calibrated":
                seen = given["evidence"][rows] if "evidence" in given else None
                rejected = is_rejected(p, seen, calibration["rejection"])
                wanted |= named_at_ranks(given["label"][rows], p, genera, rejected)
            # Those without a rank are checked in the unit tests.
            of_names = ~mine["metric"].str.contains("rejected|classified$|_named")
            found = mine[(mine["split"] == split) & (mine["stage"] == stage) & of_names]
            found = found.set_index(["metric", "class"])["value"]
            assert set(found.index) == set(wanted)
            for key, value in wanted.items():
                assert found[key] == pytest.approx(value, abs=1e-4, nan_ok=True), (fold, split, stage, key)


def is_rejected(p, evidence, fitted):
    """Return which records have a rejection score above the threshold, by the columns of the evidence, if there is."""
    scores = {"probability": 1 - p.max(axis=1)}
    if evidence is not None:
        energy, distance, nearest, _ = evidence.T.astype(float)
        scores |= {"energy": -energy, "distance": distance, "nearest": nearest}
    return scores[fitted["score"]] > fitted["thresholds"][fitted["score"]]


def test_mistakes_and_unknown_records_are_told_by_rank(finished):
    where = finished.results / "models/full/fold_0"
    given, names = scores(where), sorted(SPECIES)
    landed = table(where / "rank_mistakes.tsv").set_index("rank")["count"]
    assert list(landed.index) == ["species", "genus", "none"]
    assert landed.sum() == (given["role"] == "test").sum()
    wrong = table(where / "confusions.tsv")
    same = wrong["truth"].str.split().str[0] == wrong["predicted"].str.split().str[0]
    assert (landed["genus"], landed["none"]) == (wrong["count"][same].sum(), wrong["count"][~same].sum())
    # The genus of the rare species is not among those of the trained ones.
    rows = table(where / "metrics.tsv", dtype={"class": str}).query("split == 'unknown'")
    unknown = rows[rows["class"] == "all"].set_index("metric")["value"]
    assert unknown["novel@species"] == unknown["novel@genus"] == 1 and unknown["records@genus"] == 0
    assert {unknown["overclassified@species"], unknown["overclassified@genus"]} <= {0, 1}
    taxonomy = json.loads((finished.results / "labels/label_map.json").read_text())["taxonomy"]
    assert taxonomy["unknown"] == {"RARE": RARE}
    assert taxonomy["lineages"] == {name: [name.split()[0]] for name in (*names, RARE)}
    assert "Names at every rank" in (finished.results / "report/report.html").read_text()


def test_comparison_is_the_mean_over_folds(finished):
    metrics = table(finished.results / "metrics.tsv", dtype={"class": str})
    averages = metrics[metrics["class"] == "all"]
    wanted = averages.groupby(["model", "split", "stage", "metric"])["value"].mean()
    found = table(finished.results / "comparison.tsv").set_index(["model", "split", "stage", "metric"])["mean"]
    pd.testing.assert_series_equal(found[wanted.index], wanted, check_names=False, rtol=1e-6)
    others = found.drop(wanted.index).index.get_level_values("metric")
    assert set(others) == {"ece_by_chance", "ece_pooled", "ece_pooled_by_chance"}


def test_no_sequence_is_in_two_roles(finished):
    sequence = {record.id: cleaned(record) for record in simulate()}
    folds = table(finished.results / "folds/folds.tsv")
    known = {r.id for r in simulate() if r.species != RARE and r.id != "SHORT"}
    assert set(folds["fold"]) == {0, 1}
    for _, fold in folds.groupby("fold"):
        assert Counter(fold["id"]) == Counter(known)
        roles = fold.assign(sequence=fold["id"].map(sequence)).groupby("sequence")["role"].nunique()
        assert roles.max() == 1
        assert set(fold["role"]) == {"train", "validation", "test"}
    tested = folds[folds["role"] == "test"]
    assert Counter(tested["id"]) == Counter(known)
    for name in MODELS:
        for fold in (0, 1):
            given = scores(finished.results / f"models/{name}/fold_{fold}")
            mine = folds[folds["fold"] == fold].set_index("id")["role"]
            assert set(given["id"][given["role"] == "test"]) == set(mine[mine == "test"].index)
            assert set(given["id"][given["role"] == "validation"]) == set(mine[mine == "validation"].index)
            assert list(given["id"][given["role"] == "unknown"]) == ["RARE"]


def test_nothing_disappears(finished):
    records = pq.read_table(finished.results / "records/records.parquet").to_pandas()
    removed = table(finished.results / "records/removed.tsv")
    given = {record.id: record for record in simulate()}
    assert {*records["id"], *removed["id"]} == set(given)
    assert dict(zip(removed["id"], removed["reason"], strict=True)) == {
        "SHORT": "too_short",
        "RARE": "rare_class",
    }
    assert set(records["id"]) == set(given) - {"SHORT"}
    for row in records.itertuples():
        assert row.sequence == cleaned(given[row.id])
        assert row.label == given[row.id].species
        assert row.known == (row.label != RARE)


def test_the_report_says_the_accuracy(finished):
    html = (finished.results / "report/report.html").read_text()
    comparison = table(finished.results / "comparison.tsv").set_index(["model", "split", "stage", "metric"])["mean"]
    best = max(MODELS, key=lambda name: comparison[name, "validation", "raw", "pr_auc_macro"])
    accuracy = f"{100 * comparison[best, 'test', 'calibrated', 'accuracy']:.1f} %"
    text = words_of(html)
    assert f"{best}, gives the right name to {accuracy} of the sequences it has not seen" in text
    for name in (*MODELS, *BASELINES):
        assert name in text
    assert not re.search(r"""(src|href)=["'](https?:)?//""", html)


def test_the_report_blames_no_rare_classes_where_all_are_equal(finished):
    text = words_of((finished.results / "report/report.html").read_text())
    assert "the classes are balanced" in text
    assert "the rare classes are named worse" not in text


def words_of(html: str) -> str:
    """Return what a reader sees of a page."""
    html = re.sub(r"<(style|script)\b.*?</\1>", " ", html, flags=re.S)
    return " ".join(re.sub("<[^>]+>", " ", html).split())


@pytest.mark.parametrize("name", MODELS)
def test_the_saved_model_loads_as_its_card_says(finished, name, tmp_path):
    folder = finished.results / "final" / name
    code = re.search("```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[1]
    program = f"""{code.replace("this folder", str(folder)).replace("ACGT...", cleaned(simulate()[0]))}
print([model.config.id2label[i] for i in range(5)], tuple(logits.shape), bool(logits.isfinite().all()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**environment(), "HF_MODULES_CACHE": str(tmp_path), "PYTHONPATH": ""},
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # A question on the screen ("Do you wish to run the custom code?") would stand here too.
    named, *rest = done.stdout.strip().splitlines()
    assert named in SPECIES
    assert rest == [f"{sorted(SPECIES)} (1, 5) True"]
    assert "newly initialized" not in done.stderr


@pytest.mark.parametrize("kind", ["gzip and parquet", "csv.gz and blank lines"])
def test_other_formats_give_the_same_records(finished, kind, tmp_path):
    inputs = write_inputs(tmp_path / "input", simulate())
    config = configuration(inputs)
    if kind == "gzip and parquet":
        sequences, labels = tmp_path / "input/s.fasta.gz", tmp_path / "input/l.parquet"
        sequences.write_bytes(gzip.compress(fasta(inputs.records).encode()))
        table(inputs.labels).to_parquet(labels)
    else:
        sequences, labels = tmp_path / "input/s.fa", tmp_path / "input/l.csv.gz"
        sequences.write_text("\n" + fasta(inputs.records).replace("\n>", "\r\n\r\n>"))
        labels.write_bytes(gzip.compress(label_table(inputs.records[::-1], ",").encode()))
    config["data"] |= {"sequences": str(sequences), "labels": str(labels)}
    run = Run(tmp_path / "work", config)
    run.make(run.file("records/records.parquet"))
    written, wanted = (pq.read_table(r.results / "records/records.parquet") for r in (run, finished))
    assert written.equals(wanted)
    assert table(run.results / "records/removed.tsv").equals(table(finished.results / "records/removed.tsv"))


def test_lint_finds_nothing(tmp_path):
    run = Run(
        tmp_path / "work",
        configuration(write_inputs(tmp_path / "input", simulate()), models={"full": model()}),
    )
    done = run.snakemake("--lint")
    assert done.returncode == 0, done.stdout
