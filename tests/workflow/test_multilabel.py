"""The whole chain where a sequence may have many labels or none: groups of labels, the check of learning apart,
thresholds, the saved model, and predictions for new sequences."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn import metrics as sklearn_metrics

from dnatune.tasks import task
from workflow_runs import Run, environment, model

MOTIFS = {"leaf one": "ACGTTGCA", "leaf two": "GGATCCTT", "root": "TTTAAACC", "seed": "CAGTCAGT"}
RECORDS = 90
GROUPS = {"leaves": ["leaf one", "leaf two"], "rest": ["root", "seed"]}


def simulated(folder: Path) -> tuple[Path, Path]:
    """Write sequences with a motif, repeated, for each of their labels; a third of them have no label."""
    rng = np.random.default_rng(4)
    folder.mkdir(parents=True, exist_ok=True)
    fasta, rows = [], ["id,labels"]
    for i in range(RECORDS):
        letters = rng.choice(list("ACGT"), 120)
        chosen = (
            [] if i % 3 == 0 else [n for n, p in zip(MOTIFS, (0.6, 0.5, 0.4, 0.2), strict=True) if rng.random() < p]
        )
        for place, name in enumerate(chosen):
            letters[place * 24 : place * 24 + 24] = list(MOTIFS[name] * 3)
        fasta.append(f">m{i}\n{''.join(letters)}\n")
        rows.append(f"m{i},{' | '.join(chosen)}")
    (folder / "sequences.fasta").write_text("".join(fasta))
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    (folder / "query.fasta").write_text("".join(fasta[:6]) + ">short\nACGT\n")
    return folder / "sequences.fasta", folder / "labels.csv"


@pytest.fixture
def finished(tmp_path_factory) -> Run:
    """A finished run of one model and what it is compared with."""
    return made(tmp_path_factory.getbasetemp() / "multilabel")


@cache
def made(base: Path) -> Run:
    sequences, labels = simulated(base / "input")
    config = {
        "name": "many",
        "task": "multilabel",
        "query": str(base / "input" / "query.fasta"),
        "data": {"sequences": str(sequences), "labels": str(labels), "columns": {"label": "labels"}},
        "split": {"folds": 2, "validation_share": 0.3},
        "models": {"full": model(imbalance="balanced_sampling", metric="f1_micro")},
        "multilabel": {"separator": "|", "groups": GROUPS, "alone": "groups"},
        "metrics": {"top_k": 2},
        "baselines": {"methods": ["majority", "naive_bayes", "logistic_regression"]},
    }
    return Run(base / "work", config).make("all", "predict")


def scores(run: Run, folder: str) -> dict[str, np.ndarray]:
    with np.load(run.results / folder / "scores.npz", allow_pickle=False) as stored:
        return dict(stored)


def test_no_record_is_lost_and_none_is_needed_to_have_a_label(finished):
    folds = pd.read_csv(finished.results / "folds/folds.tsv", sep="\t")
    assert (folds.groupby("fold").size() == RECORDS).all()
    assert len(pd.read_csv(finished.results / "records/removed.tsv", sep="\t")) == 0
    summary = json.loads((finished.results / "labels/summary.json").read_text())
    given = pd.read_csv(finished.directory.parent / "input/labels.csv", keep_default_na=False)["labels"]
    assert summary["without_label"] == (given == "").sum() >= RECORDS / 3
    test = scores(finished, "models/full/fold_0")
    rows = test["role"] == "test"
    tested = given[[int(name[1:]) for name in test["id"][rows]]]
    names = sorted(MOTIFS)
    expected = [[name in text.split(" | ") for name in names] for text in tested]
    np.testing.assert_array_equal(test["label"][rows], expected)


def test_metrics_are_those_of_the_scores_and_of_thresholds_from_validation(finished):
    metrics = pd.read_csv(finished.results / "metrics.tsv", sep="\t", keep_default_na=False)
    assert set(metrics["model"]) == {"full", "full.alone", "majority", "naive_bayes", "logistic_regression"}
    for kind, name in (("models", "full"), ("models", "full.alone"), ("baselines", "logistic_regression")):
        stored = scores(finished, f"{kind}/{name}/fold_1")
        calibrator = json.loads((finished.results / kind / name / "fold_1/calibration.json").read_text())
        judging = task("multilabel", {**finished.config["multilabel"], "threshold": "tuned", "labels": None}).judging
        rows = stored["role"] == "test"
        p, y = judging.calibrated(calibrator, stored["logits"][rows]), stored["label"][rows]
        mine = metrics[(metrics["model"] == name) & (metrics["fold"] == 1) & (metrics["split"] == "test")]
        value = mine[(mine["stage"] == "calibrated") & (mine["class"] == "all")].set_index("metric")["value"]
        given = p >= np.array(calibrator["thresholds"])
        assert value["f1_micro"] == pytest.approx(sklearn_metrics.f1_score(y, given, average="micro"))
        assert value["hamming_loss"] == pytest.approx(sklearn_metrics.hamming_loss(y, given))
        assert value["subset_accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(y, given))
        assert value["pr_auc_macro"] == pytest.approx(sklearn_metrics.average_precision_score(y, p, average="macro"))
        raw = mine[(mine["stage"] == "raw") & (mine["class"] == "all")].set_index("metric")["value"]
        assert raw["brier"] == pytest.approx(((expit(stored["logits"][rows].astype(float)) - y) ** 2).mean())


def test_what_is_learned_apart_is_compared_and_not_saved(finished):
    run = json.loads((finished.results / "models/full.alone/fold_0/run.json").read_text())
    assert [unit["labels"] for unit in run["units"]] == list(GROUPS.values())
    assert not (finished.results / "final/full.alone").exists()
    table = pd.read_csv(finished.results / "report/tables/negative_transfer.tsv", sep="\t")
    metrics = pd.read_csv(finished.results / "metrics.tsv", sep="\t", keep_default_na=False)
    wide = metrics[
        (metrics["metric"] == "pr_auc") & (metrics["split"] == "test") & (metrics["stage"] == "calibrated")
    ].pivot(index=["class", "fold"], columns="model", values="value")
    difference = (wide["full"] - wide["full.alone"]).groupby("class").mean()
    np.testing.assert_allclose(table.set_index("label")["pr_auc_difference"], difference[table["label"]], atol=1e-9)
    report = (finished.results / "report/report.html").read_text()
    assert "Do the labels help or hurt each other?" in report and "group by group" in report


def test_the_saved_model_is_a_plain_multilabel_model(finished):
    folder = finished.results / "final/full"
    config = json.loads((folder / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert config["head"]["groups"] == [[0, 1], [2, 3]]
    assert (folder / "light").is_dir()
    card = (folder / "README.md").read_text()
    assert "any of 4 labels" in card and "micro F1" in card
    code = (
        card.split("```python\n")[1].split("```")[0].replace("this folder", str(folder)).replace("ACGT...", "ACGT" * 30)
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), cwd="/", check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in MOTIFS)


def test_predictions_name_all_labels_above_their_threshold(finished):
    table = pd.read_csv(finished.results / "predictions/query.tsv", sep="\t", keep_default_na=False)
    assert list(table.columns[:5]) == ["id", "labels", "count", "probabilities", "top_2"]
    assert table.loc[table["id"] == "short", "note"].item() == "shorter than 50 bases"
    thresholds = json.loads((finished.results / "final/full/calibration.json").read_text())["thresholds"]
    for row in table[table["note"] == ""].itertuples():
        given = [name for name in row.labels.split("|") if name]
        assert len(given) == int(float(row.count)) and set(given) <= set(MOTIFS)
        listed = dict(part[:-1].rsplit(" (", 1) for part in row.probabilities.split("; ") if part)
        assert list(listed) == given
        for name in given:
            assert float(listed[name]) >= thresholds[sorted(MOTIFS).index(name)] - 1e-4
        assert row.top_2.count("(") == 2
