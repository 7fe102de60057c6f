"""How a run stands is read from its folder in every state, also while files are being written."""

import json
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnatune.cluster_runs import ClusterJob
from dnatune.errors import UserError
from dnatune.run_queue import Queue, queue_of
from dnatune.run_status import last_words, read_json, status_of
from dnatune.status_table import WIDTH, duration, text_of

SCRIPT = Path(__file__).parents[2] / "scripts" / "status.py"
NOW = 1_800_000_000.0
HISTORY = (
    "step\tepoch\tlearning_rate\ttrain_loss\ttrain_log_loss\tvalidation_log_loss\ttrain_pr_auc_macro\t"
    "validation_pr_auc_macro\tseconds\n"
    "10\t1\t0.001\t2.5\t2.25\t2.375\t0.5\t0.4375\t3\n"
    "20\t2\t0.001\t1.5\t1.25\t1.375\t0.75\t0.6875\t6\n"
)
FAILURE = """Error in rule train:
    message: None
    jobid: 9
    output: results/fish/models/{place}/weights
    log: results/fish/logs/train/{place}.log (check log file(s) for error details)
"""


class Folder:
    """A run's folder in a working directory of Snakemake, written file by file."""

    def __init__(self, base: Path, **plan) -> None:
        self.base, self.folder = base, base / "results" / "fish"
        self.log = base / ".snakemake" / "log" / "now.snakemake.log"
        self.log.parent.mkdir(parents=True)
        self.log.write_text("Building DAG of jobs...\n")
        parts = {"task": "multiclass", "folds": [0, 1, 2], "models": ["nt"], "saved": ["nt"], "refit": True}
        parts |= {"baselines": ["majority"], "tokens": ["t-1"], "embeddings": [], "vectors": []}
        parts |= {"folder": "results/fish", "directory": str(base), "log": str(self.log)}
        parts |= {"host": platform.node(), "pid": os.getpid(), "started": NOW - 1000}
        self.json("logs/plan.json", {**parts, **plan})

    def json(self, name: str, value) -> Path:
        """Write a JSON file."""
        return self.text(name, json.dumps(value))

    def text(self, name: str, text: str = "") -> Path:
        """Write a text file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def tell(self, place: str = "nt/fold_0", **figures) -> None:
        """Write the progress file of a training job, by default one that runs on another machine."""
        told = {
            "state": "training",
            "attempt": 1,
            "started": NOW - 500,
            "time": NOW - 5,
            "every": 15.0,
            "host": "node1",
        }
        told |= {"pid": 7, "step": 15, "first_step": 0, "steps": 20, "epoch": 1.5, "epochs": 2}
        self.json(f"logs/train/{place}.progress.json", {**told, **figures})

    def made(self, place: str = "nt/fold_0") -> None:
        """Write what a finished training leaves."""
        (self.folder / "models" / place / "weights").mkdir(parents=True)
        run = {"best_step": 20, "best_epoch": 2.0, "samples_per_second": 412.5, "peak_memory_mib": 2048.0}
        run |= {"metric_for_best": "pr_auc_macro", "seconds": 90.0, "peak_gpu_memory_mib": None}
        self.json(f"models/{place}/run.json", run)
        self.text(f"models/{place}/history.tsv", HISTORY)
        self.text(f"models/{place}/scores.npz")

    def mark(self, output: str, job: str | None = None, since: float = NOW) -> None:
        """Note an output as one that Snakemake is making."""
        name = urlsafe_b64encode(f"results/fish/{output}".encode()).decode()
        path = self.base / ".snakemake" / "incomplete" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"external_jobid": job}))
        os.utime(path, (since, since))

    def checkpoint(self, step: int, place: str = "nt/fold_0") -> None:
        """Write the mark of a whole checkpoint."""
        self.text(f"checkpoints/{place}/abc/checkpoint-{step}/complete")

    def row(self, fold: int | None = 0, queue: Queue = Queue()):  # noqa: B008
        """Return the row of a fold."""
        return next(row for row in status_of(self.folder, queue, NOW).rows if row.fold == fold)


@pytest.fixture
def alive(tmp_path):
    """A run whose Snakemake, this very process, has its log open."""
    run = Folder(tmp_path)
    with open(run.log, "a"):
        yield run


@pytest.fixture
def dead(tmp_path):
    """A run whose Snakemake is gone."""
    return Folder(tmp_path)


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


def test_no_line_is_wider_than_a_terminal(alive):
    long = "a-model-with-a-very-long-name-" * 4
    plan = read_json(alive.folder / "logs/plan.json")
    alive.json("logs/plan.json", {**plan, "models": [long], "folds": list(range(100)), "baselines": [long, "b" * 60]})
    figures = {"curve": ["mse", "hamming_loss_of_all"], "train_mse": 123456.789, "validation_mse": -1.5e-9}
    for fold in range(0, 100, 3):
        alive.tell(
            f"{long}/fold_{fold}", **figures, epoch=1234.567, epochs=10000, rate=1234567.8, left=9e6, memory_mib=2e6
        )
    for fold in (1, 4):
        alive.tell(f"{long}/fold_{fold}", state="failed", attempt=12345)
        alive.text(f"logs/train/{long}/fold_{fold}.log", "Error: " + "word " * 60)
    text = text_of(status_of(alive.folder, now=NOW))
    wide = [line for line in text.splitlines() if len(line) > WIDTH and "/" not in line]
    assert wide == []
    assert "\033" not in text
    painted = text_of(status_of(alive.folder, now=NOW), color=True)
    assert re.sub(r"\033\[\d+m", "", painted) == text


def test_finished_folds_take_one_line_where_space_is_short(alive):
    for fold in range(3):
        alive.made(f"nt/fold_{fold}")
    assert "0-2 done" in text_of(status_of(alive.folder, now=NOW), brief=True)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.2, "0s"),
        (99.4, "99s"),
        (99.6, "2m"),
        (6000, "1h40"),
        (11100, "3h05"),
        (187200, "2d04h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def everything(base: Path) -> Folder:
    """Return a run with a bit of everything."""
    run = Folder(base)
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


def test_a_look_changes_nothing_and_is_quick(tmp_path):
    run = Folder(tmp_path, folds=list(range(100)), models=["nt", "b"])
    for fold in range(100):
        run.made(f"nt/fold_{fold}")
        run.tell(f"b/fold_{fold}")
        run.checkpoint(10, f"b/fold_{fold}")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, SCRIPT, run.folder], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    seconds = time.perf_counter() - start
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert done.stdout.count("done") > 100
    assert "\033" not in done.stdout
    assert seconds < 5  # well under one on a machine that has nothing else to do


def test_the_script_finds_the_run(tmp_path):
    def status(*arguments):
        command = [sys.executable, SCRIPT, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    assert "found no run that was started" in status().stderr
    Folder(tmp_path)
    assert status().stdout.startswith("fish ")
    (tmp_path / "my.yaml").write_text("name: fish\n")
    assert status("--configfile", "my.yaml", "--watch", "1").stdout.startswith("fish ")  # once: no terminal
    for wrong, words in (
        ("none", "Folder none: found none"),
        ("--configfile=no.yaml", "no.yaml: found no configuration"),
    ):
        done = status(wrong)
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    with pytest.raises(UserError, match="expected that of a run"):
        status_of(tmp_path / "none")


def test_nothing_heavy_is_imported():
    code = "import sys; import runpy; runpy.run_path(sys.argv[1]); print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parent)}
    command = [sys.executable, "-c", code, SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert not {"torch", "transformers", "numpy", "pandas"} & set(done.stdout.split())


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """A squeue that says what stands in a file, first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def says(text: str) -> None:
        (folder / "squeue").write_text(f"#!/bin/sh\n{text}\n")
        (folder / "squeue").chmod(0o755)

    return says


def test_the_queue_is_asked_on_a_cluster_alone(alive, squeue):
    squeue("touch asked; exit 1")
    plan = read_json(alive.folder / "logs/plan.json")
    assert queue_of(plan, 5) == Queue()
    alive.log.write_text("SLURM run ID: aa-1\n  Host: login1\n")
    (warning,) = queue_of(plan, 5).warnings
    assert "SLURM did not answer within 5 seconds" in warning
    squeue("sleep 60")
    start = time.monotonic()
    assert queue_of(plan, 0.5).warnings
    assert time.monotonic() - start < 20
    squeue("echo '7|PENDING|rule_train_wildcards_nt_0'")
    assert queue_of(plan, 5).jobs == (ClusterJob("7", "PENDING", "train nt_0"),)


def test_a_snakemake_that_waits_for_nothing_is_warned_of(alive, squeue):
    alive.log.write_text("SLURM run ID: aa-1\n  Host: login1\n")
    plan = read_json(alive.folder / "logs/plan.json")
    squeue("echo '7|COMPLETED|rule_train_wildcards_nt_0'")
    assert queue_of(plan, 5).warnings == ()
    os.utime(alive.log, (time.time() - 900, time.time() - 900))
    (warning,) = queue_of(plan, 5).warnings
    assert "has waited for 15 minutes for jobs that SLURM has ended" in warning
    text = " ".join(text_of(status_of(alive.folder, queue_of(plan, 5))).split())
    assert "Warning: Snakemake has waited for 15 minutes" in text
    squeue("echo '7|PREEMPTED|rule_train_wildcards_nt_0'; echo '8|RUNNING|rule_train_wildcards_nt_1'")
    (warning,) = queue_of(plan, 5).warnings
    assert "Preempted for good" in warning


def test_jobs_that_outlive_their_snakemake_are_warned_of(dead, squeue):
    dead.log.write_text("SLURM run ID: aa-1\n  Host: login1\n")
    squeue("echo '8|RUNNING|rule_train_wildcards_nt_1'")
    (warning,) = queue_of(read_json(dead.folder / "logs/plan.json"), 5).warnings
    assert "1 of its jobs are still in SLURM" in warning
