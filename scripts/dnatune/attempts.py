"""What earlier attempts of a job have said.

Snakemake removes a rule's log before it tries again, so that no word is left of the attempt that failed. A second file
beside the log keeps them. It is there while a job runs, and stays where the job was killed, failed, or was tried again.
"""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

HEADER = "=== attempt "
DONE = "=== done\n"


def attempts_of(log: str | Path) -> Path:
    """Return the file that holds all attempts of the job with this log."""
    return Path(log).with_suffix(".attempts.txt")


def begin(log: str | Path) -> int:
    """Write the heading of an attempt, and return its number; what a job has said that came to its end is dropped."""
    path = attempts_of(log)
    before = path.read_text("utf-8", errors="replace") if path.is_file() else ""
    before = "" if before.endswith(DONE) else before
    number = 1 + sum(line.startswith(HEADER) for line in before.splitlines())
    job = os.environ.get("SLURM_JOB_ID")
    where = platform.node() + (f", SLURM job {job}" if job else "")
    with open(path, "a" if before else "w", encoding="utf-8") as file:
        file.write(f"{HEADER}{number}, {time.strftime('%Y-%m-%d %H:%M:%S')}, {where}\n")
    return number


def end(log: str | Path, number: int) -> None:
    """Close the file of a job that came to its end at the attempt ``number``; the first leaves none."""
    path = attempts_of(log)
    if number == 1:
        path.unlink(missing_ok=True)
    else:
        with open(path, "a", encoding="utf-8") as file:
            file.write(DONE)
