"""The plan of a run: what the last call of Snakemake set out to make, written as it starts, read by ``run_status``."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

from dnatune.files import write_json

PLAN = "logs/plan.json"


def write_plan(folder: Path, log: str, **parts: Any) -> None:
    """Write ``parts`` (folds, models, ...) with the Snakemake that works on them: its process, machine and log."""
    here = {"folder": str(folder), "directory": str(Path.cwd()), "log": str(log)}
    process = {"host": platform.node(), "pid": os.getpid(), "started": time.time()}
    write_json(folder / PLAN, {**parts, **here, **process})
