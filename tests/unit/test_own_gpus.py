"""Jobs on one machine never share a GPU, and never take one they did not ask for."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from dnatune import own_gpus
from dnatune.own_gpus import VARIABLE

SCRIPTS = Path(own_gpus.__file__).parents[1]
HOLD = """
import os, sys, time
from dnatune.own_gpus import own_gpus
with own_gpus(int(sys.argv[1]), pause=0.05):
    print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with three GPUs and lock files of its own, outside SLURM."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nprintf 'GPU-aa\\nGPU-bb\\nGPU-cc\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    for name in (VARIABLE, "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)


def job(gpus: int) -> subprocess.Popen:
    """Start a job that holds ``gpus`` GPUs until its input ends."""
    command = [sys.executable, "-c", HOLD, str(gpus)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_jobs_at_once_see_different_gpus_and_the_next_waits_for_a_free_one():
    first, second = job(1), job(2)
    held = [first.stdout.readline().strip().split(","), second.stdout.readline().strip().split(",")]
    assert [len(names) for names in held] == [1, 2]
    assert {*held[0], *held[1]} == {"GPU-aa", "GPU-bb", "GPU-cc"}
    third = job(1)
    assert not select.select([third.stdout], [], [], 1.0)[0]
    first.kill()  # not even a killed job keeps its GPU
    first.wait()
    assert third.stdout.readline().strip() == held[0][0]
    for process in (second, third):
        process.communicate("")


def test_a_job_that_asks_for_none_sees_none_and_the_environment_comes_back(monkeypatch):
    monkeypatch.setenv(VARIABLE, "5")
    with own_gpus.own_gpus(0):
        assert os.environ[VARIABLE] == ""
    assert os.environ[VARIABLE] == "5"


def test_a_job_takes_from_what_it_is_shown_and_no_more(monkeypatch):
    monkeypatch.setenv(VARIABLE, "2, 4")
    with own_gpus.own_gpus(1):
        assert os.environ[VARIABLE] == "2"
    monkeypatch.setenv(VARIABLE, "2,4")
    with own_gpus.own_gpus(4):
        assert os.environ[VARIABLE] == "2,4"


def test_what_slurm_gave_is_left_alone(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv(VARIABLE, "0")
    with own_gpus.own_gpus(1), own_gpus.own_gpus(1):  # numbers of two SLURM jobs may be the same, the GPUs are not
        assert os.environ[VARIABLE] == "0"


def test_where_gpus_cannot_be_listed_nothing_is_hidden(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with own_gpus.own_gpus(1):
        assert VARIABLE not in os.environ
