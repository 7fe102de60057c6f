"""The saved engine: its parts load alone, and its names are those worked out by hand from the parts."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax, softmax
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from dnatune import tuning
from dnatune.baselines import METHODS, baseline_logits
from dnatune.engine import FinalPool, final_pool, witness
from dnatune.engine_package import Engine, card, settled_settings, write_engine
from dnatune.errors import UserError
from dnatune.files import read_json, write_json
from dnatune.fold_data import FoldData
from dnatune.packaging import Package, write_package
from dnatune.pooling import Pool
from dnatune.prediction import SavedModel, name_sequences
from dnatune.rank_experts import apply
from dnatune.saved_engine import SavedEngine, open_saved
from dnatune.saved_experts import load_expert, save_expert
from dnatune.scores import Scores
from dnatune.tasks import task
from dnatune.taxonomy import Taxonomy
from dnatune.tokens import TokenSettings
from miniatures import families, model_settings

TASK = task("multiclass")
CLASSES = ["Aus bus", "Cus dus", "Ünus", "Xus (absent)"]
RECORDS = families(3, 6, 120, seed=2)
SEQUENCES, LABELS = [s for s, _ in RECORDS], np.array([label for _, label in RECORDS])
QUERIES = [s for s, _ in families(3, 3, 120, seed=5)] + ["ACGT" * 20]
RUN = {"best_epoch": 1.0, "best_metric": 0.5, "metric_for_best": "accuracy", "precision": "fp32"}
BOUNDS = {"min_length": 50, "max_length": 1000, "max_n_share": 0.1}
SETTINGS = {"logistic_regression": {"k": 4}, "naive_bayes": {"k": 5}, "vsearch_top_hit": {}}
POOL = Pool(
    ("nt", "logistic_regression", "naive_bayes", "product of all"),
    (0.2, 0.5, 0.1, 0.2),
    (1.5, 0.7, 3.0, 1.2),
    (1.1, 0.9, 8.0),
    "logistic_regression",
    18,
    18,
)


def no_rows():
    return np.zeros(0, dtype=np.int64)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """The folder of an engine of an untrained language model and two k-mer models."""
    base = tmp_path_factory.mktemp("engine")
    settings = {**model_settings(), "head": TASK.head()}
    model = tuning.base_model(settings, {name: i for i, name in enumerate(CLASSES)}, 0)
    torch.nn.init.normal_(model.classifier.weight, generator=torch.Generator().manual_seed(1))
    tuning.save(model, base / "weights", settings["tuning"])
    encoder = tuning.backbone_of(settings).encoder()
    tokens = TokenSettings.of(settings["tokens"], encoder)
    summary = {"max_tokens": tokens.max_tokens, "frames": tokens.frames, "context": encoder.context}
    summary["vocabulary_size"] = encoder.vocabulary_size
    (base / "nt").mkdir()
    package = Package("nt", settings, 0, CLASSES, "refit", light=True, task={"name": "multiclass"})
    write_package(package, [base / "weights"], [RUN], {"method": "none"}, summary, base / "nt")
    everything = np.arange(len(SEQUENCES))
    ids = everything.astype(str)
    data = FoldData(ids, LABELS, CLASSES, everything, everything[:10], everything[10:12], everything[12:], no_rows())
    engine = Engine("engine", {"nt": base / "nt"}, SETTINGS, 0)
    calibrator = {"method": "temperature", "temperature": 2.0}
    (base / "final").mkdir()
    final, named = FinalPool(POOL, {}, None, None), {"name": "multiclass"}
    write_engine(engine, final, data, SEQUENCES, calibrator, TASK, named, base / "final")
    return base / "final"


def test_its_names_are_those_of_the_parts_by_hand(saved):
    engine = open_saved(saved)
    assert isinstance(engine, SavedEngine) and engine.classes == CLASSES
    found, windows = engine.predict(QUERIES)
    language = SavedModel(saved / "nt").scores(QUERIES)[0]
    k_mers = [
        baseline_logits(name, METHODS[name], SEQUENCES, LABELS, QUERIES, 4, SETTINGS[name])
        for name in ("logistic_regression", "naive_bayes")
    ]
    three = [table.astype(float) for table in (language, *k_mers)]
    three.append(sum(log_softmax(z / s, axis=1) for z, s in zip(three, POOL.alone, strict=True)))
    by_hand = sum(w * softmax(z / t, axis=1) for w, z, t in zip(POOL.weights, three, POOL.temperatures, strict=True))
    by_hand = np.sqrt(by_hand)  # temperature 2
    np.testing.assert_allclose(found, by_hand / by_hand.sum(axis=1, keepdims=True), atol=2e-4)
    assert windows.tolist() == [1] * len(QUERIES)


def test_it_asks_an_expert_by_rank_where_its_pool_does(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "engine")
    about = read_json(saved / "engine.json")
    about["pool"] |= {
        "members": ["nt", "naive_bayes", "naive_bayes by rank", "product of all"],
        "weights": [0.2, 0.3, 0.5, 0.0],
        "temperatures": [1.0, 2.0, 1.0, 1.0],
        "alone": [1.0, 1.0, 1.0],
    }
    steps = {"temperature": 4.0, "temperatures": [3.0, 0.5]}
    write_json(tmp_path / "engine" / "engine.json", {**about, "by_rank": {"naive_bayes by rank": steps}})
    tree = Taxonomy(("species", "genus"), (("G", "H"),), (np.array([0, 0, 1, 1]),))
    write_json(tmp_path / "engine" / "calibration.json", {"method": "none", "ranks": tree.to_json()})
    engine = SavedEngine(tmp_path / "engine")
    assert engine.experts == ["nt", "naive_bayes"]
    found, _, _ = engine.scores(QUERIES)
    language = SavedModel(saved / "nt").scores(QUERIES)[0]
    bayes = baseline_logits("naive_bayes", METHODS["naive_bayes"], SEQUENCES, LABELS, QUERIES, 4, {"k": 5})
    ranked = np.exp(apply(tree, steps, bayes).astype(float))
    by_hand = 0.2 * softmax(language, axis=1) + 0.3 * softmax(bayes.astype(float) / 2, axis=1) + 0.5 * ranked
    np.testing.assert_allclose(np.exp(found.astype(float)), by_hand, atol=1e-5)


def test_its_table_has_the_columns_of_a_model(saved, tmp_path):
    query = tmp_path / "query.fasta"
    query.write_text("".join(f">q{i}\n{s}\n" for i, s in enumerate(QUERIES)) + ">short\nACGT\n")
    mine = name_sequences(query, open_saved(saved), BOUNDS, top_k=2)
    assert list(mine.columns) == list(name_sequences(query, open_saved(saved / "nt"), BOUNDS, top_k=2).columns)
    p, _ = SavedEngine(saved).predict(QUERIES)
    assert mine["label"].tolist()[:-1] == [CLASSES[i] for i in p.argmax(axis=1)]
    assert mine["note"].iloc[-1] == "shorter than 50 bases"


def test_the_language_model_loads_alone_with_transformers(saved):
    tokenizer = AutoTokenizer.from_pretrained(saved / "nt")
    model = AutoModelForSequenceClassification.from_pretrained(saved / "nt")
    assert model(**tokenizer(QUERIES[0], return_tensors="pt")).logits.shape == (1, 4)
    assert not (saved / "nt" / "light").exists()
    assert read_json(saved / "engine.json")["models"] == ["nt"]


@pytest.mark.parametrize("name", ["logistic_regression", "naive_bayes", "vsearch_top_hit", "majority"])
def test_an_expert_alone_gives_what_the_baseline_gives(name, tmp_path):
    if name == "vsearch_top_hit" and shutil.which("vsearch") is None:
        pytest.skip("vsearch is not installed")
    settings = SETTINGS.get(name, {})
    save_expert(tmp_path / "e", name, METHODS[name], SEQUENCES, LABELS, CLASSES, settings, 3)
    assert not list((tmp_path / "e").glob("*.pkl"))
    found = load_expert(tmp_path / "e", TASK.baseline)(QUERIES)
    wanted = baseline_logits(name, METHODS[name], SEQUENCES, LABELS, QUERIES, 4, settings, seed=3)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_without_vsearch_the_remedy_is_said(tmp_path, monkeypatch):
    save_expert(tmp_path / "e", "vsearch_top_hit", METHODS["vsearch_top_hit"], SEQUENCES, LABELS, CLASSES, {}, 0)
    answer = load_expert(tmp_path / "e", TASK.baseline)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"vsearch is not on the PATH.*install.*predict_with"):
        answer(QUERIES)


def test_a_method_on_vectors_is_refused(tmp_path):
    method = METHODS["vector_logistic_regression"]
    with pytest.raises(UserError, match="vector_logistic_regression needs more than the sequence"):
        save_expert(tmp_path / "e", "vector_logistic_regression", method, SEQUENCES, LABELS, CLASSES, {}, 0)


def test_the_pool_is_fitted_on_the_validation_records_of_all_folds_and_calibrated_out_of_fold():
    rng = np.random.default_rng(0)

    def of_fold(start):
        labels = rng.integers(0, 4, 30)
        role = np.array(["validation"] * 20 + ["test"] * 10)
        scores = {}
        for name, strength in (("a", 3), ("b", 1)):
            table = rng.normal(size=(30, 4)).astype(np.float32)
            table[np.arange(30), labels] += strength
            kind = np.where(np.arange(30) < 27, "", "held_out")
            evidence = np.full((30, 4), np.nan if name == "a" else start, np.float32)
            groups = np.arange(start, start + 30)
            scores[name] = Scores(np.arange(30).astype(str), role, labels, table, groups, None, kind, evidence)
        return scores

    folds = [of_fold(0), of_fold(15)]
    final = final_pool(folds, "engine", 0, 5)
    pool, validation, held_out = final.pool, final.validation, final.held_out
    assert final.by_rank == {}
    assert pool.experts == ("a", "b") and pool.best == "a" and (pool.records, pool.groups) == (40, 35)
    assert len(validation.id) == 40 and set(validation.role) == {"validation"}
    # Species held out on purpose: three of each fold, by the pool itself.
    by_hand = pool.log_probabilities([np.concatenate([fold[name].logits[27:] for fold in folds]) for name in "ab"])
    np.testing.assert_allclose(held_out.logits, by_hand)
    # Only "b" has seen anything besides its logits.
    assert held_out.evidence[:, 1].tolist() == [0, 0, 0, 15, 15, 15]


def test_it_is_as_strange_to_the_engine_as_to_the_expert_that_measures_distances(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "engine")
    save_expert(
        tmp_path / "engine" / "vsearch_top_hit",
        "vsearch_top_hit",
        METHODS["vsearch_top_hit"],
        SEQUENCES,
        LABELS,
        CLASSES,
        {},
        0,
    )
    about = read_json(saved / "engine.json")
    about["pool"] = {**about["pool"], "members": ["nt", "logistic_regression", "vsearch_top_hit", "product of all"]}
    write_json(tmp_path / "engine" / "engine.json", {**about, "witness": "vsearch_top_hit"})
    _, _, evidence = SavedEngine(tmp_path / "engine").scores([SEQUENCES[0], "ACGT" * 20])
    assert evidence[0, 1] == 0  # identical to a sequence that it was trained on
    assert evidence[1, 1] > 0.3  # no hit
    assert SavedEngine(saved).scores(QUERIES)[2] is None


def strange(energy, distance, kind=""):
    """Scores of 20 validation records and 10 of ``kind``, with the shift of their evidence, NaN for none."""
    rng = np.random.default_rng(3)
    kinds, unknown = np.array([""] * 20 + [kind] * 10), np.array([False] * 20 + [True] * 10)
    evidence = np.full((30, 4), np.nan, np.float32)
    evidence[:, 0] = rng.normal(size=30) - energy * unknown
    evidence[:, 1] = evidence[:, 2] = rng.normal(size=30) + distance * unknown
    role = np.where(unknown, "unknown", "validation")
    return Scores(np.arange(30).astype(str), role, np.zeros(30, int), np.zeros((30, 2)), None, None, kinds, evidence)


def test_the_expert_that_finds_out_held_out_species_is_the_witness():
    nan = float("nan")
    shifts = {"nt": (0.1, 0.5), "regression": (0.2, nan), "hit": (nan, 9)}
    experts = {name: strange(*by, "held_out") for name, by in shifts.items()}
    assert witness(experts) == "hit"
    assert witness({**experts, "regression": strange(20, nan, "held_out")}) == "regression"
    # Without such species: a regression before distances.
    experts = {name: strange(*by) for name, by in shifts.items()}
    assert witness(experts) == "regression"
    assert witness({name: experts[name] for name in ("nt", "hit")}) == "nt"
    assert witness({"bayes": Scores(*(np.zeros(2),) * 3, np.zeros((2, 2)))}) is None


def test_settings_that_most_folds_chose_are_settled_on():
    runs = [{"settings": {"k": 5}}, {"settings": {"k": 6}}, {"settings": {"k": 6}}, {}]
    assert settled_settings(runs, {"k": 4}) == {"k": 6}
    assert settled_settings([{}], {"k": 4}) == {"k": 4}


def test_the_card_says_weights_and_figures():
    columns = ["model", "fold", "split", "stage", "metric", "class", "value"]
    rows = [("engine", fold, "test", "calibrated", "accuracy", "all", 0.9 + fold / 50) for fold in (0, 1)]
    runs = [{"validation_log_loss": {"engine": 0.25, "nt": 0.5, "logistic_regression": 0.3, "naive_bayes": 0.7}}]
    text = card(POOL, "engine", pd.DataFrame(rows, columns=columns), runs, {"method": "platt"})
    assert "| `nt/` | 0.200 | 1.50 | 0.5000 |" in text
    assert "| accuracy | 0.9100 | 0.0141 |" in text
    assert "0.2500" in text and "platt" in text and "(18 groups)" in text


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a saved engine"):
        SavedEngine(tmp_path)
