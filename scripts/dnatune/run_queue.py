"""What SLURM's queue says of a run, and whether the Snakemake that works on it lives.

In: the plan of a run (``run_plan``). On a machine without SLURM nothing is asked and nothing is missing.
"""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from dnatune import cluster_runs
from dnatune.cluster_runs import ClusterJob

GUARD = "scripts/resume_run.py"
PATIENCE = 5.0  # minutes of silence before Snakemake is said to wait for nothing


@dataclass(frozen=True)
class Queue:
    """The jobs of a run that SLURM remembers, and what is wrong with them in whole sentences."""

    jobs: tuple[ClusterJob, ...] = ()
    warnings: tuple[str, ...] = ()


NOT_ASKED = Queue()


def snakemake_of(plan: dict[str, Any]) -> psutil.Process | bool | None:
    """Return the living Snakemake of a plan, False if it is gone, None if it was started on another machine."""
    if plan.get("host") != platform.node() or not isinstance(plan.get("pid"), int):
        return None
    try:
        process = psutil.Process(plan["pid"])
        # It keeps its log open; the number alone may be another process's by now.
        opened = {os.path.realpath(file.path) for file in process.open_files()}
    except (psutil.Error, ValueError, OverflowError):
        return False
    return process if os.path.realpath(str(plan.get("log"))) in opened else False


def queue_of(plan: dict[str, Any], limit: float) -> Queue:
    """Ask squeue, for at most ``limit`` seconds, if the run is one on a cluster and squeue is there."""
    log = Path(str(plan.get("log", "")))
    run = cluster_runs.run_of(log) if log.is_file() and shutil.which("squeue") else None
    if run is None:
        return NOT_ASKED
    jobs = cluster_runs.jobs_of([run], limit)
    if jobs is None:
        return Queue(warnings=(f"SLURM did not answer within {limit:g} seconds; what the queue holds is not known.",))
    return Queue(tuple(jobs), tuple(_wrong(plan, run, jobs)))


def _wrong(plan: dict[str, Any], run: cluster_runs.Run, jobs: list[ClusterJob]) -> list[str]:
    process, left = snakemake_of(plan), [job for job in jobs if not job.ended]
    found = []
    if process is False and left and not run.ended():
        found.append(f"Snakemake is gone and {len(left)} of its jobs are still in SLURM; go on with {GUARD}.")
    if process:
        preempted = [str(job) for job in jobs if job.state == "PREEMPTED"]
        if preempted:
            found.append(f"Preempted for good, which Snakemake does not notice: {', '.join(preempted[:3])}.")
        silent = cluster_runs.silent_minutes(run)
        if cluster_runs.waits_for_nothing(run, process, jobs) and silent > PATIENCE:
            found.append(
                f"Snakemake has waited for {silent:.0f} minutes for jobs that SLURM has ended; stop it and go on "
                f"with {GUARD}."
            )
    return found
