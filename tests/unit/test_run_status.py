"""How a run stands is read from its folder in every state, also while files are being written."""

import os
import random
import shutil
import threading
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dnatune.cluster_runs import ClusterJob
from dnatune.run_folder import last_words, read_json
from dnatune.run_queue import Queue
from dnatune.run_status import status_of
from dnatune.status_table import text_of
from run_tree import FAILURE, FAILURE_ON_CLUSTER, NOW, REFUSAL, RunTree


def test_before_anything_has_happened(alive):
    status = status_of(alive.folder, now=NOW)
    assert [(row.fold, row.state) for row in status.rows] == [
        (0, "waiting"),
        (1, "waiting"),
        (2, "waiting"),
        (None, "waiting"),
    ]
    assert status.snakemake.startswith(f"Snakemake runs (process {os.getpid()})")
    text = text_of(status)
    assert "0-2 waiting" in text
    assert "records waiting, labels waiting" in text


def test_a_training_that_runs(alive):
    figures = {"curve": ["log_loss", "pr_auc_macro"], "train_log_loss": 1.25, "validation_log_loss": 1.375}
    alive.tell(**figures, validation_pr_auc_macro=0.6875, rate=412.5, left=4000.0, memory_mib=3072.0, on_gpu=True)
    assert alive.row().state == "running"
    line = next(
        line for line in text_of(status_of(alive.folder, now=NOW)).splitlines() if "running" in line and "1.5/2" in line
    )
    assert line.split() == ["0", "running", "1.5/2", "1.2500", "1.3750", "0.6875", "412", "67m", "3.0G", "1"]
    alive.tell(state="scoring")
    assert alive.row().state == "running"
    assert "scores its sequences" in text_of(status_of(alive.folder, now=NOW))


def test_a_training_that_went_on_from_a_checkpoint(alive):
    alive.tell(first_step=10, attempt=2)
    assert (alive.row().state, alive.row().resumed_from) == ("running", 10)
    text = text_of(status_of(alive.folder, now=NOW))
    assert "resumed" in text
    assert "goes on from step 10" in text


def test_a_finished_training_has_the_figures_of_its_best_epoch(alive):
    alive.made()
    row = alive.row()
    assert row.state == "done"
    assert row.figures["validation_log_loss"] == 1.375
    line = next(
        line for line in text_of(status_of(alive.folder, now=NOW)).splitlines() if "done" in line and "1.25" in line
    )
    assert line.split() == ["0", "done", "2", "1.2500", "1.3750", "0.6875", "412", "2.0G"]
    alive.mark("models/nt/fold_0/run.json")  # Snakemake is not through with it
    assert alive.row().state == "running"


def test_a_failed_training_says_why(alive):
    log = alive.text(
        "logs/train/nt/fold_0.log", "20:00:00 nt, fold 0\n20:00:01 Error: Column 'x': not there; name it.\n"
    )
    alive.tell(state="failed", error="Column 'x': not there; name it.")
    row = alive.row()
    assert (row.state, row.log, row.said) == ("failed", log, ("20:00:01 Error: Column 'x': not there; name it.",))
    text = text_of(status_of(alive.folder, now=NOW))
    assert "nt, fold 0 failed" in text
    assert str(log) in text
    assert "Error: Column 'x': not there" in text


def test_a_failed_job_that_is_asked_for_again(alive):
    alive.tell(state="failed", attempt=1)
    alive.checkpoint(10)
    alive.mark("models/nt/fold_0/run.json", "77")
    assert (alive.row().state, alive.row().cluster_job, alive.row().checkpoint) == ("queued", "77", 10)
    text = text_of(status_of(alive.folder, now=NOW))
    assert "job 77; will go on from step 10" in text
    alive.mark("models/nt/fold_0/run.json")
    assert alive.row().state == "running"


def test_a_job_that_was_killed_for_its_memory(alive):
    """Its own file says nothing of it, Snakemake's log does."""
    alive.tell(time=NOW - 400)
    alive.log.write_text("x\n" + FAILURE.format(place="nt/fold_0") + "Exiting because a job execution failed.\n")
    row = alive.row()
    assert row.state == "failed"
    assert row.said == ("It ended without a word: killed, for its memory or its time?",)
    assert alive.row(1).state == "waiting"


def test_a_job_that_slurm_killed(alive):
    """Why stands in SLURM's log."""
    alive.tell(time=NOW - 400)
    log = alive.text(
        ".snakemake/slurm_logs/30.log",
        "Building DAG of jobs...\n"
        "slurmstepd-gpu1: error: StepId=30.0 exceeded memory limit (570183680 > 524288000), being killed\n"
        "slurmstepd-gpu1: error: Exceeded job memory limit\nsrun: error: gpu1: task 0: Killed\n",
    )
    alive.log.write_text("x\n" + FAILURE_ON_CLUSTER.format(place="nt/fold_0", slurm_log=log))
    row = alive.row()
    assert (row.state, alive.row(1).state) == ("failed", "waiting")
    assert row.said == (
        "It ended without a word: killed, for its memory or its time?",
        f"SLURM says in {log}:",
        "error: StepId=30.0 exceeded memory limit (570183680 > 524288000), being killed",
        "error: Exceeded job memory limit",
    )
    log.unlink()
    assert alive.row().said == ("It ended without a word: killed, for its memory or its time?",)
    stop = "20:00:01 stopped by SIGTERM at step 93, checkpoint saved; the next attempt goes on from there"
    alive.text("logs/train/nt/fold_0.log", stop + "\n")
    assert alive.row().said == (stop, "It was told to end: at its time limit, by scancel or by a preemption.")


def test_a_job_that_slurm_did_not_take(dead):
    """Nothing ran, so no log of the job's own can say why."""
    again = "[Fri Nov 27 03:41:34 2026]\n" + REFUSAL.format(place="nt/fold_0")
    dead.log.write_text("x\n" + again * 3 + "Exiting because a job execution failed.\nComplete log(s): here\n")
    row = dead.row()
    assert (row.state, dead.row(1).state) == ("failed", "waiting")
    assert row.said == (
        "SLURM did not take it:",
        "sbatch: error: invalid partition specified: gpuq",
        "sbatch: error: Batch job submission failed: Invalid partition name specified",
    )
    text = text_of(status_of(dead.folder, now=NOW))
    assert "1 failed" in text
    assert "    sbatch: error: invalid partition specified: gpuq" in text


def test_a_job_without_a_sign_of_life(alive):
    alive.tell(time=NOW - 400)
    alive.mark("models/nt/fold_0/run.json", since=NOW - 900)
    assert alive.row().state == "silent"
    assert "no sign of life for 7m; killed, or back in the queue" in text_of(status_of(alive.folder, now=NOW))


def test_a_run_whose_snakemake_was_killed(dead):
    dead.tell(time=NOW - 400)
    dead.checkpoint(10)
    dead.checkpoint(5)
    dead.text("checkpoints/nt/fold_0/abc/checkpoint-15/trainer_state.json")  # half-written
    dead.mark("models/nt/fold_0/run.json", since=NOW - 900)
    assert (dead.row().state, dead.row().checkpoint) == ("stopped", 10)
    text = text_of(status_of(dead.folder, now=NOW))
    assert "Snakemake is gone without having come to its end" in text
    assert "will go on from step 10" in text


def test_a_training_whose_outputs_were_taken_away_waits(dead):
    dead.tell(state="done")
    assert (dead.row().state, dead.row().figures) == ("waiting", {})


def test_folders_that_come_and_go_meanwhile(alive):
    """Checkpoints are removed and Snakemake's notes change while somebody looks."""
    alive.tell(time=NOW - 400)
    over = threading.Event()

    def bustle():
        while not over.is_set():
            for step in (5, 10):
                alive.checkpoint(step)
                alive.mark("models/nt/fold_0/run.json")
                shutil.rmtree(alive.folder / "checkpoints")
                shutil.rmtree(alive.base / ".snakemake" / "incomplete")

    thread = threading.Thread(target=bustle)
    thread.start()
    try:
        found = {alive.row().checkpoint for _ in range(300)}
    finally:
        over.set()
        thread.join()
    assert found <= {None, 5, 10}


def test_what_an_earlier_call_left_waits_for_its_turn(alive):
    alive.tell(state="failed", time=NOW - 2000)
    alive.checkpoint(10)
    assert (alive.row().state, alive.row().checkpoint) == ("waiting", 10)


def test_what_slurm_says_comes_first(alive):
    def row(state, work="train nt_0"):
        return alive.row(queue=Queue((ClusterJob("5", state, work),)))

    assert row("PENDING").state == "queued"
    assert row("RUNNING").state == "running"
    assert row("PENDING", "train nt_1").state == "waiting"
    alive.tell(time=NOW - 400)
    assert row("PENDING").state == "requeued"
    assert row("RUNNING").state == "running"
    assert row("FAILED").state == "stopped"
    assert alive.row(None, Queue((ClusterJob("5", "PENDING", "refit nt"),))).state == "queued"


def test_all_that_does_not_train(alive):
    for name in ("records/records.parquet", "labels/label_map.json", "baselines/majority/fold_0/scores.npz"):
        alive.text(name)
    alive.mark("baselines/majority/fold_1/scores.npz")
    log = alive.text("logs/baselines/majority/fold_2.log", "20:00:00 Error: No such thing.\n")
    failure = FAILURE.replace("train", "baseline", 1).replace("logs/train", "logs/baselines")
    alive.log.write_text(failure.format(place="majority/fold_2"))
    status = status_of(alive.folder, now=NOW)
    (majority,) = status.steps["baselines"]
    assert majority.states == ("done", "running", "failed")
    assert majority.failed == ((log, ("20:00:00 Error: No such thing.",)),)
    text = text_of(status)
    assert "records done, labels done, folds waiting, tokens waiting" in text
    assert "majority 1/3 (1 running, 1 failed)" in text


def test_an_engine_is_judged_and_saved_like_a_model(dead):
    dead.json("logs/plan.json", {**read_json(dead.folder / "logs/plan.json"), "engines": ["engine"]})
    dead.text("engines/engine/fold_0/scores.npz")
    dead.text("engines/engine/fold_0/metrics.tsv")
    dead.text("final/nt/config.json")
    failure = FAILURE.replace("train", "combine", 1).replace("train", "engines")
    dead.log.write_text(failure.format(place="engine/fold_1"))
    text = text_of(status_of(dead.folder, now=NOW))
    assert "pooled 1/3 (1 failed), evaluated 1/9, saved models 1/2" in text
    assert "pooled failed" in text


def test_a_run_of_an_older_version_has_no_plan(dead):
    (dead.folder / "logs" / "plan.json").unlink()
    dead.made()
    dead.text("logs/train/nt/fold_1.log", "20:00:00 begun\n")
    dead.text("baselines/majority/fold_0/scores.npz")
    status = status_of(dead.folder, now=NOW)
    assert [(row.model, row.fold, row.state) for row in status.rows] == [("nt", 0, "done"), ("nt", 1, "waiting")]
    assert "No plan was found" in status.snakemake
    assert status.steps["baselines"][0].states == ("done", "waiting")


def test_how_snakemake_ended(dead):
    dead.log.write_text("x\nComplete log(s): here\n")
    assert status_of(dead.folder).snakemake.startswith("Snakemake has ended; its log:")
    dead.log.write_text("Exiting because a job execution failed. Look below\nComplete log(s): here\n")
    assert status_of(dead.folder).snakemake.startswith("Snakemake has ended, not well")
    dead.json("logs/plan.json", {**read_json(dead.folder / "logs/plan.json"), "host": "login9"})
    dead.log.write_text("x\n")
    assert "was started on login9" in status_of(dead.folder).snakemake


def test_the_last_words_of_a_log(tmp_path):
    log = tmp_path / "x.log"
    log.write_text("a\n" * 9000 + "b\nc\n\n")
    assert last_words(log) == ("a", "b", "c")
    log.write_bytes(b"20:00 Error: one\nError: two \xff\nmore")
    assert last_words(log) == ("Error: two \ufffd", "more")
    assert last_words(tmp_path / "none") == ()


def everything(base: Path) -> RunTree:
    """Return a run with a bit of everything."""
    run = RunTree(base)
    run.made("nt/fold_0")
    run.tell("nt/fold_1", curve=["log_loss", "pr_auc_macro"], train_log_loss=1.0, part=[1, 2])
    run.tell("nt/fold_2", state="failed")
    run.text("logs/train/nt/fold_2.log", "20:00:01 Error: one sentence.\n")
    run.mark("models/nt/fold_1/run.json")
    run.log.write_text(FAILURE.format(place="nt/fold_2"))
    return run


@given(st.integers(0, 2**32 - 1))
def test_never_stumbles_over_half_written_files(tmp_path_factory, seed):
    base = tmp_path_factory.mktemp("cut")
    run = everything(base)
    chance = random.Random(seed)
    for path in sorted(path for path in base.rglob("*") if path.is_file()):
        what = chance.random()
        whole = path.read_bytes()
        if what < 0.4:
            path.write_bytes(whole[: chance.randrange(len(whole) + 1)])
        elif what < 0.5:
            path.write_bytes(chance.randbytes(40))
        elif what < 0.6:
            path.unlink()
        elif what < 0.7:
            values = chance.choice(
                ["[]", "null", '{"time": "x", "curve": 3, "every": [], "epoch": {}}', '{"folds": 7}']
            )
            path.write_text(values)
    text_of(status_of(run.folder, now=NOW), color=True)
    shutil.rmtree(base)
