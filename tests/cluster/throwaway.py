"""A throw-away SLURM cluster with two fake GPUs, and runs of the workflow on it.

The cluster is made by ``slurmtest``, found beside the repository (``../shared/slurm``) or where the environment
variable SLURMTEST says.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from workflow_runs import REPOSITORY, Run, environment

SLURMTEST = Path(os.environ.get("SLURMTEST", REPOSITORY.parent / "shared" / "slurm" / "slurmtest"))
COMMANDS = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "munged")
PATIENCE = 900.0  # seconds: many tests may share two cores
GUARD = REPOSITORY / "scripts" / "resume_run.py"
STATUS = REPOSITORY / "scripts" / "status.py"
# Tests do not wait a minute for each look at the queue.
QUICK = ["--slurm-init-seconds-before-status-checks", "4", "--latency-wait", "15"]

Found = TypeVar("Found")


def why_not() -> str:
    """Say why there can be no cluster here, or nothing."""
    path = f"/usr/sbin:/sbin:{os.environ['PATH']}"
    missing = [name for name in COMMANDS if not shutil.which(name, path=path)]
    if missing:
        return f"SLURM is not installed here: {', '.join(missing)} not found"
    if not SLURMTEST.is_file():
        return "the script that starts a throw-away cluster is not here: ../shared/slurm/slurmtest"
    if not importlib.util.find_spec("snakemake_executor_plugin_slurm"):
        return "Snakemake's executor plugin for SLURM is not installed"
    return ""


@dataclass(frozen=True)
class Job:
    """A job as SLURM tells of it; times are in seconds since 1970, 0 if unknown."""

    number: str
    state: str
    work: str
    gpus: str
    minutes: int
    mem_mb: int
    restarts: int
    start: float
    end: float


class Cluster:
    """The daemons of one cluster, in a folder of their own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurmtest-"))
        self.folder.chmod(0o755)  # munge wants to be entered by all

    def command(self, name: str) -> None:
        """Call slurmtest: start, stop, kill-ctld, start-ctld, start-slurmd."""
        port = 20000 + os.getpid() % 4000 * 5
        # Jobs over their memory are killed; the nodes claim more memory than this machine has.
        sizes = {"SLURMTEST_GPUS": "2", "SLURMTEST_CPUS": "3", "SLURMTEST_MEM": "64000", "SLURMTEST_MEMKILL": "1"}
        env = {**os.environ, **sizes, "SLURMTEST_PORT": str(port)}
        done = subprocess.run(
            [SLURMTEST, name, self.folder], env=env, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, timeout=120
        )
        assert done.returncode == 0, done.stdout.decode()

    def remove(self) -> None:
        """End all daemons and jobs, and remove the folder."""
        self.command("stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        """Return an environment whose SLURM commands speak to this cluster."""
        env = environment()
        return {**env, "PATH": f"{self.folder / 'bin'}{os.pathsep}{env['PATH']}"}

    def slurm(self, *command: str) -> str:
        """Call a command of SLURM and return what it prints."""
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def jobs(self, run: Run, work: str = "") -> list[Job]:
        """Return all jobs of a run, ended ones too, whose work begins with ``work``, e.g. ``train full_0``."""
        shown = self.slurm("scontrol", "--oneliner", "--detail", "show", "job").splitlines()
        found = [_job(line) for line in shown if f" StdOut={run.directory}/" in line]
        return [job for job in found if job.work.startswith(work)]

    def node_is_down(self) -> bool:
        """Say whether a test has left the GPU node down."""
        return "down" in self.slurm("sinfo", "--noheader", "--nodes=gpu1", "--format=%t")

    def cut_the_power(self, run: Run) -> None:
        """Set the GPU node down, and kill what runs there for a run: SLURM alone gives processes seconds to end."""
        self.slurm("scontrol", "update", "nodename=gpu1", "state=down", "reason=test")
        for process in psutil.process_iter(["cmdline"]):
            try:
                mine = any(str(run.directory) in word for word in process.info["cmdline"] or [])
                if mine and "SLURM_JOB_ID" in process.environ():
                    process.kill()
            except psutil.Error:
                continue

    def bring_back_node(self) -> None:
        """Take the GPU node into service again; a node that is down for a moment may come back by itself meanwhile."""
        command = ["scontrol", "update", "nodename=gpu1", "state=resume"]
        subprocess.run(command, env=self.environment(), capture_output=True, timeout=120, check=False)
        wait_for(lambda: not self.node_is_down(), "the node to be back")

    def start(self, run: Run, *arguments: str, guard: bool = False) -> subprocess.Popen[bytes]:
        """Start Snakemake on the cluster (under the guard of scripts/resume_run.py), leading its process group."""
        command = run.command("--profile", "slurm", *QUICK, *arguments)
        if guard:
            command = [sys.executable, str(GUARD), "--look", "2", "--grace", "0.5", *command[3:]]
        with open(run.directory / "started.log", "ab") as log:
            return subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def status(self, run: Run) -> str:
        """Return what scripts/status.py shows of a run."""
        command = [sys.executable, str(STATUS), str(run.results)]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def training_process(self, run: Run, job: Job) -> psutil.Process:
        """Return the process that trains within a job."""

        def find() -> psutil.Process | None:
            for process in psutil.process_iter(["cmdline"]):
                words = process.info["cmdline"] or []
                if any(word.startswith(str(run.directory)) and word.endswith(".train_fold.py") for word in words):
                    try:
                        if process.environ().get("SLURM_JOB_ID") == job.number:
                            return process
                    except psutil.Error:
                        continue
            return None

        return wait_for(find, f"the process of job {job.number}")


def _job(line: str) -> Job:
    facts = dict(part.split("=", 1) for part in line.split() if "=" in part)
    comment = re.search(r" Comment=(.*?) (?=\w+=|$)", line + " ")
    hours, minutes, _ = (int(n) for n in re.findall(r"\d+", facts.get("TimeLimit", "0:0:0"))[-3:])
    memory = re.search(r"(\d+)(\w?)$", facts.get("MinMemoryNode", "0"))
    return Job(
        number=facts["JobId"],
        state=facts["JobState"],
        work=(comment[1].strip() if comment else "").removeprefix("rule_").replace("_wildcards_", " "),
        gpus=facts.get("JOB_GRES", "none").replace("(null)", "none"),
        minutes=60 * hours + minutes,
        mem_mb=int(memory[1]) * (1024 if memory[2] == "G" else 1),
        restarts=int(facts["Restarts"]),
        start=_seconds(facts["StartTime"]),
        end=_seconds(facts["EndTime"]),
    )


def _seconds(time_text: str) -> float:
    return time.mktime(time.strptime(time_text, "%Y-%m-%dT%H:%M:%S")) if time_text[0].isdigit() else 0.0


def wait_for(find: Callable[[], Found], what: str, patience: float = PATIENCE) -> Found:
    """Return what ``find`` gives as soon as it gives something."""
    ends = time.monotonic() + patience
    while time.monotonic() < ends:
        if found := find():
            return found
        time.sleep(0.2)
    raise AssertionError(f"waited {patience:.0f} s for {what}")


def finish(process: subprocess.Popen[bytes], run: Run, patience: float = PATIENCE) -> str:
    """Wait until Snakemake has done all; return what it said."""
    try:
        code = process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"no end after {patience:.0f} s: {said(run)[-6000:]}") from None
    assert code == 0, said(run)[-6000:]
    return said(run)


def said(run: Run) -> str:
    """Return what Snakemake and the guard have said so far."""
    return (run.directory / "started.log").read_text()
