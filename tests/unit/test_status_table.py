"""The table of a run fits a terminal, and the script that prints it finds the run and leaves it alone."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnatune.errors import UserError
from dnatune.run_folder import read_json
from dnatune.run_status import status_of
from dnatune.status_table import WIDTH, duration, text_of
from run_tree import NOW, RunTree

SCRIPT = Path(__file__).parents[2] / "scripts" / "status.py"


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


def test_a_look_changes_nothing_and_is_quick(tmp_path):
    run = RunTree(tmp_path, folds=list(range(100)), models=["nt", "b"])
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
    RunTree(tmp_path)
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
