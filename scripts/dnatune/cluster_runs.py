"""What Snakemake's runs on a SLURM cluster have left: their jobs in the queue, and whether Snakemake still lives.

Snakemake names the jobs of a run by an id that it writes to its log; it never takes them up again itself.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from dnatune.errors import UserError

# States in which SLURM has still something to do for a job; in all others it has ended.
WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
RUNNING = frozenset({"RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"})
NO_ANSWER = re.compile("Unable to contact slurm controller|Socket timed out|[Cc]onnection refused")
LOGS = 50  # older runs have no jobs any more


@dataclass(frozen=True)
class Run:
    """One call of Snakemake: its log, the id that names its jobs in SLURM, and the machine it was started on."""

    log: Path
    id: str
    host: str

    def process(self) -> psutil.Process | None:
        """Return the Snakemake of this run if it still lives on this machine: it keeps its log open."""
        for process in psutil.process_iter():
            try:
                if any(Path(file.path) == self.log for file in process.open_files()):
                    return process
            except psutil.Error:
                continue
        return None

    def ended(self) -> bool:
        """Say whether Snakemake came to its end and said so."""
        return "Complete log(s):" in self.log.read_text("utf-8", errors="replace")

    def lines(self) -> int:
        """Return how much Snakemake has told, not counting what it says at each look at a queue without news."""
        text = self.log.read_text("utf-8", errors="replace")
        return sum(not line.startswith("Falling back to 'sacct'") for line in text.splitlines())

    def lost_the_controller(self) -> bool:
        """Say whether a submission failed because SLURM did not answer."""
        failed = re.findall(r"SLURM sbatch failed\. The error message was '([^']*)", self.log.read_text("utf-8"))
        return any(
            re.search(r"Unable to contact slurm controller|Socket timed out|onnection refused", e) for e in failed
        )


@dataclass(frozen=True)
class ClusterJob:
    """A job in SLURM's queue: its number, state and what it does."""

    number: str
    state: str
    work: str

    @property
    def ended(self) -> bool:
        """Whether SLURM has done with it."""
        return self.state not in WAITING | RUNNING

    def __str__(self) -> str:
        return f"{self.work} (job {self.number}, {self.state})"


def runs_in(folder: Path) -> list[Run]:
    """Return the runs on a cluster that were started for a working directory, the newest last."""
    found = []
    for log in sorted((folder / ".snakemake" / "log").glob("*.snakemake.log"))[-LOGS:]:
        if run := run_of(log):
            found.append(run)
    return found


def run_of(log: Path) -> Run | None:
    """Return the run on a cluster that wrote a log of Snakemake, or None if it was none."""
    text = log.read_text("utf-8", errors="replace")
    run = re.search(r"^SLURM run ID: (\S+)$", text, re.M)
    host = re.search(r"^  Host: (\S+)$", text, re.M)
    return Run(log.resolve(), run[1], host[1] if host else "") if run else None


def jobs_of(runs: Iterable[Run], limit: float = 120) -> list[ClusterJob] | None:
    """Return the jobs of runs that SLURM remembers, ended ones too; None if it does not answer in ``limit`` seconds."""
    names = ",".join(run.id for run in runs)
    if not names:
        return []
    command = ["squeue", "--noheader", "--states=all", "--format=%i|%T|%k", f"--name={names}"]
    done = _slurm(command, limit)
    if done.returncode:
        return None
    rows = [line.strip().split("|", 2) for line in done.stdout.splitlines() if line.strip()]
    return [ClusterJob(number, state, _work(comment)) for number, state, comment in rows]


def cancel(jobs: Iterable[ClusterJob]) -> None:
    """Take jobs out of the queue, or end them."""
    if numbers := [job.number for job in jobs]:
        _slurm(["scancel", *numbers])


def accounting_works() -> bool:
    """Say whether sacct, which Snakemake falls back to where there is one, gives answers on this cluster."""
    return not shutil.which("sacct") or "disabled" not in _slurm(["sacct", "-X", "--noheader"]).stderr


def waits_for_nothing(run: Run, process: psutil.Process, jobs: list[ClusterJob]) -> bool:
    """Say whether a living Snakemake has no job left, neither in SLURM nor on this machine."""
    try:
        return all(job.ended for job in jobs) and not process.children()
    except psutil.NoSuchProcess:
        return False


def kill(process: psutil.Process) -> None:
    """End a Snakemake and the small steps it runs itself; jobs in SLURM stay."""
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=30)


def silent_minutes(run: Run) -> float:
    """Return how long Snakemake has said nothing."""
    return (time.time() - run.log.stat().st_mtime) / 60


def _work(comment: str) -> str:
    """Return what a job does from the plugin's comment, e.g. ``train full_0``."""
    return comment.removeprefix("rule_").replace("_wildcards_", " ")


def _slurm(command: list[str], limit: float = 120) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except FileNotFoundError:
        raise UserError(
            f"Command {command[0]}: not found on PATH; expected the commands of SLURM; use a login node of the cluster."
        ) from None
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "no answer")
