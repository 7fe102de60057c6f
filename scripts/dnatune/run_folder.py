"""The files of a run, read forgivingly: any of them may be half-written, or vanish while it is looked at.

In: the folder of a run. Out: what its plan, Snakemake's notes and log, and the logs of its jobs say; ``run_status``
puts it together.
"""

from __future__ import annotations

import json
import os
import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dnatune.cluster_runs import ClusterJob

PLAN = "logs/plan.json"
TAIL = 8192  # bytes of a log that are looked at


class RunFolder:
    """The files of one run, read forgivingly."""

    def __init__(self, folder: str | Path, now: float | None = None, jobs: Iterable[ClusterJob] = ()) -> None:
        self.folder = Path(folder)
        self.now = time.time() if now is None else now
        self.plan = read_json(self.folder / PLAN)
        directory = self.plan.get("directory")
        self.snakemake = Path(directory) / ".snakemake" if isinstance(directory, str) else None
        self.story = read_text(Path(str(self.plan.get("log", ""))))
        self.failures = failures_in(self.story)
        self.jobs = {job.work: job for job in jobs if not job.ended}

    def snakemake_does(self, alive: bool | None) -> str:
        """Return in words whether Snakemake is at work on this run."""
        log, host = self.plan.get("log"), self.plan.get("host")
        if not log:
            return "No plan was found, so what Snakemake does is not known: the run was not started yet, or long ago."
        where = f"its log: {shortest(Path(str(log)))}"
        if "Complete log(s):" in self.story:
            badly = re.search(r"^(Exiting because a job|WorkflowError)", self.story, re.M)
            return f"Snakemake has ended{', not well' if badly else ''}; {where}"
        if alive is None:
            return f"Snakemake was started on {host}, and only there it can be seen whether it lives; {where}"
        if alive:
            return f"Snakemake runs (process {self.plan.get('pid')}); {where}"
        return f"Snakemake is gone without having come to its end: start it again; {where}"

    def names(self, key: str, *found: str) -> list[str]:
        """Return names of the plan, or those for which folders (patterns below the run's folder) are found."""
        planned = self.plan.get(key)
        if isinstance(planned, list):
            return [str(name) for name in planned]
        return sorted({p.name for pattern in found for p in matching(self.folder, pattern) if p.name[0] != "."})

    def folds(self) -> list[int]:
        """Return the numbers of the folds."""
        planned = self.plan.get("folds")
        if isinstance(planned, list) and all(isinstance(fold, int) for fold in planned):
            return planned
        paths = matching(self.folder, "logs/*/*/fold_*") + matching(self.folder, "models/*/fold_*")
        found = {re.match(r"fold_(\d+)", path.name) for path in paths}
        return sorted({int(match[1]) for match in found if match})

    def parts(self) -> list[str]:
        """Return the parts of the learning curve, as soon as anything of one is there: not every run makes one."""
        begun = exists(self.folder / "logs" / "learning_curve")
        return self.names("parts", "learning_curve/*_percent") if begun else []

    def marked(self, output: str) -> dict[str, Any] | None:
        """Return what Snakemake notes of an output that it makes just now, or None.

        It holds the number of a job that waits on a cluster, and nothing while one runs.
        """
        if self.snakemake is None:
            return None
        name = urlsafe_b64encode(f"{self.plan.get('folder')}/{output}".encode()).decode()
        parts = [name[i : i + 254] for i in range(0, len(name), 254)]
        path = self.snakemake.joinpath("incomplete", *("@" + part for part in parts[:-1]), parts[-1])
        try:
            return {**read_json(path), "since": path.stat().st_mtime}
        except OSError:
            return None

    def checkpoint(self, place: str) -> int | None:
        """Return the step of the newest whole checkpoint of a training job."""
        marks = matching(self.folder, f"{place}/*/*/complete")
        steps = [path.parent.name.rpartition("-")[2] for path in marks]
        return max((int(step) for step in steps if step.isdigit()), default=None)

    def failed(self, log: str) -> bool:
        """Say whether the last call of Snakemake saw the job with this log fail."""
        return f"{self.plan.get('folder')}/{log}" in self.failures

    def last_words(self, log: str) -> tuple[str, ...]:
        """Return why the job with this log ended: what SLURM said if it did not take the job, or else the log's end."""
        refusal, _ = self.failures.get(f"{self.plan.get('folder')}/{log}", ((), None))
        return refusal or last_words(self.folder / log)

    def slurms_words(self, log: str) -> tuple[str, ...]:
        """Return why SLURM ended the job with this log, as its own log says it; nothing if it did not."""
        _, path = self.failures.get(f"{self.plan.get('folder')}/{log}", ((), None))
        told = re.findall(r"^slurmstepd\S* (error: .*)$", read_text(path, TAIL), re.M) if path else []
        return (f"SLURM says in {shortest(path)}:", *dict.fromkeys(told[:3])) if path and told else ()


def failures_in(story: str) -> dict[str, tuple[tuple[str, ...], Path | None]]:
    """Return the logs of the jobs that failed by Snakemake's log.

    Each with what SLURM said if it did not take the job, and with SLURM's own log if it did.
    """
    found = {}
    for told in re.findall(r"^Error in rule .*\n(?:(?!\[|Error in rule ).*\n)*", story, re.M):
        refused = re.search(r"sbatch failed\. The error message was '(.*?)'\.?$", told, re.M | re.S)
        if logs := re.search(r"^ +log: (.+?)(?:, (\S+))? \(check log", told, re.M):
            refusal = ("SLURM did not take it:", *refused[1].splitlines()) if refused else ()
            found[logs[1]] = (refusal, Path(logs[2]) if logs[2] else None)
    return found


def read_text(path: Path, tail: int | None = None) -> str:
    """Return the text of a file, or of its last bytes; nothing if it is not there."""
    try:
        with open(path, "rb") as handle:
            if tail:
                handle.seek(max(0, os.fstat(handle.fileno()).st_size - tail))
            return handle.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def read_json(path: Path) -> dict[str, Any]:
    """Return a mapping from a JSON file; an empty one if it is missing, half-written or something else."""
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def exists(path: Path) -> bool:
    """Say whether a file or folder is there; one that may not be looked at is not."""
    try:
        return path.exists()
    except OSError:
        return False


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return the paths below a folder that match a pattern; none if a folder among them vanishes meanwhile."""
    try:
        return list(folder.glob(pattern))
    except OSError:
        return []


def last_words(log: Path) -> tuple[str, ...]:
    """Return the lines of a log that say why its job ended: the error, or the last lines."""
    lines = [line.rstrip() for line in read_text(log, TAIL).splitlines() if line.strip()]
    errors = [i for i, line in enumerate(lines) if "Error: " in line]
    return tuple(lines[errors[-1] :][:3] if errors else lines[-3:])


def shortest(path: Path) -> Path:
    """Return a path as seen from the working directory, if it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
