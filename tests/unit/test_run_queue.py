"""SLURM is asked where there is one, and what it says of a run is told."""

import os
import time

import pytest

from dnatune.cluster_runs import ClusterJob
from dnatune.run_folder import read_json
from dnatune.run_queue import Queue, queue_of
from dnatune.run_status import status_of
from dnatune.status_table import text_of


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
