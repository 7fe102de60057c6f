"""A real tiny model: what it shows beside its answer, the distances of a fold, and what the saved model rejects."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from dnatune import tuning
from dnatune.evaluation import evaluate_fold
from dnatune.fold_data import FoldData
from dnatune.fold_training import Job, train_on_fold, views_at_prediction
from dnatune.inputs import EmbeddingInputs, TokenInputs
from dnatune.packaging import Package, write_package
from dnatune.prediction import SavedModel, prediction_tables
from dnatune.reference import REFERENCE, add_reference, write_reference
from dnatune.tasks import task
from dnatune.tasks.base import EvaluationSettings
from dnatune.tokens import TokenSettings, TokenTable
from dnatune.tuning import LinearHead
from dnatune.vectors import Reader, distinct, heads
from miniatures import families, model_settings

TASK, CLASSES = task("multiclass"), ["Aus", "Bus", "Cus"]
KNOWN, FOREIGN = families(3, 40, 90, seed=1), families(2, 8, 90, seed=99)
RECORDS = [*KNOWN, *((s, -1) for s, _ in FOREIGN), (KNOWN[0][0], 0)]  # the last one repeats the first
ORDER = np.random.default_rng(3).permutation(120)
LABELS = np.array([label for _, label in RECORDS])
FOLD = FoldData(
    np.array([f"s{i}" for i in range(len(RECORDS))]),
    LABELS,
    CLASSES,
    np.r_[np.arange(136), 0],
    *(np.sort(ORDER[a:b]) for a, b in ((0, 60), (60, 90), (90, 120))),
    np.arange(120, 136),
    kinds=np.array(["rare"] * 8 + ["flagged"] * 8),
)
SETTINGS = model_settings({"epochs": 10, "learning_rate": 1e-2, "head_learning_rate_factor": 2})


def inputs_for(settings):
    encoder = tuning.backbone_of(settings).encoder()
    table = TokenTable.of_sequences([s for s, _ in RECORDS], encoder, TokenSettings.of(settings["tokens"], encoder))
    return TokenInputs(table, encoder.pad_id), encoder


INPUTS, ENCODER = inputs_for(SETTINGS)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """(trained model, scores, run, folder) of one fold with distances."""
    folder = tmp_path_factory.mktemp("unknown")
    job = Job("m", SETTINGS, TASK, 0, folder / "m" / "fold_0", 0, distances=True)
    trained, scores, run, _ = train_on_fold(job, FOLD, INPUTS, "sha")
    return trained, scores, run, folder


def plain_vectors(model, records):
    """Return the mean over six frames of the model's own ``embed``, one record at a time."""
    found = []
    for record in records:
        rows = INPUTS.table.rows_of(np.array([record]))
        with torch.inference_mode():
            found.append(np.mean([model.embed(**INPUTS.batch([row])).numpy()[0] for row in rows], axis=0))
    return np.array(found, np.float64)


def test_evidence_of_a_fold_is_what_the_model_itself_says(learnt):
    trained, scores, _, _ = learnt
    model = trained.model.eval()
    train, scored = (plain_vectors(model, rows) for rows in (FOLD.train, FOLD.scored))
    cosine = 1 - (scored @ train.T) / np.linalg.norm(scored, axis=1)[:, None] / np.linalg.norm(train, axis=1)
    predicted, label = scores.logits.argmax(1), LABELS[FOLD.train]
    for i in range(0, len(scored), 7):
        expected = [cosine[i, label == predicted[i]].min(), cosine[i].min()]
        np.testing.assert_allclose(scores.evidence[i, 1:3], expected, atol=2e-5)
        energies = []
        for row in INPUTS.table.rows_of(FOLD.scored[i : i + 1]):
            with torch.inference_mode():
                energies.append(float(model(**INPUTS.batch([row])).logits.logsumexp(-1)))
        assert scores.evidence[i, 0] == pytest.approx(np.mean(energies), abs=1e-4)
    assert scores.kind.tolist() == [""] * 60 + ["rare"] * 8 + ["flagged"] * 8
    assert (scores.label[scores.role == "unknown"] == -1).all()


def test_listening_changes_no_score(learnt):
    job = Job("m", SETTINGS, TASK, 0, learnt[3] / "again", 0, distances=False)
    scores = train_on_fold(job, FOLD, INPUTS, "sha")[1]
    np.testing.assert_array_equal(scores.logits, learnt[1].logits)
    assert np.isfinite(scores.evidence[:, 0]).all() and np.isnan(scores.evidence[:, 1:]).all()


def test_foreign_families_are_told_from_known_ones(learnt):
    found = evaluate_fold(learnt[1], CLASSES, "m", 0, TASK, EvaluationSettings("none", rejection="distance"))
    rows = found.metrics[found.metrics["split"] == "unknown"].set_index(["metric", "class"])["value"]
    assert rows["records", "rare"] == rows["records", "flagged"] == 8
    assert rows["auroc", "all"] > 0.9 and rows["rejected", "all"] > 0.7
    test = found.metrics[(found.metrics["split"] == "test") & (found.metrics["class"] == "all")]
    assert test.set_index(["stage", "metric"])["value"]["calibrated", "rejected"] < 0.2


@pytest.fixture(scope="module", params=["refit", "ensemble"])
def saved(request, learnt):
    """A saved model with its reference, of the fold's weights alone or twice."""
    trained, scores, run, folder = learnt
    settings = {**SETTINGS, "head": TASK.head()}
    tuning.save(trained.model, folder / "weights", "full")
    tokens = {"frames": 6, "context": ENCODER.context, "vocabulary_size": ENCODER.vocabulary_size, "max_tokens": 512}
    calibrator = TASK.judging.calibrate(scores.part("validation"), EvaluationSettings("none", rejection="distance"))
    package = Package("m", settings, 0, CLASSES, request.param, light=False, task={"name": "multiclass"})
    weights = [folder / "weights"] * (2 if request.param == "ensemble" else 1)
    final = folder / request.param
    final.mkdir()
    write_package(package, weights, [run] * len(weights), calibrator, tokens, final)
    model = SavedModel(final).model
    views = views_at_prediction(settings, INPUTS.table)
    reader = Reader(model, INPUTS, views, 3, TASK, "fp32")
    write_reference(folder / f"{request.param}.npz", reader, FOLD.train, LABELS[FOLD.train])
    add_reference(final, folder / f"{request.param}.npz")
    return final


def test_the_saved_model_flags_foreign_sequences_and_keeps_known_ones(saved, learnt, tmp_path, monkeypatch):
    monkeypatch.setattr("dnatune.prediction.choose_precision", lambda asked: "fp32")
    records = [*FOLD.test, *FOLD.unknown]
    (tmp_path / "q.fasta").write_text("".join(f">{FOLD.ids[i]}\n{RECORDS[i][0]}\n" for i in records) + ">short\nACGT\n")
    bounds = {"min_length": 50, "max_length": 1000, "max_n_share": 0.1}
    table = prediction_tables(tmp_path / "q.fasta", SavedModel(saved), bounds, 2)["names"].set_index("id")
    columns = [
        "label",
        "probability",
        "top_2",
        "set",
        "set_size",
        "rejection_score",
        "known",
        "length",
        "windows",
        "note",
    ]
    assert list(table.columns) == columns
    assert pd.isna(table.loc["short", "known"])
    known, foreign = (table.loc[FOLD.ids[rows], "known"] for rows in (FOLD.test, FOLD.unknown))
    assert (known == "yes").mean() > 0.8 and (foreign == "no").mean() > 0.7
    # The same model and the same training sequences: the distances that the fold wrote.
    written = learnt[1].evidence[:, 1][learnt[1].role == "test"]
    np.testing.assert_allclose(table.loc[FOLD.ids[FOLD.test], "rejection_score"].astype(float), written, atol=2e-5)


def test_plain_transformers_loads_the_folder_with_its_reference(saved):
    assert (saved / REFERENCE).is_file()
    model = AutoModelForSequenceClassification.from_pretrained(saved, trust_remote_code=False)
    assert model.config.num_labels == 3
    with np.load(saved / REFERENCE) as stored:
        assert len(stored["vectors"]) == len(stored["class_id"]) == 60
        np.testing.assert_allclose(np.linalg.norm(stored["vectors"], axis=1), 1, atol=1e-5)


def test_a_model_without_distances_has_no_reference(tmp_path):
    add_reference(tmp_path, None)
    assert not (tmp_path / REFERENCE).exists()
    (tmp_path / "r.npz").write_bytes(b"x")
    add_reference(tmp_path, tmp_path / "r.npz")
    assert (tmp_path / REFERENCE).read_bytes() == b"x"


def test_repeated_sequences_of_a_class_are_read_once():
    records = np.array([0, 5, 136])
    assert distinct(INPUTS.table, records, LABELS[records]).tolist() == [0, 5]
    assert distinct(INPUTS.table, records, np.array([0, 0, 1])).tolist() == [0, 5, 136]


def test_a_probe_reads_its_frozen_vectors_and_an_own_head_none(learnt):
    model = learnt[0].model.eval()
    rows = np.arange(len(INPUTS.table))
    width = SETTINGS["backbone_config"]["hidden_size"]
    frozen = np.zeros((len(rows), width), np.float32)
    for row in rows[:60]:
        with torch.inference_mode():
            frozen[row] = model.embed(**INPUTS.batch([row])).numpy()[0]
    inputs = EmbeddingInputs(INPUTS.table, frozen)
    probe = LinearHead(model.classifier, 0.0).eval()
    reader = Reader(probe, inputs, np.arange(6), 3, TASK, "fp32")
    full = Reader(model, INPUTS, np.arange(6), 3, TASK, "fp32")
    np.testing.assert_allclose(reader.read(np.arange(5)), full.read(np.arange(5)), atol=1e-5)
    own = tuning.base_model(model_settings(pooling="architecture"), {"a": 0, "b": 1, "c": 2}, 0).eval()
    assert heads(own) == []
    read = dataclasses.replace(full, model=own).read(np.arange(2))
    assert read.shape == (2, 4) and np.isfinite(read).all()


def test_an_adapter_is_listened_to(learnt):
    settings = model_settings(tuning="lora")
    model = tuning.build(settings, {name: i for i, name in enumerate(CLASSES)}, 0).eval()
    read = Reader(model, INPUTS, np.arange(6), 3, TASK, "fp32").read(np.arange(2))
    assert read.shape == (2, 4 + SETTINGS["backbone_config"]["hidden_size"])
