"""Names for new sequences: calibrated, averaged, with a note where a sequence cannot be named."""

import logging

import numpy as np
import pytest
import torch

from dnatune import tuning
from dnatune.errors import UserError
from dnatune.files import read_json, write_json
from dnatune.packaging import Package, write_package
from dnatune.prediction import SavedModel, name_sequences, saved_encoder
from dnatune.tasks import task
from dnatune.tokens import TokenSettings
from miniatures import SIZES, families, model_settings, write_generic

CLASSES = ["Aus", "Bus", "Cus"]
SEQUENCES = [s for s, _ in families(3, 2, 120)]
BOUNDS = {"min_length": 50, "max_length": 1000, "max_n_share": 0.1}
RUN = {"best_epoch": 1.0, "best_metric": 0.5, "metric_for_best": "accuracy", "precision": "fp32"}


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Numbers that can be compared to five digits, on machines with bf16 too."""
    monkeypatch.setattr("dnatune.prediction.choose_precision", lambda asked: "fp32")


def write_model(folder, settings, calibrator):
    """Save an untrained model with heads far enough from zero to tell sequences apart."""
    settings = {**settings, "head": task("multiclass").head()}
    labels = {name: i for i, name in enumerate(CLASSES)}
    model = tuning.base_model(settings, labels, 0)
    torch.nn.init.normal_(model.classifier.weight, generator=torch.Generator().manual_seed(1))
    tuning.save(model, folder / "weights", settings["tuning"])
    encoder = tuning.backbone_of(settings).encoder()
    tokens = TokenSettings.of(settings["tokens"], encoder)
    summary = {"max_tokens": tokens.max_tokens, "frames": tokens.frames, "context": encoder.context}
    summary["vocabulary_size"] = encoder.vocabulary_size
    (folder / "final").mkdir()
    package = Package("m", settings, 0, CLASSES, "refit", light=False, task={"name": "multiclass"})
    write_package(package, [folder / "weights"], [RUN], calibrator, summary, folder / "final")
    return model.eval(), folder / "final"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(the model before it was saved, its folder); windows of 12 tokens, temperature 2."""
    settings = model_settings(tokens={"max_tokens": 12})
    return write_model(tmp_path_factory.mktemp("model"), settings, {"method": "temperature", "temperature": 2.0})


@pytest.fixture(scope="module")
def saved(made):
    return SavedModel(made[1])


def query(folder, text):
    (folder / "query.fasta").write_text(text)
    return folder / "query.fasta"


def test_probabilities_are_the_calibrated_mean_over_frames_and_windows(made, saved):
    model, _ = made
    sequence, encoder = SEQUENCES[0], saved.encoder
    found, windows = saved.predict([sequence])
    frames = []
    for frame in range(6):
        ids = encoder.encode([sequence], frame)[0].tolist()
        starts = [*range(0, len(ids) - 11, 8), len(ids) - 11]
        rows = torch.tensor([[3, *ids[start : start + 11]] for start in starts])
        with torch.inference_mode():
            frames.append(model(input_ids=rows, attention_mask=torch.ones_like(rows)).logits.softmax(-1).mean(0))
    mean = torch.stack(frames).mean(0).double().numpy()
    expected = np.sqrt(mean) / np.sqrt(mean).sum()  # temperature 2
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    assert windows.tolist() == [3]


def test_probabilities_sum_to_one_and_do_not_depend_on_company(saved):
    together, windows = saved.predict(SEQUENCES)
    assert together.shape == (6, 3)
    np.testing.assert_allclose(together.sum(1), 1, atol=1e-6)
    alone = np.concatenate([saved.predict([s])[0] for s in SEQUENCES])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert windows.shape == (6,)


def test_one_row_per_sequence_in_the_order_of_the_query(saved, tmp_path):
    text = f">a x y\n{SEQUENCES[0].lower()}\n>short\nACGT\n>b\n{SEQUENCES[3]}\n"
    text += f">many_n\n{'N' * 30}{'ACGT' * 10}\n>long\n{'ACGT' * 300}\n"
    table = name_sequences(query(tmp_path, text), saved, BOUNDS, top_k=2)
    assert list(table.columns) == ["id", "label", "probability", "top_2", "length", "windows", "note"]
    assert table["id"].tolist() == ["a", "short", "b", "many_n", "long"]
    assert table["length"].tolist() == [120, 4, 120, 70, 1200]
    assert table["label"].notna().tolist() == [True, False, True, False, False]
    assert table["note"].tolist()[0] == table["note"].tolist()[2] == ""
    assert "shorter than 50" in table["note"][1]
    assert "10% N" in table["note"][3]
    assert "longer than 1000" in table["note"][4]
    assert table["windows"].isna().tolist() == [False, True, False, True, True]
    probabilities, _ = saved.predict([SEQUENCES[0], SEQUENCES[3]])
    np.testing.assert_allclose(table["probability"][[0, 2]].astype(float), probabilities.max(1), atol=1e-5)
    assert table["label"][[0, 2]].tolist() == [CLASSES[i] for i in probabilities.argmax(1)]
    assert table["top_2"][0].startswith(f"{table['label'][0]} ({table['probability'][0]:.4f}); ")
    assert table["top_2"][0].count(";") == 1


def test_names_at_ranks_come_from_the_saved_folder_alone(made, tmp_path):
    from dnatune.files import copy_folder

    copy_folder(made[1], tmp_path / "m")
    tree = {"ranks": ["species", "genus"], "taxa": [["A", "B"]], "parents": [[0, 0, 1]], "temperatures": [2.0, 0.5]}
    calibrator = read_json(tmp_path / "m" / "calibration.json")
    plain, _ = SavedModel(tmp_path / "m").predict(SEQUENCES)
    write_json(tmp_path / "m" / "calibration.json", {**calibrator, "ranks": {**tree, "threshold": 0.5}})
    model = SavedModel(tmp_path / "m")
    text = "".join(f">s{i}\n{sequence}\n" for i, sequence in enumerate(SEQUENCES)) + ">short\nACGT\n"
    table = name_sequences(query(tmp_path, text), model, BOUNDS, top_k=3)
    # By hand: the odds of the genera squared (temperature 1/2), those of the two species within one rooted (2).
    genus = np.stack([plain[:, 0] + plain[:, 1], plain[:, 2]], axis=1) ** 2
    genus /= genus.sum(axis=1, keepdims=True)
    within = np.sqrt(plain[:, :2]) / np.sqrt(plain[:, :2]).sum(axis=1, keepdims=True)
    species = np.column_stack([within * genus[:, :1], genus[:, 1:]])
    named = table[table["note"] == ""]
    np.testing.assert_allclose(named["probability"].astype(float), species.max(1), atol=1e-5)
    np.testing.assert_allclose(named["genus_probability"].astype(float), genus.max(1), atol=1e-5)
    assert named["genus"].tolist() == [["A", "B"][i] for i in genus.argmax(1)]
    assert named["rank"].tolist() == ["species" if p >= 0.5 else "genus" for p in species.max(1)]
    form = model.task.judging.other_forms(table, model.calibrator)["qiime"]
    assert form["Feature ID"].tolist() == table["id"].tolist()
    assert form["Taxon"].tolist()[-1] == "Unassigned" and form["Confidence"].tolist()[-1] == 0


def test_both_strands_are_averaged_where_training_read_both(tmp_path):
    kmers = {**SIZES, "k": 3, "overlapping": True}
    settings = model_settings(tokens={"random_strand": True}, backbone_config=kmers)
    model, folder = write_model(tmp_path, settings, {"method": "none"})
    found, windows = SavedModel(folder).predict(SEQUENCES[:2])
    for sequence, probabilities in zip(SEQUENCES, found, strict=False):
        reverse = "".join({"A": "T", "C": "G", "G": "C", "T": "A"}[base] for base in reversed(sequence))
        rows = torch.tensor([[3, *(4 + "ATCGN".index(base) for base in strand)] for strand in (sequence, reverse)])
        with torch.inference_mode():
            each = model(input_ids=rows, attention_mask=torch.ones_like(rows)).logits.softmax(-1)
        assert (each[0] - each[1]).abs().max() > 1e-3
        np.testing.assert_allclose(probabilities, each.mean(0), atol=1e-5)
    assert windows.tolist() == [1, 1]


def test_more_candidates_than_classes(saved, tmp_path):
    table = name_sequences(query(tmp_path, f">a\n{SEQUENCES[0]}\n"), saved, BOUNDS, top_k=5)
    assert table["top_5"][0].count("(") == 3


@pytest.mark.parametrize("text", [">a\nACGT\n", f">a\n{'N' * 100}\n", ">a\nACGT\n>b\nGGG\n"])
def test_a_query_without_a_usable_sequence(saved, tmp_path, text):
    with pytest.raises(UserError, match=r"query\.fasta.*usable"):
        name_sequences(query(tmp_path, text), saved, BOUNDS, 5)


@pytest.mark.parametrize("text", ["", "not a fasta", ">a\nMKVLAAGIVGLLFPQE\n"])
def test_a_query_that_is_no_fasta_of_dna(saved, tmp_path, text):
    with pytest.raises(UserError):
        name_sequences(query(tmp_path, text), saved, BOUNDS, 5)


def test_a_repeated_id_gets_both_rows_or_an_error(saved, tmp_path):
    try:
        table = name_sequences(query(tmp_path, f">a\n{SEQUENCES[0]}\n>a\n{SEQUENCES[1]}\n"), saved, BOUNDS, 5)
    except UserError as problem:
        assert "a" in str(problem)
    else:
        assert table["id"].tolist() == ["a", "a"]


def test_other_versions_are_a_warning(made, tmp_path, caplog):
    from dnatune.files import copy_folder

    copy_folder(made[1], tmp_path / "m")
    about = read_json(tmp_path / "m" / "dnatune.json")
    with caplog.at_level(logging.WARNING, "dnatune"):
        SavedModel(tmp_path / "m")
    assert caplog.text == ""
    about["versions"]["torch"] = "1.0.0"
    write_json(tmp_path / "m" / "dnatune.json", about)
    with caplog.at_level(logging.WARNING, "dnatune"):
        SavedModel(tmp_path / "m")
    assert "torch 1.0.0" in caplog.text
    assert caplog.text.count("made with") == 1


def test_a_folder_that_is_no_saved_model(tmp_path):
    with pytest.raises(UserError, match=r"dnatune\.json"):
        SavedModel(tmp_path)


def test_a_byte_pair_model_names_sequences_too(tmp_path):
    settings = model_settings(backbone=str(write_generic(tmp_path / "gpt2", "gpt2")))
    _, folder = write_model(tmp_path, settings, {"method": "none"})
    model = SavedModel(folder)
    found, windows = model.predict(SEQUENCES)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    assert windows.tolist() == [1] * 6
    encoder = saved_encoder(folder, model.about["tokens"])
    original = tuning.backbone_of(settings).encoder()
    assert [e.tolist() for e in encoder.encode(SEQUENCES, 0)] == [e.tolist() for e in original.encode(SEQUENCES, 0)]
    assert (encoder.prefix, encoder.suffix, encoder.pad_id) == (original.prefix, original.suffix, original.pad_id)


def test_each_sequence_gets_its_set_of_names(tmp_path):
    sets = {"coverage": 0.9, "shared": 0.0, "own": {"0": 1.0}}
    settings = model_settings(tokens={"max_tokens": 12})
    _, folder = write_model(tmp_path, settings, {"method": "none", "sets": sets})
    text = f">a\n{SEQUENCES[0]}\n>short\nACGT\n>b\n{SEQUENCES[3]}\n"
    table = name_sequences(query(tmp_path, text), SavedModel(folder), BOUNDS, top_k=2)
    assert list(table.columns) == [
        "id",
        "label",
        "probability",
        "top_2",
        "set",
        "set_size",
        "length",
        "windows",
        "note",
    ]
    assert table["set_size"].isna().tolist() == table["set"].isna().tolist() == [False, True, False]
    # Every name but the first class, which is in a set where it is the most probable one.
    for row in table.iloc[[0, 2]].itertuples():
        expected = set(CLASSES[1:]) | {row.label}
        assert set(row.set.split("; ")) == expected and row.set_size == len(expected)
        assert row.set.startswith(row.label)
