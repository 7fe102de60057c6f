"""The guard knows what earlier runs have left, and whether their Snakemake lives."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import resume_run
from dnatune import cluster_runs
from dnatune.cluster_runs import ClusterJob, Run
from dnatune.errors import UserError

ROOT = Path(__file__).parents[2]
LOG = """
SNAKEMAKE
  Host: login1
SLURM run ID: {id}
"""


def write_log(folder: Path, name: str, text: str) -> Path:
    """Write a log of Snakemake."""
    path = folder / ".snakemake" / "log" / f"{name}.snakemake.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def command(folder: Path, name: str, text: str) -> None:
    """Write a command that stands in for one of SLURM's."""
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Path:
    """A folder of commands, first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_runs_on_the_cluster_are_known_by_their_logs(tmp_path):
    write_log(tmp_path, "2026-01-01", LOG.format(id="aa-1"))
    write_log(tmp_path, "2026-01-02", "SNAKEMAKE\n  Host: login1\nProvided cores: 2\n")
    write_log(tmp_path, "2026-01-03", LOG.format(id="my_bb-2") + "Complete log(s): here\n")
    runs = cluster_runs.runs_in(tmp_path)
    assert [(run.id, run.host, run.ended()) for run in runs] == [("aa-1", "login1", False), ("my_bb-2", "login1", True)]


def test_jobs_of_all_runs_are_asked_for_at_once(tmp_path, slurm):
    runs = [Run(tmp_path, "aa-1", ""), Run(tmp_path, "bb-2", "")]
    answer = "echo '7|RUNNING|rule_train_wildcards_full_0'; echo '8|PREEMPTED|rule_tokens'"
    command(slurm, "squeue", f'case "$*" in *--name=aa-1,bb-2*) {answer};; *) exit 1;; esac')
    running, preempted = cluster_runs.jobs_of(runs)
    assert (str(running), running.ended) == ("train full_0 (job 7, RUNNING)", False)
    assert (str(preempted), preempted.ended) == ("tokens (job 8, PREEMPTED)", True)
    assert cluster_runs.jobs_of([]) == []


def test_no_answer_of_slurm_is_not_an_empty_queue(tmp_path, slurm):
    command(slurm, "squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    assert cluster_runs.jobs_of([Run(tmp_path, "aa-1", "")]) is None


def test_a_machine_without_slurm_is_said_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="squeue: not found on PATH"):
        cluster_runs.jobs_of([Run(tmp_path, "aa-1", "")])


def test_the_living_snakemake_of_a_run_is_found_and_seen_to_wait_for_nothing(tmp_path):
    log = write_log(tmp_path, "2026-01-01", LOG.format(id="aa-1"))
    (run,) = cluster_runs.runs_in(tmp_path)
    assert run.process() is None
    code = f"import sys, time; kept = open({str(log)!r}, 'a'); print('open', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as snakemake:
        try:
            snakemake.stdout.readline()
            process = run.process()
            assert process.pid == snakemake.pid
            ended, running = ClusterJob("1", "COMPLETED", "tokens"), ClusterJob("2", "RUNNING", "train full_0")
            assert cluster_runs.waits_for_nothing(run, process, [ended])
            assert not cluster_runs.waits_for_nothing(run, process, [ended, running])
        finally:
            cluster_runs.kill(psutil.Process(snakemake.pid))
    assert run.process() is None


def test_looks_at_the_queue_without_news_are_no_progress(tmp_path):
    log = write_log(tmp_path, "2026-01-01", LOG.format(id="aa-1"))
    (run,) = cluster_runs.runs_in(tmp_path)
    before = run.lines()
    with open(log, "a") as handle:
        handle.write("Falling back to 'sacct' for status queries (MinJobAge=60; threshold=180s).\n")
    assert run.lines() == before
    with open(log, "a") as handle:
        handle.write("Finished jobid: 3 (Rule: train)\n")
    assert run.lines() == before + 1


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)", True),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", True),
        ("sbatch: error: Batch job submission failed: Requested node configuration is not available", False),
    ],
)
def test_a_refused_submission_is_told_from_one_that_nobody_answered(tmp_path, error, lost):
    failed = f"message: SLURM sbatch failed. The error message was '{error}'.\n    sbatch call:\n"
    log = write_log(tmp_path, "2026-01-01", LOG.format(id="aa-1") + failed)
    assert Run(log, "aa-1", "").lost_the_controller() is lost


def test_without_accounting_sacct_is_answered_by_squeue(slurm):
    query = pytest.importorskip("snakemake_executor_plugin_slurm.job_status_query")
    command(slurm, "squeue", 'echo "$*"')
    command(slurm, "sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert not cluster_runs.accounting_works()
    shim = ROOT / "profiles" / "slurm" / "without_accounting"
    words = shlex.split(query.query_job_status_sacct("aa-1"))
    done = subprocess.run([shim / words[0], *words[1:]], capture_output=True, text=True, check=True)
    # What the plugin itself asks squeue, word for word.
    asked = shlex.split(query.query_job_status_squeue("aa-1"))[1:]
    assert sorted(done.stdout.split()) == sorted(" ".join(asked).replace("--format=", "--format ").split())


@pytest.mark.parametrize(
    "words",
    [
        ["-d", "{there}"],
        ["-d{there}"],
        ["--directory", "{there}"],
        ["--directory={there}"],
        ["--direc={there}"],
        ["-pd", "{there}"],
        ["--directory=elsewhere", "-d", "{there}"],
        ["--forcerun", "train", "-d", "{there}", "--", "--directory=a_target"],
        ["--profile", "{profile}"],
    ],
    ids=" ".join,
)
def test_the_folder_is_that_of_snakemake(tmp_path, words):
    # Else the jobs of an earlier run are not seen, and each gets a second one beside it.
    there, profile = tmp_path / "work", tmp_path / "profile"
    profile.mkdir()
    (profile / "profile.yaml").write_text(f'directory: "{there}"\n')
    found = resume_run.asked_of([word.format(there=there, profile=profile) for word in words])
    assert found.directory == there


def test_without_a_word_the_folder_is_this_one():
    assert resume_run.asked_of(["--configfile", "my.yaml"]).directory == Path.cwd()


def test_what_snakemake_would_refuse_starts_nothing(capsys):
    with pytest.raises(SystemExit) as end:
        resume_run.asked_of(["--directry=here"])
    assert end.value.code == 2
    assert "--directry" in capsys.readouterr().err


def guard(folder: Path, *arguments: str) -> str:
    """Return what the guard, called in a folder, and its Snakemake say."""
    command = [sys.executable, ROOT / "scripts" / "resume_run.py", *arguments]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout


def test_the_guard_finds_jobs_and_disturbs_nothing_with_a_dry_run(tmp_path, slurm):
    there, here = tmp_path / "there", tmp_path / "here"
    here.mkdir()
    write_log(there, "2026-01-01", LOG.format(id="aa-1"))
    command(slurm, "squeue", "echo '7|PENDING|rule_train_wildcards_full_0'")
    command(slurm, "scancel", f"touch {tmp_path}/cancelled")
    assert "its jobs in SLURM: train full_0 (job 7, PENDING)" in guard(here, "--check", f"--directory={there}")
    (there / "Snakefile").write_text("rule all:\n    output: 'made'\n    shell: 'touch made'\n")
    told = guard(here, f"-d{there}", "--snakefile", str(there / "Snakefile"), "--cores", "1", "-n")
    assert "rule all" in told, told
    assert not (tmp_path / "cancelled").exists()
