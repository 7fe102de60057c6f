"""Several processes that share a training job: the learning curve of one process, one set of files, no orphans."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dnatune import distributed
from dnatune.files import read_json, read_tsv
from dnatune.tuning import load_weights
from miniatures import model_settings

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("shared_job.py")


def start(folder, settings, processes, trouble=""):
    """Start a job and return it."""
    paths = os.pathsep.join([str(ROOT / "scripts"), str(ROOT / "tests" / "unit")])
    env = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    env |= {distributed.PROCESSES: str(processes)}
    command = [sys.executable, str(SCRIPT), str(folder), json.dumps(settings), *([trouble] if trouble else [])]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
    """Wait for a job; return its exit code and what it said."""
    said, _ = process.communicate(timeout=120)
    return process.returncode, said


def run(folder, settings, processes, trouble=""):
    """Run a job to its end and return its learning curve, logits and record."""
    code, said = finish(start(folder, settings, processes, trouble))
    assert code == 0, said[-3000:]
    assert not any(alive(int(path.read_text())) for path in folder.glob("pid_*"))
    return read_tsv(folder / "history.tsv"), np.load(folder / "logits.npy"), read_json(folder / "run.json")


def alive(pid):
    """Say whether a process is there (and not just waiting to be reaped)."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def assert_same(one, two, tolerance=1e-3):
    """Check for the same learning curve (but for the seconds), logits and choice."""
    curves = [found[0].drop(columns="seconds") for found in (one, two)]
    pd.testing.assert_frame_equal(*curves, check_exact=False, rtol=0, atol=tolerance)
    np.testing.assert_allclose(one[1], two[1], atol=tolerance)
    assert (one[2]["best_step"], one[2]["epochs_run"]) == (two[2]["best_step"], two[2]["epochs_run"])


CURVES = {
    # 40 records in batches of 8 share out evenly; of 7 they do not, and the last batch is one of 5.
    "full": ({"epochs": 3}, {}),
    "uneven": ({"epochs": 2, "batch_size": 13, "evaluate_every": 0.5}, {}),
    "one left over": ({"epochs": 2, "batch_size": 39}, {}),
    "class weights": ({"epochs": 2, "imbalance": "class_weights", "batch_size": 7, "gradient_accumulation": 2}, {}),
    "lora": ({"epochs": 2, "learning_rate": 1e-2}, {"tuning": "lora", "lora": {"dropout": 0}}),
    "early stopping": ({"epochs": 20, "early_stopping": 1, "learning_rate": 0.1, "metric": "log_loss"}, {}),
}


@pytest.mark.parametrize("name", CURVES)
def test_two_processes_have_the_learning_curve_of_one(name, tmp_path):
    training, changes = CURVES[name]
    settings = model_settings(training, **changes)
    one, two = (run(tmp_path / str(n), settings, n) for n in (1, 2))
    assert (one[2]["processes"], two[2]["processes"]) == (1, 2)
    assert one[2]["epochs_run"] < 20
    assert_same(one, two)
    weights = [load_weights(tmp_path / str(n) / "weights") for n in (1, 2)]
    assert weights[0].keys() == weights[1].keys()
