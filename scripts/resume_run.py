"""Run Snakemake on a SLURM cluster, or go on with a run whose Snakemake died, and watch over it.

    python scripts/resume_run.py --profile slurm --configfile my.yaml

Every argument but the options below is Snakemake's. Jobs that an earlier Snakemake left are found by the id of its
run: those that run are waited for, those still in the queue are taken out (the new Snakemake asks for them again).
Then the working directory is unlocked and Snakemake started. If it comes to wait for jobs that SLURM has ended long
ago, which happens after faults of the cluster, it is stopped and started again; so it is when SLURM did not answer.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from snakemake.cli import parse_args
from snakemake.exceptions import CliException

from dnatune import cluster_runs
from dnatune.cluster_runs import ClusterJob, Run
from dnatune.errors import UserError

SHIM = Path(__file__).resolve().parents[1] / "profiles" / "slurm" / "without_accounting"
STARTS = 10  # a cluster that needs more has a fault that starting again does not mend


def say(text: str) -> None:
    """Tell the user."""
    print(f"[{time.strftime('%H:%M:%S')}] resume_run: {text}", file=sys.stderr, flush=True)


def arguments() -> tuple[argparse.Namespace, list[str]]:
    """Return our options and the arguments of Snakemake."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--check", action="store_true", help="only say how the runs in this folder stand")
    parser.add_argument("--cancel", action="store_true", help="end running jobs of an earlier run, not wait for them")
    parser.add_argument("--gone", action="store_true", help="the Snakemake on another machine does not live any more")
    parser.add_argument("--grace", type=float, default=10, help="minutes of silence before Snakemake counts as stuck")
    parser.add_argument("--look", type=float, default=30, help="seconds between two looks at the queue")
    # What stands after "--" are targets, whatever they look like.
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options, rest = parser.parse_known_args(sys.argv[1:end])
    return options, [*rest, *sys.argv[end:]]


def asked_of(rest: list[str]) -> argparse.Namespace:
    """Return what Snakemake understands by its arguments, in whatever form and also from profiles.

    ``directory`` is the folder that it works in. Ends with Snakemake's own words where it would refuse them.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):  # it tells which profile it reads, and will tell it again
            _, asked = parse_args(rest)
    except CliException as mistake:
        raise UserError(str(mistake).strip()) from None
    except SystemExit:
        print(said.getvalue(), end="", file=sys.stderr)
        raise
    asked.directory = asked.directory or Path.cwd()
    return asked


def active(jobs: list[ClusterJob]) -> list[ClusterJob]:
    """Return the jobs that SLURM has not ended."""
    return [job for job in jobs if not job.ended]


def told(jobs: list[ClusterJob]) -> str:
    """Return a list of jobs in words."""
    return "none" if not jobs else ", ".join(map(str, jobs[:10])) + (f" and {len(jobs) - 10} more" * (len(jobs) > 10))


def check(runs: list[Run], grace: float) -> None:
    """Say how the runs stand: those whose Snakemake lives here, and those that have left jobs in SLURM."""
    quiet = True
    for run in runs:
        jobs, process = cluster_runs.jobs_of([run]), run.process()
        if jobs is not None and process is None and not active(jobs):
            continue
        quiet = False
        if jobs is None:
            say("SLURM does not answer")
            continue
        if process is None:
            say(f"Snakemake of {run.log.name} is gone from this machine; its jobs in SLURM: {told(active(jobs))}")
            continue
        say(f"Snakemake of {run.log.name} runs (process {process.pid}); its jobs in SLURM: {told(active(jobs))}")
        preempted = [job for job in jobs if job.state == "PREEMPTED"]
        if preempted:
            say(f"preempted for good, and Snakemake does not notice: {told(preempted)}")
        if cluster_runs.waits_for_nothing(run, process, jobs) and cluster_runs.silent_minutes(run) > grace:
            minutes = cluster_runs.silent_minutes(run)
            say(f"it has waited for {minutes:.0f} minutes for jobs that SLURM has ended: stop it and run this script")
    if quiet:
        say("no Snakemake works in this folder on this machine, and none has left jobs in SLURM")


def make_sure_it_is_over(runs: list[Run], options: argparse.Namespace) -> None:
    """Raise UserError if a Snakemake of these runs lives; kill it if it is stuck."""
    for run in runs:
        if process := run.process():
            jobs = cluster_runs.jobs_of([run])
            stuck = jobs is not None and cluster_runs.waits_for_nothing(run, process, jobs)
            if not (stuck and cluster_runs.silent_minutes(run) > options.grace):
                raise UserError(
                    f"Process {process.pid}: found a Snakemake that still works in this folder (log {run.log}); "
                    "expected none; leave it alone, or end it with Ctrl-C first."
                )
            say(f"process {process.pid} waits for jobs that SLURM has ended: it is stopped")
            cluster_runs.kill(process)
    if runs and not options.gone and runs[-1].host != platform.node() and not runs[-1].ended():
        raise UserError(
            f"Log {runs[-1].log}: found a run that was started on {runs[-1].host} and has not said its end; expected "
            f"that machine, where it may still live; go on there, or add --gone if it is dead."
        )


def clear_queue(runs: list[Run], options: argparse.Namespace) -> None:
    """Take waiting jobs of earlier runs out of the queue, and return when no job of theirs runs any more."""
    last = ""
    while True:
        jobs = cluster_runs.jobs_of(runs)
        if jobs is None:
            line = "SLURM does not answer; waiting for it"
        elif not active(jobs):
            return
        else:
            waiting = [job for job in active(jobs) if options.cancel or job.state in cluster_runs.WAITING]
            cluster_runs.cancel(waiting)
            line = f"waiting for jobs of an earlier run: {told(active(jobs))}"
        if line != last:
            say(line)
            last = line
        time.sleep(min(options.look, 10))


def environment() -> dict[str, str]:
    """Return Snakemake's environment: with a sacct that works, as the plugin may come to ask it."""
    path = [str(Path(sys.executable).parent), os.environ["PATH"]]
    if not cluster_runs.accounting_works():
        path.insert(0, str(SHIM))
    return {**os.environ, "PATH": os.pathsep.join(path)}


def newer(folder: Path, known: list[Run]) -> list[Run]:
    """Return the runs that are not among the known."""
    return [run for run in cluster_runs.runs_in(folder) if run not in known]


def watch(process: subprocess.Popen, folder: Path, known: list[Run], options: argparse.Namespace) -> int | None:
    """Return Snakemake's exit code, or None when it was stuck and has been killed; ``known`` are the runs before it."""
    progress, since, warned = -1, time.monotonic(), False
    while True:
        try:
            return process.wait(options.look)
        except subprocess.TimeoutExpired:
            pass
        runs = newer(folder, known)
        jobs = cluster_runs.jobs_of(runs) if runs else None
        if jobs is None:  # nothing submitted yet, or no answer
            since = time.monotonic()
            continue
        preempted = [job for job in jobs if job.state == "PREEMPTED"]
        if preempted and not warned:
            say(f"preempted for good, repeated when the other jobs have ended: {told(preempted)}")
            warned = True
        lines = runs[-1].lines()
        idle = cluster_runs.waits_for_nothing(runs[-1], psutil.Process(process.pid), jobs)
        if lines != progress or not idle:
            progress, since = lines, time.monotonic()
        elif time.monotonic() - since > options.grace * 60:
            say("Snakemake waits for jobs that SLURM has ended: it is started again")
            cluster_runs.kill(psutil.Process(process.pid))
            process.wait()
            return None


def main() -> int:
    """Run Snakemake to its end."""
    options, rest = arguments()
    asked, snakemake = asked_of(rest), [sys.executable, "-m", "snakemake"]
    folder = asked.directory
    runs = cluster_runs.runs_in(folder)
    if options.check:
        check(runs, options.grace)
        return 0
    if asked.dryrun:  # disturbs nothing
        return subprocess.run([*snakemake, *rest], env=environment(), check=False).returncode
    make_sure_it_is_over(runs, options)
    for _ in range(STARTS):
        runs = cluster_runs.runs_in(folder)
        clear_queue(runs, options)
        if any((folder / ".snakemake" / "locks").glob("*")):
            subprocess.run([*snakemake, "--unlock", *rest], env=environment(), check=True)
        process = subprocess.Popen([*snakemake, "--rerun-incomplete", *rest], env=environment())
        signal.signal(signal.SIGTERM, lambda *_, running=process: running.terminate())
        try:
            code = watch(process, folder, runs, options)
        except KeyboardInterrupt:  # Snakemake got it too, and cancels its jobs
            return process.wait()
        if code is not None and code < 0:
            say(f"Snakemake was killed ({signal.Signals(-code).name}); call this again, it takes up what is left")
        new = newer(folder, runs)
        if code is not None and not (code and new and new[-1].lost_the_controller()):
            return code
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as mistake:
        sys.exit(f"Error: {mistake}")
