"""The whole workflow where each base has a label: from tags in a table to labels of new sequences."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from workflow_runs import TINY, TRAINING, Run, environment

SEPARATOR = ","
LOAD = """
import json, sys
from transformers import AutoModelForTokenClassification, AutoTokenizer
folder = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
model, info = AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
assert "dnatune" not in sys.modules and not info["missing_keys"] and not info["unexpected_keys"], info
logits = model(**tokenizer("ACGTACGTACGTACG", return_tensors="pt")).logits
print(json.dumps({"shape": list(logits.shape), "labels": model.config.id2label}))
"""


def simulate(count: int = 30) -> tuple[list[str], list[list[str]]]:
    """Return sequences with islands of G and C, some of which a TATA follows, and the tag of each base."""
    rng = np.random.default_rng(4)
    sequences, tags = [], []
    for i in range(count):
        letters = rng.choice(list("ACGT"), int(rng.integers(60, 200)))
        tag = np.full(len(letters), "out", dtype=object)
        for start in range(int(rng.integers(5, 15)), len(letters) - 30, 45):
            letters[start : start + 20] = rng.choice(list("GC"), 20)
            tag[start : start + 20] = "island"
            if i % 3 == 0:
                letters[start + 20 : start + 24] = list("TATA")
                tag[start + 20 : start + 24] = "box"
        sequences.append("".join(letters))
        tags.append(tag.tolist())
    return sequences, tags


def role_of(number: int) -> str:
    """Return the part of the split that a sequence is in."""
    return ("train", "train", "dev", "train", "test")[number % 5]


@pytest.fixture
def finished(tmp_path_factory) -> Run:
    """A finished run with a saved model and labels of a query."""
    return finished_run(tmp_path_factory.getbasetemp() / "token")


@cache
def finished_run(base: Path) -> Run:
    """Make the run once."""
    sequences, tags = simulate()
    base.mkdir(exist_ok=True)
    # Gaps are taken out when a sequence is cleaned, and the labels know nothing of them.
    written = [text[:7] + "--" + text[7:] if i == 4 else text for i, text in enumerate(sequences)]
    (base / "s.fasta").write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(written)))
    rows = [f"s{i}\t{SEPARATOR.join(tag)}\t{role_of(i)}" for i, tag in enumerate(tags)]
    (base / "l.tsv").write_text("\n".join(["id\tlabel\tsplit", *rows]) + "\n")
    (base / "q.fasta").write_text("".join(f">q{i}\n{text}\n" for i, text in enumerate([*sequences[:3], "ACGT"])))
    config = {
        "name": "token",
        "task": "token",
        "seed": 3,
        "query": str(base / "q.fasta"),
        "data": {"sequences": str(base / "s.fasta"), "labels": str(base / "l.tsv"), "columns": {"split": "split"}},
        "token": {"separator": SEPARATOR},
        "models": {
            "small": {
                "backbone": "builtin:nt-mini",
                "backbone_config": dict(TINY),
                "tokens": {"max_tokens": 12},
                "training": {**TRAINING, "imbalance": "class_weights"},
            }
        },
        "calibration": {"method": "temperature"},
        "packaging": {"mode": "best_fold", "light": False},
    }
    return Run(base / "work", config).make("all", "predict")


def test_scores_have_a_row_per_base_of_the_cleaned_sequences(finished):
    sequences, tags = simulate()
    names = json.loads((finished.results / "labels/label_map.json").read_text())["label2id"]
    assert names == {"box": 0, "island": 1, "out": 2}
    for folder in ("models/small", "baselines/majority", "baselines/context_logistic_regression"):
        scores = np.load(finished.results / folder / "fold_0/scores.npz", allow_pickle=False)
        parts = np.split(scores["label"], np.cumsum(scores["counts"])[:-1])
        for name, part in zip(scores["id"], parts, strict=True):
            assert part.tolist() == [names[tag] for tag in tags[int(name[1:])]]
        assert scores["logits"].shape == (scores["counts"].sum(), 3)
        tested = scores["id"][scores["role"] == "test"].tolist()
        assert sorted(tested) == sorted(f"s{i}" for i in range(len(sequences)) if role_of(i) == "test")


def test_figures_are_those_of_the_bases(finished):
    table = pd.read_csv(finished.results / "metrics.tsv", sep="\t", keep_default_na=False)
    for folder in ("models/small", "baselines/context_logistic_regression"):
        scores = np.load(finished.results / folder / "fold_0/scores.npz", allow_pickle=False)
        model = Path(folder).name
        test = np.repeat(scores["role"] == "test", scores["counts"])
        truth, given = scores["label"][test], scores["logits"][test].argmax(1)
        found = table[(table["model"] == model) & (table["fold"] == 0) & (table["class"] == "all")]
        found = found[(found["split"] == "test") & (found["stage"] == "raw")]
        found = found.set_index("metric")["value"].astype(float)
        assert found["bases"] == test.sum()
        assert found["accuracy"] == pytest.approx((truth == given).mean())
        expected = sklearn_metrics.f1_score(truth, given, average="macro", labels=np.unique(truth), zero_division=0)
        assert found["f1_macro"] == pytest.approx(expected)


def test_the_report_speaks_of_bases(finished):
    report = (finished.results / "report/report.html").read_text()
    for words in (
        "How well can the bases of token be labelled?",
        "gives the right label to",
        "macro F1 per base",
        "Which labels are hard?",
        'id="figure-tracks"',
        'id="figure-label_confusions"',
        'id="figure-label_f1"',
        "context_logistic_regression",
    ):
        assert words in report, words
    per_label = pd.read_csv(finished.results / "report/tables/per_label.tsv", sep="\t")
    assert per_label["label"].tolist() == ["box", "island", "out"]
    sequences, _ = simulate()
    assert per_label["bases"].sum() == sum(map(len, sequences))
    assert per_label["tested"].sum() == sum(len(text) for i, text in enumerate(sequences) if role_of(i) == "test")


def test_a_plain_transformers_model_is_saved(finished):
    folder = finished.results / "final/small"
    card = (folder / "README.md").read_text()
    assert "AutoModelForTokenClassification" in card
    assert "gives each base of a DNA sequence one of 3 labels" in card
    command = [sys.executable, "-c", LOAD, str(folder)]
    scratch = {**environment(), "HF_HOME": str(finished.directory / "hf")}
    done = subprocess.run(command, capture_output=True, text=True, env=scratch, cwd=finished.directory, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["shape"] == [1, 1 + 2 + 3, 3]  # <cls>, two 6-mers, three single bases
    assert found["labels"] == {"0": "box", "1": "island", "2": "out"}


def test_new_sequences_get_a_label_for_each_base(finished):
    sequences, _ = simulate()
    table = pd.read_csv(finished.results / "predictions/q.tsv", sep="\t", keep_default_na=False).set_index("id")
    pieces = pd.read_csv(finished.results / "predictions/q.segments.tsv", sep="\t")
    assert table.loc["q3", "note"].startswith("shorter than") and table.loc["q3", "labels"] == ""
    assert set(pieces["id"]) == {"q0", "q1", "q2"}
    for i, sequence in enumerate(sequences[:3]):
        tags = table.loc[f"q{i}", "labels"].split(SEPARATOR)
        assert len(tags) == len(sequence) and set(tags) <= {"box", "island", "out"}
        own = pieces[pieces["id"] == f"q{i}"]
        assert (
            own["end"].iloc[-1] == len(sequence) and (own["start"].iloc[1:].array == own["end"].iloc[:-1].array).all()
        )
        assert [tag for row in own.itertuples() for tag in [row.label] * (row.end - row.start)] == tags
        mean = np.average(own["mean_probability"], weights=own["end"] - own["start"])
        assert mean == pytest.approx(float(table.loc[f"q{i}", "mean_probability"]), abs=1e-6)
