"""Training: it learns, it repeats to the last digit, and a killed job ends where an undisturbed one would."""

import numpy as np
import pandas as pd
import pytest
import torch
from dnatune import checkpoints, tuning
from dnatune.callbacks import Progress
from dnatune.errors import UserError
from dnatune.fold_data import FoldData
from dnatune.fold_training import Job, embed_rows, remove_checkpoints, train_on_all, train_on_fold, training_key
from dnatune.inputs import EmbeddingInputs, TokenInputs
from dnatune.tasks import task
from dnatune.tokens import TokenSettings, TokenTable
from dnatune.training import TrainingData
from miniatures import families, model_settings, write_generic

CLASSES = ["Aus", "Bus", "Cus"]
RECORDS = families(3, 24, 70, seed=1)
LABELS = np.array([label for _, label in RECORDS])
IDS = np.array([f"s{i}" for i in range(len(RECORDS))])
ORDER = np.random.default_rng(7).permutation(len(RECORDS))
FOLD = FoldData(IDS, LABELS, CLASSES, *(np.sort(ORDER[a:b]) for a, b in ((0, 40), (40, 55), (55, 70), (70, 72))))


class Killed(BaseException):
    """Stands for a job that is killed."""


@pytest.fixture(autouse=True)
def one_thread():
    """On one thread sums are in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def inputs():
    backbone = tuning.backbone_of(model_settings())
    settings = TokenSettings.of(model_settings()["tokens"], backbone.encoder())
    return TokenInputs(TokenTable.of_sequences([s for s, _ in RECORDS], backbone.encoder(), settings), 1)


def job_of(folder, settings, seed=0):
    return Job("m", settings, task("multiclass"), seed, folder / "m" / "fold_0", 0)


def fit(folder, inputs, settings, seed=0, fold=FOLD):
    """Return (trained, scores, run) of one fold."""
    return train_on_fold(job_of(folder, settings, seed), fold, inputs, "sha")[:3]


def kill_at(monkeypatch, step, event="on_step_end"):
    """Kill the next training after ``step`` steps."""

    def happens(self, args, state, control, **kwargs):
        if state.global_step == step:
            raise Killed

    monkeypatch.setattr(Progress, event, happens, raising=False)


def assert_same(first, second):
    """The same learning curve (but for the seconds) and the same logits, to the last digit."""
    one, two = (trained.history.drop(columns="seconds") for trained, _, _ in (first, second))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    np.testing.assert_array_equal(first[1].logits, second[1].logits)
    assert first[2]["best_step"] == second[2]["best_step"]
    assert first[2]["epochs_run"] == second[2]["epochs_run"]


@pytest.fixture(scope="module")
def learnt(inputs, tmp_path_factory):
    """One run of some epochs that other tests look at."""
    return fit(tmp_path_factory.mktemp("learnt"), inputs, model_settings({"epochs": 6, "learning_rate": 1e-2}))


def test_it_learns(learnt):
    history = learnt[0].history
    assert list(history["epoch"]) == [1, 2, 3, 4, 5, 6]
    assert history["train_loss"].iloc[-1] < 0.5 * history["train_loss"].iloc[0]
    scores = learnt[1].part("test")
    assert np.mean(scores.logits.argmax(1) == scores.label) > 0.9


def test_scores_belong_to_their_records(learnt):
    scores = learnt[1]
    assert scores.id.tolist() == IDS[FOLD.scored].tolist()
    assert pd.Series(scores.role).value_counts().to_dict() == {"validation": 15, "test": 15, "unknown": 2}
    assert scores.logits.shape == (32, 3)
    np.testing.assert_allclose(np.exp(scores.logits).sum(1), 1, atol=1e-5)


def test_run_record(learnt):
    trained, _, run = learnt
    best = trained.history.loc[trained.history["step"] == run["best_step"]].iloc[0]
    assert best["validation_pr_auc_macro"] == trained.history["validation_pr_auc_macro"].max()
    assert run["best_metric"] == best["validation_pr_auc_macro"]
    assert run["gap"] == pytest.approx(best["train_pr_auc_macro"] - best["validation_pr_auc_macro"])
    assert (run["train_records"], run["validation_records"], run["test_records"]) == (40, 15, 15)
    assert (run["resumed_from_step"], run["precision"], run["epochs_run"]) == (None, "fp32", 6)
    assert run["trainable_parameters"] == run["parameters"]


def test_the_returned_model_is_that_of_the_best_evaluation(inputs, tmp_path):
    """The learning rate of the last epochs ruins the model; the scores must be those of the epoch before."""
    settings = model_settings(
        {"epochs": 4, "learning_rate": 0.3, "scheduler": "constant_with_warmup", "warmup": 0, "metric": "log_loss"}
    )
    settings["tokens"]["average_frames"] = False
    trained, scores, run = fit(tmp_path, inputs, settings)
    assert trained.history["validation_log_loss"].iloc[-1] != trained.history["validation_log_loss"].min()
    part = scores.part("validation")
    found = -part.logits[np.arange(15), part.label].mean()
    assert found == pytest.approx(trained.history["validation_log_loss"].min(), rel=1e-4)
    assert run["best_metric"] == trained.history["validation_log_loss"].min()


def test_same_seed_same_numbers(inputs, tmp_path):
    settings = model_settings({"epochs": 2})
    assert_same(fit(tmp_path / "a", inputs, settings), fit(tmp_path / "b", inputs, settings))
    other = fit(tmp_path / "c", inputs, settings, seed=1)[1]
    assert not np.array_equal(other.logits, fit(tmp_path / "d", inputs, settings)[1].logits)


RESUMED = {
    "full": ({}, {}, 11),
    "middle of an epoch": ({"evaluate_every": 0.4}, {}, 8),
    "accumulated": ({"gradient_accumulation": 2, "evaluate_every": 0.5}, {}, 5),
    "dropout": ({"evaluate_every": 0.4}, {"head_dropout": 0.3}, 8),
    "lora": ({"evaluate_every": 0.4}, {"tuning": "lora", "lora": {"dropout": 0.2}}, 8),
    "balanced": ({"imbalance": "balanced_sampling", "evaluate_every": 0.4}, {}, 8),
    "early stopping": ({"epochs": 20, "early_stopping": 2, "learning_rate": 0.1, "metric": "log_loss"}, {}, 8),
}


@pytest.mark.parametrize("name", RESUMED)
def test_a_killed_job_ends_as_if_nothing_had_happened(name, inputs, tmp_path, monkeypatch, caplog):
    training, changes, step = RESUMED[name]
    settings = model_settings(training, **changes)
    undisturbed = fit(tmp_path / "a", inputs, settings)
    kill_at(monkeypatch, step)
    with pytest.raises(Killed):
        fit(tmp_path / "b", inputs, settings)
    kill_at(monkeypatch, None)
    with caplog.at_level("INFO", "dnatune"):
        resumed = fit(tmp_path / "b", inputs, settings)
    assert 0 < resumed[2]["resumed_from_step"] <= step
    assert f"goes on from step {resumed[2]['resumed_from_step']}" in caplog.text
    assert_same(undisturbed, resumed)


ENDED = {
    "stopped": {"early_stopping": 1, "learning_rate": 0.3},
    "stopped within an epoch": {"early_stopping": 1, "learning_rate": 0.3, "evaluate_every": 0.4},
    "finished": {"epochs": 2},
}


@pytest.mark.parametrize("name", ENDED)
def test_killed_between_the_last_checkpoint_and_the_outputs(name, inputs, tmp_path, monkeypatch):
    """Training had ended: nothing more is trained, and the best weights are found again."""
    settings = model_settings({"epochs": 20, **ENDED[name]})
    undisturbed = fit(tmp_path / "a", inputs, settings)
    last = undisturbed[0].history["step"].iloc[-1]
    assert name == "finished" or undisturbed[2]["epochs_run"] < 20
    kill_at(monkeypatch, last, "on_epoch_end")
    with pytest.raises(Killed):
        fit(tmp_path / "b", inputs, settings)
    kill_at(monkeypatch, None, "on_epoch_end")
    again = fit(tmp_path / "b", inputs, settings)
    assert again[2]["resumed_from_step"] == last
    assert_same(undisturbed, again)


def test_killed_after_training_and_before_the_outputs(inputs, tmp_path):
    settings = model_settings({"epochs": 6, "early_stopping": 1, "learning_rate": 0.3})
    assert_same(fit(tmp_path, inputs, settings), fit(tmp_path, inputs, settings))


def test_early_stopping_stops_after_patience_evaluations(inputs, tmp_path):
    settings = model_settings({"epochs": 20, "early_stopping": 2, "learning_rate": 0.3, "metric": "log_loss"})
    trained, _, run = fit(tmp_path, inputs, settings)
    history = trained.history
    best = int(history["validation_log_loss"].argmin())
    assert len(history) == best + 3 < 20
    assert run["best_epoch"] == history["epoch"].iloc[best]


def test_a_half_written_checkpoint_is_ignored_and_removed(tmp_path):
    for step, marked in ((5, True), (10, True), (100, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if marked:
            (tmp_path / f"checkpoint-{step}" / checkpoints.MARKER).touch()
    found = checkpoints.last_complete(tmp_path)
    assert checkpoints.step_of(found) == 10
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-5"]
    assert checkpoints.last_complete(tmp_path / "nothing") is None


def test_a_job_killed_while_it_writes_its_checkpoint(inputs, tmp_path, monkeypatch):
    settings = model_settings({"epochs": 2})
    undisturbed = fit(tmp_path / "a", inputs, settings)
    on_save = checkpoints.MarkComplete.on_save
    monkeypatch.setattr(checkpoints.MarkComplete, "on_save", lambda *a, **k: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        fit(tmp_path / "b", inputs, settings)
    assert list((tmp_path / "b").rglob("checkpoint-*"))
    monkeypatch.setattr(checkpoints.MarkComplete, "on_save", on_save)
    again = fit(tmp_path / "b", inputs, settings)
    assert again[2]["resumed_from_step"] is None
    assert_same(undisturbed, again)


def test_checkpoints_are_removed_with_their_empty_parents(tmp_path):
    folder = tmp_path / "checkpoints" / "m" / "fold_0" / "abc"
    (folder / "checkpoint-3").mkdir(parents=True)
    (tmp_path / "checkpoints" / "m" / "fold_1").mkdir()
    remove_checkpoints(folder)
    assert not folder.parent.exists()
    assert (tmp_path / "checkpoints" / "m" / "fold_1").exists()


def test_a_stale_checkpoint_is_never_picked_up(inputs, tmp_path):
    data = TrainingData(inputs, FOLD.labels, FOLD.train, FOLD.validation, 3)
    settings = model_settings()

    def key(settings=settings, data=data, seed=0, fold=0, sha="sha"):
        return training_key(Job("m", settings, task("multiclass"), seed, tmp_path, fold), inputs, data, sha)

    assert key() == key()
    assert key(model_settings(resources={"threads": 4, "mem_mb": 9000, "gpu": 0})) == key()
    swapped = LABELS.copy()
    swapped[[0, 30]] = swapped[[30, 0]]
    others = [
        key(model_settings({"learning_rate": 1e-4})),
        key(model_settings(head_dropout=0.1)),
        key(model_settings(tuning="lora")),
        key(seed=1),
        key(fold=1),
        key(sha="other records"),
        key(data=TrainingData(inputs, FOLD.labels, FOLD.train[:-1], FOLD.validation, 3)),
        key(data=TrainingData(inputs, FOLD.labels, FOLD.train, FOLD.test, 3)),
        key(data=TrainingData(inputs, swapped, FOLD.train, FOLD.validation, 3)),
    ]
    assert len({key(), *others}) == 1 + len(others)


@pytest.mark.parametrize("imbalance", ["class_weights", "balanced_sampling", "focal", "logit_adjustment"])
def test_every_way_with_imbalance_learns_and_differs(imbalance, inputs, learnt, tmp_path):
    training = {"epochs": 6, "learning_rate": 1e-2, "imbalance": imbalance}
    # Keep 5 of class 2, so that there is an imbalance to do something about.
    rare = FOLD.train[LABELS[FOLD.train] == 2]
    fold = FoldData(IDS, LABELS, CLASSES, np.setdiff1d(FOLD.train, rare[5:]), FOLD.validation, FOLD.test, FOLD.unknown)
    trained, scores, _ = fit(tmp_path, inputs, model_settings(training), fold=fold)
    assert trained.history["train_loss"].iloc[-1] < trained.history["train_loss"].iloc[0]
    part = scores.part("test")
    assert np.mean(part.logits.argmax(1) == part.label) > 0.6


@pytest.mark.parametrize("training", [{"gradient_checkpointing": True}, {"label_smoothing": 0.1}, {"batch_size": 1000}])
def test_other_settings_run(training, inputs, tmp_path):
    trained, _, _ = fit(tmp_path, inputs, model_settings({"epochs": 1, **training}))
    assert np.isfinite(trained.history["train_loss"]).all()


def test_gradient_checkpointing_changes_no_number(inputs, tmp_path):
    plain, less = (
        fit(tmp_path / str(on), inputs, model_settings({"epochs": 1, "gradient_checkpointing": on}))
        for on in (False, True)
    )
    np.testing.assert_allclose(plain[1].logits, less[1].logits, atol=1e-5)


def test_a_class_that_is_missing_in_this_fold(inputs, tmp_path):
    kept = FOLD.train[LABELS[FOLD.train] != 1]
    fold = FoldData(IDS, LABELS, CLASSES, kept, FOLD.validation, FOLD.test, FOLD.unknown)
    for imbalance in ("class_weights", "balanced_sampling", "logit_adjustment"):
        _, scores, _ = fit(
            tmp_path / imbalance, inputs, model_settings({"epochs": 1, "imbalance": imbalance}), fold=fold
        )
        assert np.isfinite(scores.logits).all()


def test_the_head_learns_at_its_own_rate(inputs, tmp_path):
    """With a factor of (nearly) zero the head stays what it was, and the backbone moves."""
    settings = model_settings({"epochs": 1, "head_learning_rate_factor": 1e-12, "weight_decay": 0})
    before = tuning.base_model(settings, {c: i for i, c in enumerate(CLASSES)}, 0).state_dict()
    after = fit(tmp_path, inputs, settings)[0].model.state_dict()
    torch.testing.assert_close(after["classifier.weight"], before["classifier.weight"], atol=1e-9, rtol=0)
    query = next(name for name in before if name.endswith("query.weight"))
    assert (after[query] - before[query]).abs().max() > 1e-4


def test_training_on_all_data_ends_after_the_epochs_asked_for(inputs, tmp_path):
    settings = model_settings({"epochs": 4})
    job = Job("m", settings, task("multiclass"), 0, tmp_path / "refit")
    trained, run, _ = train_on_all(job, FOLD, inputs, "sha", 1.5)
    steps = -(-70 // 8)
    assert run["train_records"] == 70
    assert run["epochs_run"] == pytest.approx(np.ceil(1.5 * steps) / steps)
    assert (run["best_metric"], run["best_epoch"]) == (None, run["epochs_run"])
    weights = {k: v.clone() for k, v in trained.model.state_dict().items()}
    # Killed before the outputs were written: the checkpoints of 1.5 epochs are there, the result is the same.
    again, _, folder = train_on_all(job, FOLD, inputs, "sha", 1.5)
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert folder.is_dir()


def test_training_on_all_data_killed_after_its_last_checkpoint(inputs, tmp_path):
    job = Job("m", model_settings({"epochs": 4}), task("multiclass"), 0, tmp_path / "refit")
    first = {k: v.clone() for k, v in train_on_all(job, FOLD, inputs, "sha", 2.0)[0].model.state_dict().items()}
    again, run, _ = train_on_all(job, FOLD, inputs, "sha", 2.0)
    assert run["epochs_run"] == 2.0
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, first[name]), name


def test_lora_trains_adapters_and_head_alone(inputs, tmp_path):
    settings = model_settings({"epochs": 2, "learning_rate": 1e-2}, tuning="lora")
    trained, _, run = fit(tmp_path, inputs, settings)
    names = [name for name, p in trained.model.named_parameters() if p.requires_grad]
    assert names
    assert all("lora_" in name or "classifier.modules_to_save" in name for name in names)
    assert any("lora_" in name for name in names)
    assert any("classifier" in name for name in names)
    assert run["trainable_parameters"] < 0.1 * run["parameters"]
    labels = {c: i for i, c in enumerate(CLASSES)}
    before = tuning.base_model(settings, labels, 0).state_dict()
    after = {
        k.removeprefix("base_model.model.").replace(".base_layer", ""): v for k, v in trained.model.state_dict().items()
    }
    frozen = [k for k in before if k in after and not k.startswith("classifier")]
    assert len(frozen) > 10
    assert all(torch.equal(before[k], after[k]) for k in frozen)


def test_lora_target_that_matches_nothing(inputs):
    settings = model_settings(tuning="lora", lora={"targets": ["Wqkv"]})
    with pytest.raises(UserError, match=r"lora\.targets.*Wqkv.*query"):
        tuning.prepare(tuning.base_model(settings, {"a": 0, "b": 1}, 0), settings)


def test_lora_on_a_generic_backbone(tmp_path):
    settings = model_settings({"epochs": 1}, backbone=str(write_generic(tmp_path / "gpt2", "gpt2")), tuning="lora")
    encoder = tuning.backbone_of(settings).encoder()
    table = TokenTable.of_sequences([s for s, _ in RECORDS], encoder, TokenSettings.of(settings["tokens"], encoder))
    assert table.frames == 1
    trained, scores, run = fit(tmp_path, TokenInputs(table, encoder.pad_id), settings)
    assert any("c_attn.lora_A" in name for name, _ in trained.model.named_parameters())
    assert 0 < run["trainable_parameters"] < run["parameters"]
    assert np.isfinite(scores.logits).all()


def test_probe_embeddings_are_those_the_backbone_gives_in_training(inputs, tmp_path):
    settings = model_settings({"epochs": 3}, tuning="probe")
    embed_rows(job_of(tmp_path, settings), inputs, CLASSES, tmp_path / "e.npy")
    embedded = np.load(tmp_path / "e.npy")
    assert embedded.shape == (len(inputs.table), 32)
    model = tuning.base_model(settings, {c: i for i, c in enumerate(CLASSES)}, 0).eval()
    for rows in ([0, 1, 2], [7], [100, 3]):
        with torch.inference_mode():
            direct = model.embed(**inputs.batch(rows)).numpy()
        np.testing.assert_allclose(embedded[rows], direct, atol=1e-5)
    probed = EmbeddingInputs(inputs.table, embedded)
    trained, scores, run = fit(tmp_path, probed, settings)
    assert run["trainable_parameters"] == run["parameters"] == 32 * 3 + 3
    # The restored model (backbone and head) gives what the head gave on the embeddings.
    tuning.save(trained.model, tmp_path / "w", "probe")
    whole = tuning.restore(tmp_path / "w", settings, {c: i for i, c in enumerate(CLASSES)}, 0).eval()
    row = int(inputs.table.first_row[3, 2])
    with torch.inference_mode():
        expected = trained.model.eval()(embeddings=torch.from_numpy(embedded[[row]])).logits
        torch.testing.assert_close(whole(**inputs.batch([row])).logits, expected, atol=1e-5, rtol=0)
