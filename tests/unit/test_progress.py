"""A training job tells how far it is while it runs, and a file that stands still is that of a dead one."""

import json
import os
import platform
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dnatune.errors import UserError
from dnatune.fold_training import train_on_fold
from dnatune.progress import ProgressFile
from dnatune.run_folder import read_json
from dnatune.run_status import is_stale
from dnatune.tasks import task
from miniatures import model_settings
from small_fold import FOLD, INPUTS, RECORDS, job_of

SCRIPTS = Path(__file__).parents[2] / "scripts"


def told(path) -> dict:
    """Return what stands in a progress file."""
    return json.loads(path.read_text())


def test_a_real_training_is_followed_while_it_runs(tmp_path):
    """Read all the time from another thread: always whole, always forward, and its figures are those of the end."""
    path, seen, over = tmp_path / "fold_0.progress.json", [], threading.Event()

    def look():
        while not over.is_set():
            if path.exists():
                seen.append(told(path))
            time.sleep(0.002)

    watcher = threading.Thread(target=look)
    watcher.start()
    settings = model_settings({"epochs": 4, "batch_size": 8})
    try:
        with ProgressFile(path, every=0.01) as progress:
            job = replace(job_of(tmp_path / "checkpoints", settings), progress=progress)
            trained, _, run, _ = train_on_fold(job, FOLD, INPUTS, "sha")
    finally:
        over.set()
        watcher.join()
    states = list(dict.fromkeys(each["state"] for each in [*seen, told(path)]))
    assert states == ["starting", "training", "scoring", "done"]
    steps = [each["step"] for each in seen if "step" in each]
    assert steps == sorted(steps)
    assert len(set(steps)) > 2
    last = told(path)
    # 40 records in batches of 8, four times.
    assert (last["step"], last["steps"], last["epoch"], last["epochs"]) == (20, 20, 4.0, 4)
    end = trained.history.iloc[-1]
    assert last["curve"] == ["log_loss", "pr_auc_macro"]
    for name in ("train_log_loss", "validation_log_loss", "validation_pr_auc_macro"):
        assert last[name] == pytest.approx(end[name])
    assert last["left"] == 0
    assert last["rate"] >= 20 * 8 / run["seconds_training"]  # which counts the set-up before the first step too
    assert last["memory_mib"] <= run["peak_memory_mib"]
    assert (last["host"], last["pid"], last["attempt"]) == (platform.node(), os.getpid(), 1)
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_the_progress_of_a_regression_stands_in_its_log(tmp_path, caplog):
    settings = model_settings({"epochs": 2})
    settings["training"]["metric"] = "r2"
    values = np.array([[sequence.count("G")] for sequence, _ in RECORDS], dtype=np.float32)
    fold = replace(FOLD, labels=values, classes=["leaf"])
    kind = task("regression", {"columns": ["leaf"], "loss": "mse"})
    settings["head"] = kind.head(["leaf"])
    with ProgressFile(tmp_path / "p.progress.json") as progress, caplog.at_level("INFO", "dnatune"):
        job = replace(job_of(tmp_path / "checkpoints", settings), task=kind, progress=progress)
        trained, _, _, _ = train_on_fold(job, fold, INPUTS, "sha")
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("epoch ")]
    assert len(lines) == len(trained.history) == 2
    for line, (_, row) in zip(lines, trained.history.iterrows(), strict=True):
        assert f"validation mse {row['validation_mse']:.4f} r2 {row['validation_r2']:.4f}" in line
    last = told(tmp_path / "p.progress.json")
    assert last["curve"] == ["mse", "r2"]
    assert last["validation_r2"] == pytest.approx(trained.history["validation_r2"].iloc[-1])


def test_an_attempt_counts_on_from_one_that_did_not_end(tmp_path):
    path = tmp_path / "p.progress.json"
    with pytest.raises(UserError), ProgressFile(path):
        raise UserError("Column 'x': not there.")
    assert (told(path)["state"], told(path)["error"], told(path)["attempt"]) == ("failed", "Column 'x': not there.", 1)
    with pytest.raises(SystemExit), ProgressFile(path):
        sys.exit(1)
    assert (told(path)["state"], told(path)["attempt"]) == ("stopped", 2)
    with pytest.raises(ZeroDivisionError), ProgressFile(path):
        _ = 1 / 0
    assert told(path)["error"] == "ZeroDivisionError: division by zero"
    with ProgressFile(path):
        assert told(path)["attempt"] == 4
    with ProgressFile(path):
        assert told(path)["attempt"] == 1  # the one before came to its end: this is another training


@pytest.mark.parametrize("before", ["", "{", "[1]", '{"state": "training", "attempt": null}', '{"attempt": 3}'])
def test_whatever_an_earlier_attempt_left_is_no_trouble(before, tmp_path):
    path = tmp_path / "p.progress.json"
    path.write_text(before)
    with ProgressFile(path):
        assert told(path)["attempt"] == 1


def test_only_the_first_of_several_processes_writes(tmp_path, monkeypatch):
    log = tmp_path / "nt-2.5b.log"
    assert ProgressFile.beside(log).path == tmp_path / "nt-2.5b.progress.json"
    monkeypatch.setenv("DNATUNE_RANK", "1")
    with ProgressFile.beside(log) as progress:
        progress.tell(step=1)
    assert not list(tmp_path.iterdir())


def test_a_job_goes_on_where_its_progress_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with ProgressFile(tmp_path / "file" / "p.progress.json", every=0.01) as progress:
        progress.tell(step=1, rate=float("nan"), strange=object())
        time.sleep(0.05)
    with ProgressFile(tmp_path / "p.progress.json", every=0.01) as progress:
        progress.tell(strange=object())
        time.sleep(0.05)
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_a_killed_job_is_told_from_one_that_runs(tmp_path):
    """Here by its process at once, on another machine by a file that stands still."""
    path = tmp_path / "p.progress.json"
    code = (
        "import sys, time; from dnatune.progress import ProgressFile\n"
        f"with ProgressFile({str(path)!r}, every=0.05) as p:\n p.tell(state='training', step=3)\n time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SCRIPTS)}) as process:
        try:
            wait_for(lambda: read_json(path).get("step") == 3)
            first = told(path)["time"]
            wait_for(lambda: told(path)["time"] > first)  # it writes though nothing is new
            assert not is_stale(told(path), time.time())
        finally:
            process.kill()
        wait_for(lambda: is_stale(told(path), time.time()))  # a zombie still, for nobody has asked how it ended
    found = told(path)
    assert found["state"] == "training"
    assert is_stale(found, time.time())
    elsewhere = {**found, "host": "node17", "every": 15.0}
    assert not is_stale(elsewhere, elsewhere["time"] + 100)
    assert is_stale(elsewhere, elsewhere["time"] + 200)


def wait_for(happens, patience: float = 300) -> None:
    """Return when something has happened."""
    ends = time.monotonic() + patience
    while not happens():
        assert time.monotonic() < ends
        time.sleep(0.01)
