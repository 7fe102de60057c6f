"""Training: it learns, it repeats to the last digit, and it keeps the best evaluation."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from dnatune import tuning
from dnatune.fold_training import Job, train_on_all, training_key
from dnatune.tasks import task
from dnatune.training import TrainingData
from miniatures import model_settings
from small_fold import FOLD, IDS, INPUTS, LABEL_IDS, LABELS, assert_same, fit


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """One run of some epochs that other tests look at."""
    return fit(tmp_path_factory.mktemp("learnt"), model_settings({"epochs": 6, "learning_rate": 1e-2}))


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


def test_the_returned_model_is_that_of_the_best_evaluation(tmp_path):
    """Early stopping ends a training after its best evaluation: the scores must be those of the best."""
    settings = model_settings({"epochs": 20, "early_stopping": 1, "learning_rate": 0.3, "metric": "log_loss"})
    settings["tokens"]["average_frames"] = False
    trained, scores, run = fit(tmp_path, settings)
    assert trained.history["validation_log_loss"].iloc[-1] != trained.history["validation_log_loss"].min()
    part = scores.part("validation")
    found = -part.logits[np.arange(15), part.label].mean()
    assert found == pytest.approx(trained.history["validation_log_loss"].min(), rel=1e-4)
    assert run["best_metric"] == trained.history["validation_log_loss"].min()


def test_same_seed_same_numbers(tmp_path):
    settings = model_settings({"epochs": 2})
    first = fit(tmp_path / "a", settings)
    assert_same(first, fit(tmp_path / "b", settings))
    other = fit(tmp_path / "c", settings, seed=1)
    assert not np.array_equal(other[1].logits, first[1].logits)


def test_early_stopping_stops_after_patience_evaluations(tmp_path):
    settings = model_settings({"epochs": 20, "early_stopping": 2, "learning_rate": 0.3, "metric": "log_loss"})
    trained, _, run = fit(tmp_path, settings)
    history = trained.history
    best = int(history["validation_log_loss"].argmin())
    assert len(history) == best + 3 < 20
    assert run["best_epoch"] == history["epoch"].iloc[best]


@pytest.mark.parametrize("imbalance", ["class_weights", "balanced_sampling", "focal", "logit_adjustment"])
def test_every_way_with_imbalance_learns_and_differs(imbalance, tmp_path):
    training = {"epochs": 6, "learning_rate": 1e-2, "imbalance": imbalance}
    # Keep 5 of class 2, so that there is an imbalance to do something about.
    rare = FOLD.train[LABELS[FOLD.train] == 2]
    fold = dataclasses.replace(FOLD, train=np.setdiff1d(FOLD.train, rare[5:]))
    trained, scores, _ = fit(tmp_path, model_settings(training), fold=fold)
    assert trained.history["train_loss"].iloc[-1] < trained.history["train_loss"].iloc[0]
    part = scores.part("test")
    assert np.mean(part.logits.argmax(1) == part.label) > 0.6


@pytest.mark.parametrize("training", [{"gradient_checkpointing": True}, {"label_smoothing": 0.1}, {"batch_size": 1000}])
def test_other_settings_run(training, tmp_path):
    trained, _, _ = fit(tmp_path, model_settings({"epochs": 1, **training}))
    assert np.isfinite(trained.history["train_loss"]).all()


def test_gradient_checkpointing_changes_no_number(tmp_path):
    plain, less = (
        fit(tmp_path / str(on), model_settings({"epochs": 1, "gradient_checkpointing": on})) for on in (False, True)
    )
    np.testing.assert_allclose(plain[1].logits, less[1].logits, atol=1e-5)


def test_a_class_that_is_missing_in_this_fold(tmp_path):
    kept = FOLD.train[LABELS[FOLD.train] != 1]
    fold = dataclasses.replace(FOLD, train=kept)
    for imbalance in ("class_weights", "balanced_sampling", "logit_adjustment"):
        _, scores, _ = fit(tmp_path / imbalance, model_settings({"epochs": 1, "imbalance": imbalance}), fold=fold)
        assert np.isfinite(scores.logits).all()


def test_the_head_learns_at_its_own_rate(tmp_path):
    """With a factor of (nearly) zero the head stays what it was, and the backbone moves."""
    settings = model_settings({"epochs": 1, "head_learning_rate_factor": 1e-12, "weight_decay": 0})
    before = tuning.base_model(settings, LABEL_IDS, 0).state_dict()
    after = fit(tmp_path, settings)[0].model.state_dict()
    torch.testing.assert_close(after["classifier.weight"], before["classifier.weight"], atol=1e-9, rtol=0)
    query = next(name for name in before if name.endswith("query.weight"))
    assert (after[query] - before[query]).abs().max() > 1e-4


def test_training_on_all_data_ends_after_the_epochs_asked_for(tmp_path):
    settings = model_settings({"epochs": 4})
    job = Job("m", settings, task("multiclass"), 0, tmp_path / "refit")
    trained, run, _ = train_on_all(job, FOLD, INPUTS, "sha", 1.5)
    steps = -(-70 // 8)
    assert run["train_records"] == 70
    assert run["epochs_run"] == pytest.approx(np.ceil(1.5 * steps) / steps)
    assert (run["best_metric"], run["best_epoch"]) == (None, run["epochs_run"])
    weights = {k: v.clone() for k, v in trained.model.state_dict().items()}
    # Killed before the outputs were written: the checkpoints of 1.5 epochs are there, the result is the same.
    again, _, folder = train_on_all(job, FOLD, INPUTS, "sha", 1.5)
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert folder.is_dir()


def test_a_stale_checkpoint_is_never_picked_up(tmp_path):
    data = TrainingData(INPUTS, FOLD.labels, FOLD.train, FOLD.validation, 3)
    settings = model_settings()

    def key(settings=settings, data=data, seed=0, fold=0, sha="sha"):
        return training_key(Job("m", settings, task("multiclass"), seed, tmp_path, fold), INPUTS, data, sha)

    assert key() == key()
    assert key(model_settings(resources={"threads": 4, "mem_mb": 9000, "gpu": 0, "checkpoint_minutes": 1})) == key()
    swapped = LABELS.copy()
    swapped[[0, 30]] = swapped[[30, 0]]
    others = [
        key(model_settings({"learning_rate": 1e-4})),
        key(model_settings(head_dropout=0.1)),
        key(model_settings(tuning="lora")),
        key(seed=1),
        key(fold=1),
        key(sha="other records"),
        key(data=TrainingData(INPUTS, FOLD.labels, FOLD.train[:-1], FOLD.validation, 3)),
        key(data=TrainingData(INPUTS, FOLD.labels, FOLD.train, FOLD.test, 3)),
        key(data=TrainingData(INPUTS, swapped, FOLD.train, FOLD.validation, 3)),
    ]
    assert len({key(), *others}) == 1 + len(others)
