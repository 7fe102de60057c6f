"""The trainings of a learning curve stand beside those of the run, with the share of the records they learn from."""

import pytest

from dnatune.cluster_runs import ClusterJob
from dnatune.run_queue import Queue
from dnatune.run_status import status_of
from dnatune.status_table import text_of
from run_tree import FAILURE, NOW, RunTree

PART = "learning_curve/50_percent/"


@pytest.fixture
def dead(tmp_path):
    """A run with one model and one baseline on a curve of two parts; its Snakemake is gone."""
    curve = {"parts": ["25_percent", "50_percent"], "curve_models": ["nt"], "curve_baselines": ["bayes"]}
    return RunTree(tmp_path, **curve, folds=[0, 1])


@pytest.fixture
def alive(dead):
    """The same, and Snakemake, this very process, has its log open."""
    with open(dead.log, "a"):
        yield dead


def test_a_run_without_a_curve_says_nothing_of_one(alive):
    status = status_of(alive.folder, now=NOW)
    assert {row.part for row in status.rows} == {""}
    assert "curve" not in status.steps


def test_a_curve_that_has_begun(alive):
    alive.made()
    alive.made("nt/fold_0", PART)
    alive.tell("nt/fold_1", PART, epoch=0.5)
    status = status_of(alive.folder, now=NOW)
    states = {(row.part, row.fold): row.state for row in status.rows}
    assert states == {
        **{("", 0): "done", ("", 1): "waiting", ("", None): "waiting"},
        **{("25_percent", 0): "waiting", ("25_percent", 1): "waiting"},
        **{("50_percent", 0): "done", ("50_percent", 1): "running"},
    }
    assert alive.row(0, part="50_percent").figures["validation_log_loss"] == 1.375
    text = text_of(status)
    assert "Of 7 trainings 2 done, 1 running, 4 waiting." in text
    whole, quarter, half = text.split("\nnt")[1:]
    assert whole.startswith("   (train") and "1.3750" in whole
    assert quarter.startswith(" on 25 % of the records") and "0-1 waiting" in quarter
    assert half.startswith(" on 50 % of the records") and "1.3750" in half and "0.5/2" in half


def test_a_point_that_failed_is_named_with_its_share_and_fold(alive):
    log = alive.text(f"logs/{PART}train/nt/fold_1.log", "20:00:01 Error: one sentence.\n")
    alive.log.write_text(FAILURE.format(place="nt/fold_1").replace("logs/train", f"logs/{PART}train"))
    row = alive.row(1, part="50_percent")
    assert (row.state, row.log, row.said) == ("failed", log, ("20:00:01 Error: one sentence.",))
    assert "nt, 50 %, fold 1 failed; its log:" in text_of(status_of(alive.folder, now=NOW))
    assert alive.row(1).state == alive.row(1, part="25_percent").state == "waiting"


def test_a_point_that_was_killed_goes_on_from_its_own_checkpoint(dead):
    dead.tell("nt/fold_0", PART, time=NOW - 400)
    dead.mark(f"{PART}models/nt/fold_0/run.json", since=NOW - 900)
    dead.text(f"{PART}checkpoints/nt/fold_0/abc/checkpoint-10/complete")
    dead.checkpoint(30)
    assert (dead.row(part="50_percent").state, dead.row(part="50_percent").checkpoint) == ("stopped", 10)


def test_a_point_in_the_queue_of_a_cluster(alive):
    alive.text(f"logs/{PART}training_share.log")
    queue = Queue((ClusterJob("5", "PENDING", "train_on_part 50_percent_nt_0"),))
    assert alive.row(0, queue, "50_percent").state == "queued"
    assert alive.row(0, queue, "25_percent").state == alive.row(0, queue).state == "waiting"


def test_baselines_and_judging_of_a_curve_are_counted(alive):
    alive.text(f"{PART}baselines/bayes/fold_0/scores.npz")
    alive.text(f"logs/{PART}baselines/bayes/fold_0.log")
    alive.mark(f"{PART}baselines/bayes/fold_1/scores.npz")
    status = status_of(alive.folder, now=NOW)
    baselines, evaluated, points = status.steps["curve"]
    assert sorted(baselines.states) == ["done", "running", "waiting", "waiting"]
    assert (evaluated.count("waiting"), points.states) == (8, ("waiting",))
    assert "baselines 1/4 (1 running), evaluated 0/8, points waiting" in text_of(status)


def test_a_curve_of_which_no_plan_tells(dead):
    (dead.folder / "logs" / "plan.json").unlink()
    dead.made()
    dead.made("nt/fold_0", PART)
    dead.text(f"logs/{PART}train/nt/fold_0.log", "20:00:00 begun\n")
    assert [(row.part, row.fold, row.state) for row in status_of(dead.folder, now=NOW).rows] == [
        ("", 0, "done"),
        ("50_percent", 0, "done"),
    ]
