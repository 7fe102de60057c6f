"""Several processes that share a training job: the learning curve of one process, one set of files, no orphans."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from dnatune import distributed, several_nodes, stopping
from dnatune.errors import UserError
from dnatune.files import read_json, read_tsv
from dnatune.sampling import LengthGroupedBatches
from dnatune.shared_batches import SharedBatches
from dnatune.tuning import load_weights
from miniatures import model_settings

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("shared_job.py")


def start(folder, settings, processes, trouble="", **environment):
    """Start training jobs that ``processes`` processes share."""
    paths = os.pathsep.join([str(ROOT / "scripts"), str(ROOT / "tests" / "unit")])
    env = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    # Processes on the CPU, also where there is a GPU: one cannot be shared.
    env |= {distributed.PROCESSES: str(processes), "CUDA_VISIBLE_DEVICES": "", **environment}
    command = [sys.executable, str(SCRIPT), str(folder), json.dumps(settings), *([trouble] if trouble else [])]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(process, folder):
    """Wait for a job; return its exit code and what it said. No process may be left."""
    said = process.communicate(timeout=900)[0] if not process.stdout.closed else ""
    assert not [path for path in folder.glob("pid_*") if alive(int(path.read_text()))], said[-3000:]
    return process.returncode, said


def end_on_nodes(processes, folder):
    """Wait for the jobs of all nodes, which may end one after the other; return their exit codes."""
    for process in processes:
        process.communicate(timeout=900)
    return [end(process, folder)[0] for process in processes]


def run(folder, settings, processes, trouble=""):
    """Run jobs to their end; return the learning curve, logits and record of each, by name."""
    code, said = end(start(folder, settings, processes, trouble), folder)
    assert code == 0, said[-3000:]
    return {
        name: (read_tsv(folder / name / "history.tsv"), np.load(folder / name / "logits.npy"), record)
        for name in settings
        if (record := read_json(folder / name / "run.json"))
    }


def alive(pid):
    """Say whether a process is there (and not just waiting to be reaped)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def assert_same(one, two, tolerance=1e-3):
    """Check for the same learning curve (but for the seconds), logits and choice."""
    curves = [found[0].drop(columns="seconds") for found in (one, two)]
    pd.testing.assert_frame_equal(*curves, check_exact=False, rtol=0, atol=tolerance)
    np.testing.assert_allclose(one[1], two[1], atol=tolerance)
    assert (one[2]["best_step"], one[2]["epochs_run"]) == (two[2]["best_step"], two[2]["epochs_run"])


# 40 records in batches of 8 share out evenly; of 13 they do not, and of 39 one record is left over.
LEARNT = {
    "full": model_settings({"epochs": 2, "head_learning_rate_factor": 4}),
    "uneven": model_settings({"epochs": 2, "batch_size": 13, "evaluate_every": 0.5}),
    "left over": model_settings({"epochs": 2, "batch_size": 39}),
    "weights": model_settings(
        {"epochs": 2, "imbalance": "class_weights", "batch_size": 7, "gradient_accumulation": 2, "evaluate_every": 1}
    ),
    "lora": model_settings({"epochs": 2, "learning_rate": 1e-2}, tuning="lora", lora={"dropout": 0}),
    # Fast enough to overshoot, not so fast that rounding alone makes another curve.
    "stopped": model_settings({"epochs": 20, "early_stopping": 1, "learning_rate": 0.02, "metric": "log_loss"}),
}
# What jobs that are killed or told to end must give after all, with random numbers that must go on too.
DISTURBED = {
    "killed": model_settings({"epochs": 3, "evaluate_every": 0.4}, head_dropout=0.3),
    "told": model_settings({"epochs": 3}, head_dropout=0.3),
}


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """Folder and results of the same trainings in one process and in two."""
    folder = tmp_path_factory.mktemp("learnt")
    return folder, [run(folder / str(n), {**LEARNT, **DISTURBED}, n) for n in (1, 2)]


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNT)
def test_two_processes_have_the_learning_curve_of_one(name, learnt):
    folder, (alone, together) = learnt
    one, two = alone[name], together[name]
    assert (one[2]["processes"], two[2]["processes"]) == (1, 2)
    assert_same(one, two)
    assert one[0]["train_loss"].iloc[-1] < one[0]["train_loss"].iloc[0]
    weights = [load_weights(folder / str(n) / name / "weights") for n in (1, 2)]
    assert weights[0].keys() == weights[1].keys()
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, atol=2e-3, rtol=0)
    if name == "stopped":  # the weights kept are those of the best evaluation, which is not the last
        assert two[2]["best_step"] < two[0]["step"].iloc[-1]
        assert two[2]["epochs_run"] < 20


@pytest.mark.slow
def test_a_model_spread_over_processes_has_the_learning_curve_of_one(learnt, tmp_path):
    """FSDP on a CPU, where accelerate has to be talked into it; with a kill in between."""
    names = ("full", "stopped")
    spread = {name: {**LEARNT[name], "training": {**LEARNT[name]["training"], "sharding": "fsdp"}} for name in names}
    found = run(tmp_path / "whole", spread, 2, "shard")
    for name in names:
        assert_same(learnt[1][0][name], found[name])
        assert (tmp_path / "whole" / name / "weights" / "model.safetensors").is_file()
    assert list((tmp_path / "whole").rglob("pytorch_model_fsdp*")), "it was not spread"
    code, _ = end(start(tmp_path / "killed", {"full": spread["full"]}, 2, "shard all killed"), tmp_path / "killed")
    assert code != 0
    again = run(tmp_path / "killed", {"full": spread["full"]}, 2, "shard")["full"]
    assert again[2]["resumed_from_step"] == 5
    assert_same(found["full"], again, 1e-6)


@pytest.mark.slow
def test_a_killed_job_goes_on_as_if_nothing_had_happened(learnt, tmp_path):
    settings = {"killed": DISTURBED["killed"]}
    assert end(start(tmp_path, settings, 2, "all killed"), tmp_path)[0] == 9
    resumed = run(tmp_path, settings, 2)["killed"]
    assert resumed[2]["resumed_from_step"] == 6
    assert_same(learnt[1][1]["killed"], resumed, 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_job_that_is_told_to_end_saves_and_the_next_attempt_is_not_to_be_seen(processes, learnt, tmp_path):
    """One process alone is told, the last; all save at the same step, in the middle between two evaluations."""
    settings = {"told": DISTURBED["told"]}
    code, said = end(start(tmp_path, settings, processes, "told"), tmp_path)
    assert code == 128 + signal.SIGTERM
    line = "stopped by SIGTERM at step 7, checkpoint saved; the next attempt goes on from there"
    assert said.count(line) == (tmp_path / "log").read_text().count(line) == 1
    resumed = run(tmp_path, settings, processes)["told"]
    assert resumed[2]["resumed_from_step"] == 7
    assert_same(learnt[1][processes - 1]["told"], resumed, 0)
    weights = [load_weights(path / "told" / "weights") for path in (learnt[0] / str(processes), tmp_path)]
    for key, value in weights[0].items():
        assert torch.equal(weights[1][key], value), key


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("one dies", "process 1 of this training job ended with exit code 9"),
        ("one raises", "out of memory, say"),
    ],
)
def test_a_process_that_fails_ends_the_job_and_the_log_says_why(trouble, words, tmp_path):
    code, said = end(start(tmp_path, {"job": LEARNT["full"]}, 2, trouble), tmp_path)
    assert code == 1
    assert words in said
    assert words in (tmp_path / "log").read_text()
    assert not (tmp_path / "job" / "run.json").exists()


@pytest.mark.slow
def test_a_users_mistake_is_said_once(tmp_path):
    code, said = end(start(tmp_path, {"job": LEARNT["full"]}, 2, "all refuse"), tmp_path)
    assert code == 1
    assert said.count("One sentence.") == (tmp_path / "log").read_text().count("One sentence.") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "sent"),
    [
        ("stuck", [signal.SIGKILL]),
        ("stuck", [signal.SIGTERM, signal.SIGTERM]),  # the first waits for the end of the step
        ("loads", [signal.SIGTERM]),
        ("loads", [signal.SIGUSR1]),
    ],
)
def test_no_process_outlives_the_first(where, sent, tmp_path):
    process = start(tmp_path, {"job": LEARNT["full"]}, 2, where)
    wait_until(lambda: len(list(tmp_path.glob(f"{where}_*"))) == 2, 300)
    other = int((tmp_path / "pid_1").read_text())
    assert alive(other)
    process.send_signal(sent[0])
    for again in sent[1:]:
        time.sleep(2 * stopping.ONE)
        assert process.poll() is None
        process.send_signal(again)
    assert process.wait(timeout=120) == (-sent[0] if sent == [signal.SIGKILL] else 128 + sent[0])
    assert (f"stopped by {sent[0].name}\n" in (tmp_path / "log").read_text()) == (where == "loads")
    wait_until(lambda: not alive(other), 60)
    process.stdout.close()


def start_on_nodes(folder, settings, processes, trouble=""):
    """Start training jobs as srun does on two nodes, of which each runs so many processes."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = str(free.getsockname()[1])
    common = {several_nodes.NODES: "2", several_nodes.PORT: port, "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1"}
    numbers = zip("01", processes, strict=True)
    return [start(folder, settings, n, trouble, **common, SLURM_NODEID=node) for node, n in numbers]


@pytest.mark.slow
def test_two_nodes_have_the_learning_curve_of_one_process(learnt, tmp_path):
    """The second node has fewer GPUs than the first: both run as many processes as it can."""
    assert end_on_nodes(start_on_nodes(tmp_path, {"uneven": LEARNT["uneven"]}, (3, 2)), tmp_path) == [0, 0]
    record = read_json(tmp_path / "uneven" / "run.json")
    assert record["processes"] == 4
    found = read_tsv(tmp_path / "uneven" / "history.tsv"), np.load(tmp_path / "uneven" / "logits.npy"), record
    assert_same(learnt[1][0]["uneven"], found)


@pytest.mark.slow
def test_nodes_that_are_told_to_end_save_together(tmp_path):
    processes = start_on_nodes(tmp_path, {"job": LEARNT["full"]}, (1, 1), "told")
    assert end_on_nodes(processes, tmp_path) == [128 + signal.SIGTERM] * 2
    assert (tmp_path / "log").read_text().count("stopped by SIGTERM at step 7, checkpoint saved") == 1


def test_a_job_stays_on_one_node_where_it_has_no_others(monkeypatch):
    monkeypatch.setattr(os, "execvp", lambda *command: pytest.fail(f"it called {command}"))
    monkeypatch.setenv("PATH", "")
    for name in ("SLURM_JOB_ID", "SLURM_JOB_NUM_NODES", several_nodes.NODES):
        monkeypatch.delenv(name, raising=False)
    several_nodes.spread({"nodes": 2, "gpu": 2}, 1)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    several_nodes.spread({"nodes": 1, "gpu": 2}, 1)
    several_nodes.spread({}, 1)
    with pytest.raises(UserError, match="2 nodes and starts itself on each with srun, which is not found"):
        several_nodes.spread({"nodes": 2, "gpu": 2}, 1)
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "1")
    several_nodes.spread({"nodes": 2, "gpu": 2}, 1)


def wait_until(true, seconds):
    """Wait until something is true, or fail."""
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.1)


def test_a_dead_process_ends_a_first_one_that_hangs(monkeypatch):
    """A process waits for ever for a dead one's share; the watch ends it from outside."""
    ended = []
    monkeypatch.setattr(distributed, "GRACE", 0.1)
    monkeypatch.setattr(distributed.os, "_exit", lambda code: (ended.append(code), over.set()))
    over, others = threading.Event(), [subprocess.Popen([sys.executable, "-c", f"exit({code})"]) for code in (0, 3)]
    distributed._watch_others(others, over)
    assert ended == [1]
    assert distributed._ended(others) == "process 2 of this training job ended with exit code 3"


@pytest.mark.parametrize(("asked", "here", "processes"), [(0, 4, 1), (1, 4, 1), (2, 4, 2), (4, 2, 2), (2, 0, 1)])
def test_one_process_for_each_gpu_that_was_asked_for_and_is_here(asked, here, processes, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: here)
    with caplog.at_level("WARNING", "dnatune"):
        assert distributed.processes_for(asked) == processes
    assert ("4 GPUs were asked for and 2 are here" in caplog.text) == (asked == 4)


@pytest.mark.parametrize(("slurm_job", "asked"), [("7", 2), ("7", 0), (None, 1)])
def test_a_job_on_a_cluster_says_that_it_found_no_gpu(monkeypatch, caplog, slurm_job, asked):
    """On a laptop a model that would take a GPU may train without one, and nobody need hear of it."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    if slurm_job:
        monkeypatch.setenv("SLURM_JOB_ID", slurm_job)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert distributed.processes_for(asked) == 1
    told = f"2 GPUs were asked for and torch {torch.__version__} finds none (CUDA_VISIBLE_DEVICES: 0,1)"
    assert (told in caplog.text) == bool(slurm_job and asked)
    assert bool(caplog.text) == bool(slurm_job and asked)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_shares_of_a_batch_are_all_of_it(size, monkeypatch):
    lengths = np.random.default_rng(0).integers(5, 50, size=23)
    whole = list(LengthGroupedBatches(lengths, 4, seed=1))
    monkeypatch.setattr(distributed, "size", lambda: size)
    shares = []
    for rank in range(size):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(list(SharedBatches(lengths, 4, seed=1)))
    for number, batch in enumerate(whole):
        parts = [share[number] for share in shares]
        assert all(parts)  # a process without work could not answer the others
        if len(batch) >= size:
            assert sorted(i for part in parts for i in part) == sorted(batch)
        else:
            assert all(part == batch for part in parts)


def test_scores_are_computed_alone_where_there_is_one_process():
    records = np.array([5, 2, 9])
    np.testing.assert_array_equal(distributed.by_shares(records, lambda part: part[:, None] * 2), records[:, None] * 2)
