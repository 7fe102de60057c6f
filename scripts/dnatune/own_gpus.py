"""Each job its own GPUs, where no scheduler hands them out.

Snakemake counts GPUs but does not say which: two jobs on one machine would both take the first. Here a job takes free
ones by locking a file for each, and sees no others. A lock ends with its process, however that ends.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

LOGGER = logging.getLogger("dnatune")
VARIABLE = "CUDA_VISIBLE_DEVICES"


@contextmanager
def own_gpus(count: int, pause: float = 5.0) -> Iterator[None]:
    """Let the block see ``count`` GPUs that no other job of this user sees; all there are, if they are fewer.

    Waits until so many are free, looking every ``pause`` seconds. A job that asked for none sees none. To be entered
    before torch looks for GPUs.
    """
    before = os.environ.get(VARIABLE)
    seen = visible_gpus() if count else []
    with ExitStack() as locks:
        # Where the GPUs cannot be listed, or SLURM has given this job just what it asked for, nothing is to choose.
        if seen is not None and not ("SLURM_JOB_ID" in os.environ and 0 < len(seen) <= count):
            os.environ[VARIABLE] = ",".join(_locked(seen, min(count, len(seen)), locks, pause))
        try:
            yield
        finally:
            os.environ.pop(VARIABLE, None)
            if before is not None:
                os.environ[VARIABLE] = before


def visible_gpus() -> list[str] | None:
    """Return the names of the GPUs that this process may use, or None if they cannot be listed."""
    if VARIABLE in os.environ:
        return [name.strip() for name in os.environ[VARIABLE].split(",") if name.strip()]
    if not shutil.which("nvidia-smi"):
        return None
    # Not their numbers: CUDA counts the fastest first, nvidia-smi by their place on the bus.
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.split() if done.returncode == 0 else None


def _locked(gpus: list[str], count: int, locks: ExitStack, pause: float) -> list[str]:
    """Return ``count`` of ``gpus``, locked until ``locks`` is closed."""
    # In an allocation of SLURM the numbers of GPUs may count its own only, so they mean nothing to other jobs.
    numbered_by = [os.environ["SLURM_JOB_ID"]] if VARIABLE in os.environ and "SLURM_JOB_ID" in os.environ else []
    folder = Path(tempfile.gettempdir()) / "-".join(["dnatune-gpus", str(os.getuid()), *numbered_by])
    folder.mkdir(mode=0o700, exist_ok=True)
    told = False
    while True:
        with ExitStack() as taken:
            names = []
            for name in gpus:
                if len(names) == count:
                    break
                handle = open(folder / re.sub(r"[^\w-]", "_", name), "w")  # noqa: SIM115 (held until the job ends)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    handle.close()
                else:
                    taken.enter_context(handle)
                    names.append(name)
            if len(names) == count:
                locks.push(taken.pop_all())
                return names
        if not told:
            LOGGER.info("waits for %d free of %d GPUs: other jobs have them", count, len(gpus))
            told = True
        # Not in step with another job that waits for several.
        time.sleep(pause * random.uniform(0.5, 1.5))
