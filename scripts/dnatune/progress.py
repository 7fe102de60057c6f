"""What a training job tells of itself while it runs: a small JSON file beside its log, which ``run_status`` reads.

It is written anew every few seconds, by a thread, also while nothing new is known: a file that stands still is that
of a job that was killed. Nothing that goes wrong here ever disturbs the job.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from dnatune.errors import UserError
from dnatune.several_nodes import is_first

SUFFIX = ".progress.json"
EVERY = 15.0  # seconds between two writings; a hundred jobs may share a file system


class ProgressFile:
    """A context in which figures are kept up to date in a file; without a path nothing is written.

    Its state is ``starting`` at first, then what ``tell`` says, and in the end ``done``, ``failed`` or ``stopped``.
    An attempt is counted on from a file in which an earlier one did not come to its end.
    """

    def __init__(self, path: str | Path | None = None, every: float = EVERY) -> None:
        self.path = None if path is None else Path(path)
        self.every = every
        self.figures: dict[str, Any] = {}
        self._over = threading.Event()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None

    @classmethod
    def beside(cls, log: str | Path) -> ProgressFile:
        """Return the file of the job with this log; of several processes that share a job only the first has one."""
        return cls(Path(log).with_suffix(SUFFIX) if is_first() else None)

    def __enter__(self) -> ProgressFile:
        if self.path is not None:
            self.figures = {
                "state": "starting",
                "attempt": self._attempt(),
                "started": time.time(),
                "every": self.every,
                "host": platform.node(),
                "pid": os.getpid(),
                "slurm_job": os.environ.get("SLURM_JOB_ID"),
            }
            self.write()
            self._thread = threading.Thread(target=self._beat, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        if isinstance(error, Exception):
            said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self.tell(state="failed", error=said)
        else:
            self.tell(state="stopped" if error else "done")
        self.write()

    def tell(self, **figures: Any) -> None:
        """Set figures; they stand in the file at its next writing."""
        self.figures = {**self.figures, **figures}

    def write(self) -> None:
        """Write the file now, whole or not at all."""
        if self.path is None:
            return
        partial = self.path.with_name(f".partial-{os.getpid()}-{self.path.name}")
        with self._writing:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                partial.write_text(json.dumps({**self.figures, "time": time.time()}) + "\n", "utf-8")
                partial.replace(self.path)
            except (OSError, ValueError, TypeError):  # a full disk, say: the job has better things to stop for
                with suppress(OSError):
                    partial.unlink()

    def _attempt(self) -> int:
        try:
            before = json.loads(self.path.read_text("utf-8"))
            return 1 if before["state"] == "done" else int(before["attempt"]) + 1
        except (OSError, ValueError, KeyError, TypeError):
            return 1

    def _beat(self) -> None:
        while not self._over.wait(self.every):
            self.write()
