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
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from workflow_runs import REPOSITORY, Run, environment, kill_group

SLURMTEST = Path(os.environ.get("SLURMTEST", REPOSITORY.parent / "shared" / "slurm" / "slurmtest"))
COMMANDS = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "munged")
# In seconds. Many tests may share two cores; what hangs is noticed by its silence.
PATIENCE = 900.0  # for one thing to happen
SILENCE = 240.0  # while the run writes no word into any log
ILLNESS = 90.0  # of a node, or of the controller
BOOT = 15.0  # the controller goes on for 10 s to tell a dead node to end the job, and would reach the job's next start
NODE = "gpu1"
WELL = {"idle", "mix", "alloc", "comp"}
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
    nodes: int
    minutes: int
    mem_mb: int
    restarts: int
    start: float
    end: float


class Cluster:
    """The daemons of one cluster, in a folder of their own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurmtest-")).resolve()
        self.folder.chmod(0o755)  # munge wants to be entered by all
        self.started: list[tuple[subprocess.Popen[bytes], Run]] = []  # by the test that runs

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

    def shown(self, *command: str) -> str:
        """Return what a command of SLURM prints, nothing if it fails."""
        try:
            done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout if done.returncode == 0 else ""

    def jobs(self, run: Run, work: str = "") -> list[Job]:
        """Return all jobs of a run, ended ones too, whose work begins with ``work``, e.g. ``train full_0``."""
        shown = self.slurm("scontrol", "--oneliner", "--detail", "show", "job").splitlines()
        found = [_job(line) for line in shown if f" StdOut={run.directory}/" in line]
        return [job for job in found if job.work.startswith(work)]

    def is_well(self) -> bool:
        """Say whether the controller answers and all nodes are in service: no down, drained, failed or silent one."""
        states = self.shown("sinfo", "--noheader", "--Node", "--format=%t").split()
        return bool(states) and set(states) <= WELL

    def tidy(self) -> None:
        """Leave nothing of a test to the next one: no Snakemake, no job, all nodes in service."""
        for process, _ in self.started:
            if process.poll() is None:
                kill_group(process)
        self.started.clear()
        self.shown("scancel", "--user", str(os.getuid()))
        if self.comes_to(lambda: not self.shown("squeue", "--noheader") and self.is_well(), 60):
            return
        print(self.state())  # pytest shows it if the test has failed
        self.command("stop")
        self.command("start")

    def cut_the_power(self) -> None:
        """Kill all that runs on the GPU node, and tell the controller, which else notices it after a minute."""
        while living := self._daemons_of_the_node() + self._work_on_the_node():
            for process in living:
                with suppress(psutil.Error):
                    process.kill()
            time.sleep(0.1)
        self.slurm("scontrol", "update", f"nodename={NODE}", "state=down", "reason=power")

    def bring_back_node(self) -> None:
        """Start the GPU node's daemon again, some time after its end, and wait until the node is in service."""
        time.sleep(BOOT)
        self.command("start-slurmd")
        self.wait_for(self.is_well, "the node to be back")

    def _daemons_of_the_node(self) -> list[psutil.Process]:
        """Return the node's slurmd and the slurmstepd of its jobs: those that write into its log."""
        log = str(self.folder / "log" / f"slurmd.{NODE}.log")
        found = []
        for process in psutil.process_iter(["name"]):
            with suppress(psutil.Error):
                if process.info["name"].startswith("slurm") and log in {file.path for file in process.open_files()}:
                    found.append(process)
        return found

    def _work_on_the_node(self) -> list[psutil.Process]:
        """Return what this cluster's jobs run on the node."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                here = process.environ()
                if here.get("SLURMD_NODENAME") == NODE and str(self.folder / "bin") in here.get("PATH", ""):
                    found.append(process)
        return found

    def start(self, run: Run, *arguments: str, guard: bool = False) -> subprocess.Popen[bytes]:
        """Start Snakemake on the cluster (under the guard of scripts/resume_run.py), leading its process group."""
        command = run.command("--profile", "slurm", *QUICK, *arguments)
        if guard:
            command = [sys.executable, str(GUARD), "--look", "2", "--grace", "0.5", *command[3:]]
        with open(run.directory / "started.log", "ab") as log:
            process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append((process, run))
        return process

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until Snakemake, or the guard, has done all."""
        self.wait_for(lambda: process.poll() is not None, "Snakemake to end")
        assert process.returncode == 0, self.state()

    def wait_for(self, find: Callable[[], Found], what: str, process: subprocess.Popen[bytes] | None = None) -> Found:
        """Return what ``find`` gives as soon as it gives something.

        Fails, and shows the cluster's state, if that takes longer than PATIENCE, if the run falls silent, a node
        ill, or ``process``, without which it cannot happen any more, ends.
        """
        begun = well = spoken = looked = time.monotonic()
        words = self._words()
        while True:
            ended = process is not None and process.poll() is not None
            if found := find():
                return found
            now = time.monotonic()
            if now - looked > 5:
                looked = now
                if self.is_well():
                    well = now
                if words != (words := self._words()):
                    spoken = now
            times = {"no success": (begun, PATIENCE), "silence": (spoken, SILENCE), "illness": (well, ILLNESS)}
            over = [f"{limit:.0f} s of {name}" for name, (since, limit) in times.items() if now - since > limit]
            if ended or over:
                why = "Snakemake ended" if ended else over[0]
                raise AssertionError(f"{why}: waited {now - begun:.0f} s for {what}\n{self.state()}")
            time.sleep(0.2)

    @staticmethod
    def comes_to(find: Callable[[], object], patience: float) -> bool:
        """Say whether ``find`` gives something in so many seconds."""
        ends = time.monotonic() + patience
        while not (found := find()) and time.monotonic() < ends:
            time.sleep(0.2)
        return bool(found)

    def _words(self) -> int:
        """Return the size of all logs of the runs on the cluster."""
        logs = {path for _, run in self.started for path in run.directory.glob("results/*/logs/**/*.log")}
        logs |= {run.directory / "started.log" for _, run in self.started}
        size = 0
        for path in logs:
            with suppress(FileNotFoundError):  # removed before the job's next attempt
                size += path.stat().st_size
        return size

    def state(self) -> str:
        """Return how the nodes, the queue, the daemons' logs and the last run stand, for the message of a failure."""
        told = {
            "nodes": self.shown("scontrol", "--oneliner", "show", "node"),
            "queue": self.shown("squeue", "--states=all", "--format=%i %T %r %S %N %V"),
        }
        for name in ("slurmctld.log", f"slurmd.{NODE}.log"):
            log = self.folder / "log" / name
            lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
            told[name] = "\n".join([line for line in lines if "pmi" not in line.lower()][-40:])
        if self.started:
            told["Snakemake"] = said(self.started[-1][1])[-6000:]
        return "".join(f"--- {name}\n{text}\n" for name, text in told.items())

    def status(self, run: Run) -> str:
        """Return what scripts/status.py shows of a run."""
        command = [sys.executable, str(STATUS), str(run.results)]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def training_process(self, run: Run, job: Job) -> psutil.Process:
        """Return the process that trains within a job; of several the first."""

        def find() -> psutil.Process | None:
            for process in psutil.process_iter(["cmdline"]):
                script = (process.info["cmdline"] or [""])[-1]
                if script.startswith(str(run.directory)) and script.endswith(".train_fold.py"):
                    with suppress(psutil.Error):
                        seen = process.environ()
                        if (seen.get("SLURM_JOB_ID"), seen.get("SLURM_PROCID")) == (job.number, "0"):
                            return process
            return None

        return self.wait_for(find, f"the process of job {job.number}")


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
        nodes=int(re.match(r"\d+", facts["NumNodes"])[0]),
        minutes=60 * hours + minutes,
        mem_mb=int(memory[1]) * (1024 if memory[2] == "G" else 1),
        restarts=int(facts["Restarts"]),
        start=_seconds(facts["StartTime"]),
        end=_seconds(facts["EndTime"]),
    )


def _seconds(time_text: str) -> float:
    return time.mktime(time.strptime(time_text, "%Y-%m-%dT%H:%M:%S")) if time_text[0].isdigit() else 0.0


def said(run: Run) -> str:
    """Return what Snakemake and the guard have said so far."""
    return (run.directory / "started.log").read_text()
