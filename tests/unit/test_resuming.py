"""A killed job ends where an undisturbed one would have, to the last digit."""

import os
import signal
from dataclasses import replace

import pytest
import torch

from dnatune import checkpoints, stopping
from dnatune.callbacks import Progress
from dnatune.fold_training import Job, remove_checkpoints, train_on_all, train_on_fold
from dnatune.tasks import task
from miniatures import SIZES, model_settings
from small_fold import FOLD, INPUTS, assert_same, fit, job_of, tokens_for


class Killed(BaseException):
    """Stands for a job that is killed."""


def kill_at(monkeypatch, step, event="on_step_end"):
    """Kill the next training after ``step`` steps."""

    def happens(self, args, state, control, **kwargs):
        if state.global_step == step:
            raise Killed

    monkeypatch.setattr(Progress, event, happens, raising=False)


OVERLAP = {**SIZES, "k": 4, "overlapping": True}
RESUMED = {
    "full": ({}, {}, 11),
    "middle of an epoch": ({"evaluate_every": 0.4}, {}, 8),
    "accumulated": ({"gradient_accumulation": 2, "evaluate_every": 0.5}, {}, 5),
    "dropout": ({"evaluate_every": 0.4}, {"head_dropout": 0.3}, 8),
    "lora": ({"evaluate_every": 0.4}, {"tuning": "lora", "lora": {"dropout": 0.2}}, 8),
    "ia3": ({"evaluate_every": 0.4}, {"tuning": "ia3"}, 8),
    "balanced": ({"imbalance": "balanced_sampling", "evaluate_every": 0.4}, {}, 8),
    "both strands": ({"evaluate_every": 0.4}, {"backbone_config": OVERLAP, "tokens": {"random_strand": True}}, 8),
    "early stopping": ({"epochs": 20, "early_stopping": 2, "learning_rate": 0.1, "metric": "log_loss"}, {}, 8),
}


@pytest.mark.parametrize("name", RESUMED)
def test_a_killed_job_ends_as_if_nothing_had_happened(name, tmp_path, monkeypatch, caplog):
    training, changes, step = RESUMED[name]
    settings = model_settings(training, **changes)
    inputs = tokens_for(settings)
    undisturbed = fit(tmp_path / "a", settings, inputs)
    kill_at(monkeypatch, step)
    with pytest.raises(Killed):
        fit(tmp_path / "b", settings, inputs)
    kill_at(monkeypatch, None)
    with caplog.at_level("INFO", "dnatune"):
        resumed = fit(tmp_path / "b", settings, inputs)
    assert 0 < resumed[2]["resumed_from_step"] <= step
    assert f"goes on from step {resumed[2]['resumed_from_step']}" in caplog.text
    assert_same(undisturbed, resumed)


ENDED = {
    "stopped": {"early_stopping": 1, "learning_rate": 0.3},
    "stopped within an epoch": {"early_stopping": 1, "learning_rate": 0.3, "evaluate_every": 0.4},
    "finished": {"epochs": 2},
}


@pytest.mark.parametrize("name", ENDED)
def test_killed_between_the_last_checkpoint_and_the_outputs(name, tmp_path, monkeypatch):
    """Training had ended: nothing more is trained, and the best weights are found again."""
    settings = model_settings({"epochs": 20, **ENDED[name]})
    undisturbed = fit(tmp_path / "a", settings)
    last = undisturbed[0].history["step"].iloc[-1]
    assert name == "finished" or undisturbed[2]["epochs_run"] < 20
    kill_at(monkeypatch, last, "on_epoch_end")
    with pytest.raises(Killed):
        fit(tmp_path / "b", settings)
    kill_at(monkeypatch, None, "on_epoch_end")
    again = fit(tmp_path / "b", settings)
    assert again[2]["resumed_from_step"] == last
    assert_same(undisturbed, again)


def test_killed_after_training_and_before_the_outputs(tmp_path):
    settings = model_settings({"epochs": 6, "early_stopping": 1, "learning_rate": 0.3})
    assert_same(fit(tmp_path, settings), fit(tmp_path, settings))


def test_training_on_all_data_killed_after_its_last_checkpoint(tmp_path):
    job = Job("m", model_settings({"epochs": 4}), task("multiclass"), 0, tmp_path / "refit")
    first = {k: v.clone() for k, v in train_on_all(job, FOLD, INPUTS, "sha", 2.0)[0].model.state_dict().items()}
    again, run, _ = train_on_all(job, FOLD, INPUTS, "sha", 2.0)
    assert run["epochs_run"] == 2.0
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, first[name]), name


def test_a_half_written_checkpoint_is_ignored_and_removed(tmp_path):
    for step, marked in ((5, True), (10, True), (100, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if marked:
            (tmp_path / f"checkpoint-{step}" / checkpoints.MARKER).touch()
    found = checkpoints.last_complete(tmp_path)
    assert checkpoints.step_of(found) == 10
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-5"]
    assert checkpoints.last_complete(tmp_path / "nothing") is None


def test_a_job_killed_while_it_writes_its_checkpoint(tmp_path, monkeypatch):
    settings = model_settings({"epochs": 2})
    undisturbed = fit(tmp_path / "a", settings)
    on_save = checkpoints.MarkComplete.on_save
    monkeypatch.setattr(checkpoints.MarkComplete, "on_save", lambda *a, **k: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        fit(tmp_path / "b", settings)
    assert list((tmp_path / "b").rglob("checkpoint-*"))
    monkeypatch.setattr(checkpoints.MarkComplete, "on_save", on_save)
    again = fit(tmp_path / "b", settings)
    assert again[2]["resumed_from_step"] is None
    assert_same(undisturbed, again)


def test_checkpoints_are_removed_with_their_empty_parents(tmp_path):
    folder = tmp_path / "checkpoints" / "m" / "fold_0" / "abc"
    (folder / "checkpoint-3").mkdir(parents=True)
    (tmp_path / "checkpoints" / "m" / "fold_1").mkdir()
    remove_checkpoints(folder)
    assert not folder.parent.exists()
    assert (tmp_path / "checkpoints" / "m" / "fold_1").exists()


SIGNALLED = {
    "dropout": ({"epochs": 2, "evaluate_every": 0.6}, {"head_dropout": 0.3}),
    "accumulated": ({"gradient_accumulation": 2, "epochs": 4}, {}),
    "early stopping": ({"epochs": 20, "early_stopping": 1, "learning_rate": 0.1, "metric": "log_loss"}, {}),
}


@pytest.mark.parametrize("name", SIGNALLED)
def test_a_job_told_to_end_after_every_other_step(name, tmp_path, monkeypatch):
    """However often it is told, and wherever between two evaluations: same curve, same weights, same choice."""
    training, changes = SIGNALLED[name]
    settings = model_settings(training, **changes)
    undisturbed = fit(tmp_path / "a", settings)
    steps = []

    def tell(self, args, state, control, **kwargs):
        if state.global_step % 2:
            steps.append(state.global_step)
            os.kill(os.getpid(), [signal.SIGTERM, signal.SIGUSR1][len(steps) % 2])

    monkeypatch.setattr(Progress, "on_step_end", tell, raising=False)
    found = None
    while found is None:
        try:
            with stopping.listening():
                found = fit(tmp_path / "b", settings)
        except stopping.Stopped as stop:
            assert f"at step {steps[-1]}, checkpoint saved" in str(stop)
            assert stop.exit_code in (128 + signal.SIGTERM, 128 + signal.SIGUSR1)
    assert len(steps) >= 4
    assert steps == sorted(set(steps)), "a step was made twice"
    assert_same(undisturbed, found)
    first, second = (trained.model.state_dict() for trained, _, _ in (undisturbed, found))
    assert all(torch.equal(second[name], value) for name, value in first.items())


def test_checkpoints_between_evaluations_change_nothing_and_keep_the_best(tmp_path, monkeypatch):
    settings = model_settings({"epochs": 8, "learning_rate": 0.3, "metric": "log_loss"})
    undisturbed = fit(tmp_path / "a", settings)
    assert undisturbed[2]["best_step"] < 35, "there is something to keep"

    def often(folder):
        job = replace(job_of(folder, settings), checkpoint_minutes=1e-9)  # after every step
        return train_on_fold(job, FOLD, INPUTS, "sha")[:3]

    assert_same(undisturbed, often(tmp_path / "b"))
    kept = [checkpoints.step_of(path) for path in (tmp_path / "b").rglob("checkpoint-*")]
    assert sorted(kept) == [undisturbed[2]["best_step"], 40]
    kill_at(monkeypatch, 38)
    with pytest.raises(Killed):
        often(tmp_path / "c")
    kill_at(monkeypatch, None)
    resumed = fit(tmp_path / "c", settings)  # the minutes are no setting that a checkpoint depends on
    assert resumed[2]["resumed_from_step"] == 37
    assert_same(undisturbed, resumed)


def test_a_signal_after_the_last_step_ends_the_job_and_nothing_is_trained_again(tmp_path, monkeypatch):
    settings = model_settings({"epochs": 2})
    undisturbed = fit(tmp_path / "a", settings)
    tell = lambda *a, **k: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    monkeypatch.setattr(Progress, "on_train_end", tell, raising=False)
    with stopping.listening(), pytest.raises(stopping.Stopped, match=r"stopped by SIGTERM$"):
        fit(tmp_path / "b", settings)
    monkeypatch.setattr(Progress, "on_train_end", lambda *a, **k: None)
    again = fit(tmp_path / "b", settings)
    assert again[2]["resumed_from_step"] == 10
    assert_same(undisturbed, again)
