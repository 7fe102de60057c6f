"""On a real SLURM cluster: a run gives what it gives on one machine, whatever happens to its jobs.

Each disturbance stops a training job in its middle (SIGSTOP), so that it strikes before the job has ended however fast
the machine is. Afterwards the report is there, the metrics are those of a run that nothing disturbed, and no fold was
trained from the start again.
"""

from __future__ import annotations

import re
import shutil
import signal
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from subprocess import Popen

import pandas as pd
import pytest

from dnatune.files import read_json, read_tsv
from throwaway import NODE, PATIENCE, Cluster, Job, said, why_not
from workflow_runs import Run, configuration, kill_group, model, simulate, write_inputs

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

EPOCHS = 40
METRICS = "metrics.tsv"
REPORT = "report/report.html"


@pytest.fixture(scope="module")
def machine():
    """One throw-away cluster for all tests."""
    if reason := why_not():
        pytest.skip(reason)
    cluster = Cluster()
    try:
        cluster.command("start")
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
def cluster(machine):
    """The cluster, without jobs and with its nodes in service, whatever the test before has left."""
    machine.tidy()
    yield machine
    machine.tidy()


@pytest.fixture(scope="module")
def undisturbed(machine, tmp_path_factory) -> Run:
    """A run on this machine, without the cluster."""
    folder = tmp_path_factory.mktemp("undisturbed")
    resources = {"threads": 1, "mem_mb": 2000, "runtime": 60}
    # In half precision two processes would round otherwise than one.
    models = {"full": {**model(epochs=EPOCHS, precision="fp32"), "resources": resources}}
    inputs = write_inputs(folder / "input", simulate(of_each=10))
    run = Run(folder / "work", configuration(inputs, models=models, baselines={"methods": []}))
    make_here(run, run.file(METRICS))
    return run


def make_here(run: Run, target: str) -> None:
    """Make a file of a run on this machine, without the cluster."""
    done = run.snakemake(target, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.fixture
def run(undisturbed, tmp_path) -> Run:
    """The same run, done as far as tokens: what comes next is training."""
    copy = replace(undisturbed, directory=tmp_path / "work", config=deepcopy(undisturbed.config))
    shutil.copytree(undisturbed.directory, copy.directory)
    for name in ("models", METRICS, "comparison.tsv", "paired_tests.tsv", "logs/train"):
        path = copy.results / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return copy


def stop_in_the_middle(cluster: Cluster, run: Run, process: Popen[bytes], epoch: int = 3) -> Job:
    """Stop the first training job that has come to ``epoch``, and return it."""

    def find() -> Path | None:
        for log in sorted((run.results / "logs/train/full").glob("fold_*.log")):
            epochs = re.findall(r"epoch (\d+)\.\d+/", log.read_text())
            if epochs and int(epochs[-1]) >= epoch:
                return log
        return None

    fold = cluster.wait_for(find, f"epoch {epoch} of a fold", process).stem.removeprefix("fold_")
    (job,) = cluster.jobs(run, f"train full_{fold}")
    cluster.training_process(run, job).send_signal(signal.SIGSTOP)
    return job


def log_of(run: Run, job: Job) -> str:
    """Return the log of a training job's last attempt."""
    return (run.results / "logs/train/full" / f"fold_{job.work.rsplit('_', 1)[1]}.log").read_text()


def check_the_end(run: Run, undisturbed: Run, job: Job | None) -> None:
    """Compare with the undisturbed run; the disturbed job went on from where it was."""
    assert (run.results / REPORT).is_file()
    assert (run.results / METRICS).read_bytes() == (undisturbed.results / METRICS).read_bytes()
    if job is not None:
        resumed = re.findall(r"goes on from step (\d+)", log_of(run, job))
        assert len(resumed) == 1, log_of(run, job)
        assert int(resumed[0]) > 0
    assert not (run.results / "checkpoints").exists()


def attempts(cluster: Cluster, run: Run) -> dict[str, list[Job]]:
    """Return the jobs that trained each fold, in their order."""
    found: dict[str, list[Job]] = {}
    for job in sorted(cluster.jobs(run, "train"), key=lambda job: int(job.number)):
        found.setdefault(job.work, []).append(job)
    return found


def wait_until_it_has_saved(cluster: Cluster, run: Run, job: Job) -> int:
    """Wait until a job that was told to end says that it saved, and return the step."""

    def find() -> re.Match[str] | None:
        return re.search(r"stopped by SIGTERM at step (\d+), checkpoint saved", log_of(run, job))

    return int(cluster.wait_for(find, "the job to save and end")[1])


def check_the_others(cluster: Cluster, run: Run, job: Job) -> None:
    """No fold but the disturbed one was trained more than once."""
    for work, jobs in attempts(cluster, run).items():
        if work != job.work:
            assert [j.state for j in jobs] == ["COMPLETED"], jobs


def test_a_whole_run_gives_what_it_gives_here_with_one_gpu_per_job(cluster, tmp_path):
    models = {
        "full": {**model(), "resources": {"mem_mb": 2000}},
        "lora": {**model("lora"), "lora": {"r": 4, "alpha": 8}, "resources": {"mem_mb": 2000}},
    }
    inputs = write_inputs(tmp_path / "input", simulate())
    config = configuration(inputs, models=models, split={"folds": 3}, baselines={"methods": ["majority"]})
    here, there = Run(tmp_path / "here", config), Run(tmp_path / "there", config)
    there.directory.mkdir()
    cluster.finish(cluster.start(there))
    make_here(here, here.file(METRICS))
    assert (there.results / REPORT).is_file()
    assert (there.results / METRICS).read_bytes() == (here.results / METRICS).read_bytes()
    assert sorted(p.name for p in (there.results / "final").iterdir()) == ["full", "lora"]

    jobs = cluster.jobs(there)
    assert {job.state for job in jobs} == {"COMPLETED"}
    with_gpu = [job for job in jobs if job.gpus != "none"]
    assert {job.gpus for job in with_gpu} == {"gpu:a100:1"}
    folds = [f"train {name}_{k}" for name in models for k in range(3)]
    others = [f"{rule} {name}" for rule in ("refit", "reference") for name in models]
    assert sorted(job.work for job in with_gpu) == sorted([*folds, *others])
    rules = [job.work.split()[0] for job in jobs if job.gpus == "none"]
    assert sorted(rules) == ["baseline"] * 3 + ["distances"] + ["package"] * 2 + ["tokens"]
    # Times are whole seconds: a job that starts in the second in which another ends does not run beside it.
    at_once = [sum(j.start <= job.start < j.end for j in with_gpu) for job in with_gpu]
    assert max(at_once) == 2, at_once


def test_a_preempted_job_goes_on(cluster, run, undisturbed):
    process = cluster.start(run, run.file(REPORT))
    job = stop_in_the_middle(cluster, run, process)
    cluster.slurm("sbatch", "-p", "high", "--gpus=2", "-t", "1", "-o", "/dev/null", "--wrap", "sleep 5")
    saved = wait_until_it_has_saved(cluster, run, job)
    cluster.wait_for(lambda: cluster.jobs(run, job.work)[0].restarts, "the preemption")
    cluster.finish(process)
    check_the_end(run, undisturbed, job)
    assert f"goes on from step {saved} " in log_of(run, job)
    assert {len(jobs) for jobs in attempts(cluster, run).values()} == {1}  # SLURM repeats the job, not Snakemake
    assert re.search(rf"^ +{job.work[-1]} done .* 2$", cluster.status(run), re.M), cluster.status(run)  # its second try


def test_a_job_that_runs_out_of_time_saves_and_goes_on_with_more(cluster, run, undisturbed):
    process = cluster.start(run, run.file(REPORT))
    job = stop_in_the_middle(cluster, run, process)
    cluster.slurm("scontrol", "update", f"JobId={job.number}", "TimeLimit=2")  # SLURM tells it within half a minute
    saved = wait_until_it_has_saved(cluster, run, job)
    cluster.finish(process)
    check_the_end(run, undisturbed, job)
    assert f"goes on from step {saved} " in log_of(run, job)
    check_the_others(cluster, run, job)
    first, second = attempts(cluster, run)[job.work]
    assert (first.state, second.state, second.minutes) == ("FAILED", "COMPLETED", 2 * job.minutes)


# Loaded by every Python of the run: on SIGUSR2 it takes 2 GB, and waits for what SLURM does.
HUNGRY = """
import signal, time

def take(*_):
    taken = b"x" * 2_000_000_000
    time.sleep(600)

signal.signal(signal.SIGUSR2, take)
"""


def test_a_job_killed_for_memory_is_repeated_with_more(cluster, run, undisturbed, tmp_path, monkeypatch):
    (tmp_path / "hungry").mkdir()
    (tmp_path / "hungry" / "sitecustomize.py").write_text(HUNGRY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hungry"))
    run.config["models"]["full"]["resources"]["mem_mb"] = 1500  # enough, but for the hungry one
    process = cluster.start(run, run.file(REPORT))
    job = stop_in_the_middle(cluster, run, process)
    training = cluster.training_process(run, job)
    training.send_signal(signal.SIGUSR2)
    training.send_signal(signal.SIGCONT)
    cluster.finish(process)
    check_the_end(run, undisturbed, job)
    check_the_others(cluster, run, job)
    first, second = attempts(cluster, run)[job.work]
    assert (first.mem_mb, second.mem_mb) == (1500, 3000)
    # The state is OUT_OF_MEMORY only where the kernel kills, by cgroups, and hits SLURM's own step. Here SLURM looks
    # every two seconds, and its log has the reason.
    assert (first.state, second.state) == ("FAILED", "COMPLETED")
    log = (cluster.folder / "log" / f"slurmd.{NODE}.log").read_text(errors="replace")
    assert re.search(rf"StepId={first.number}\.\d+ exceeded memory limit \(\d+ > {1500 << 20}\), being killed", log)


def test_a_controller_that_is_away_for_a_minute_costs_nothing(cluster, run, undisturbed):
    process = cluster.start(run, run.file(REPORT), guard=True)
    job = stop_in_the_middle(cluster, run, process)
    stopped = cluster.training_process(run, job)
    cluster.command("kill-ctld")
    stopped.send_signal(signal.SIGCONT)  # jobs run on, and end, without the controller
    time.sleep(60)
    cluster.command("start-ctld")
    cluster.finish(process)
    check_the_end(run, undisturbed, None)
    assert {len(jobs) for jobs in attempts(cluster, run).values()} == {1}


def test_a_killed_snakemake_finds_its_running_jobs_again(cluster, run, undisturbed):
    # One GPU is taken, so that one fold runs and the other is in the queue.
    blocker = cluster.slurm("sbatch", "--parsable", "-p", "gpu", "--gpus=1", "-o", "/dev/null", "--wrap", "sleep 3000")
    process = cluster.start(run, run.file(REPORT))
    job = stop_in_the_middle(cluster, run, process)
    (queued,) = (j for j in cluster.jobs(run, "train") if j.number != job.number)
    assert queued.state == "PENDING"
    seen = cluster.status(run)
    assert f"Snakemake runs (process {process.pid})" in seen
    assert re.search(rf"^ +{job.work[-1]} running +[\d.]+/{EPOCHS} ", seen, re.M), seen
    assert re.search(rf"^ +{queued.work[-1]} queued\n +job {queued.number}$", seen, re.M), seen
    kill_group(process)
    assert "Snakemake is gone and 2 of its jobs are still in SLURM" in " ".join(cluster.status(run).split())
    guarded = cluster.start(run, run.file(REPORT), guard=True)
    cluster.wait_for(lambda: "waiting for jobs of an earlier run" in said(run), "the guard to find the jobs")
    cluster.training_process(run, job).send_signal(signal.SIGCONT)
    cluster.slurm("scancel", blocker.strip())
    cluster.finish(guarded)
    check_the_end(run, undisturbed, None)
    # The job that ran was waited for; the one in the queue was taken out and asked for again.
    states = {work: [j.state for j in jobs] for work, jobs in attempts(cluster, run).items()}
    assert states == {job.work: ["COMPLETED"], queued.work: ["CANCELLED", "COMPLETED"]}


def test_a_job_whose_node_goes_down_goes_on(cluster, run, undisturbed):
    process = cluster.start(run, run.file(REPORT))
    job = stop_in_the_middle(cluster, run, process)
    cluster.cut_the_power()
    cluster.wait_for(lambda: cluster.jobs(run, job.work)[0].state == "PENDING", "the job to be back in the queue")
    cluster.bring_back_node()
    cluster.finish(process)
    check_the_end(run, undisturbed, job)


def test_a_job_on_two_nodes_that_is_told_to_end_saves_and_goes_on(cluster, run, undisturbed):
    # The cluster has one node with GPUs: each process has a CPU.
    run.config["models"]["full"]["resources"].update(gpu=0, nodes=2)
    process = cluster.start(run, run.file(REPORT), "--set-resources", "train:slurm_partition=high")
    job = stop_in_the_middle(cluster, run, process)
    cluster.slurm("scancel", "--signal=TERM", job.number)  # as before its time limit
    cluster.training_process(run, job).send_signal(signal.SIGCONT)
    saved = wait_until_it_has_saved(cluster, run, job)
    cluster.finish(process)
    assert f"goes on from step {saved} " in log_of(run, job)
    check_the_others(cluster, run, job)
    assert [j.state for j in attempts(cluster, run)[job.work]] == ["FAILED", "COMPLETED"]
    assert {(j.nodes, j.gpus) for j in cluster.jobs(run, "train")} == {(2, "none")}
    for fold in ("fold_0", "fold_1"):
        assert read_json(run.results / "models/full" / fold / "run.json")["processes"] == 2
        here, there = (read_tsv(r.results / "models/full" / fold / "history.tsv") for r in (undisturbed, run))
        curves = [table.drop(columns="seconds") for table in (here, there)]
        pd.testing.assert_frame_equal(*curves, check_exact=False, rtol=0, atol=1e-3)


def test_a_job_preempted_for_good_is_repeated_by_the_guard(cluster, run, undisturbed):
    # In this partition preemption cancels: for Snakemake such a job never ends.
    arguments = (run.file(REPORT), "--set-resources", "train:slurm_partition=scav")
    process = cluster.start(run, *arguments, guard=True)
    job = stop_in_the_middle(cluster, run, process)
    cluster.slurm("sbatch", "-p", "gpu", "--gpus=2", "-t", "1", "-o", "/dev/null", "--wrap", "sleep 5")
    cluster.wait_for(lambda: cluster.jobs(run, job.work)[0].state == "PREEMPTED", "the preemption")
    shown = " ".join(cluster.status(run).split())
    assert re.search(rf"Preempted for good, which Snakemake does not notice:.*\b{job.work}\b", shown), shown
    cluster.finish(process)
    check_the_end(run, undisturbed, job)
    assert "Snakemake waits for jobs that SLURM has ended" in said(run)


def test_the_guard_leaves_a_living_snakemake_alone_and_says_how_it_stands(cluster, run):
    process = cluster.start(run, run.file(REPORT))
    job = stop_in_the_middle(cluster, run, process)
    guard = cluster.start(run, run.file(REPORT), guard=True)
    assert guard.wait(PATIENCE) == 1
    assert f"Process {process.pid}: found a Snakemake that still works in this folder" in said(run)
    assert process.poll() is None
    cluster.start(run, "--check", guard=True).wait(PATIENCE)
    assert re.search(
        rf"runs \(process {process.pid}\); its jobs in SLURM:.*\b{job.work} \(job {job.number}, RUNNING", said(run)
    )
    kill_group(process)
    cluster.start(run, "--check", guard=True).wait(PATIENCE)
    assert re.search(
        rf"is gone from this machine; its jobs in SLURM:.*\b{job.work} \(job {job.number}, RUNNING", said(run)
    )
