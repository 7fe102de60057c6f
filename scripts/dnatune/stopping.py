"""A job that is told to end: SIGTERM or SIGUSR1 before a time limit, at a preemption, by ``scancel`` or ``kill``.

While a model trains the signal is only noted: the trainer saves a checkpoint after the step it is in (see
``checkpoints``) and ends. Anywhere else it ends the job at once, as an exception, so that nothing half-written stays.
A second signal ends the job where it stands.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
# Seconds within which signals are one: SLURM sends it to all processes of a job, and srun or a container hands it on.
ONE = 1.0


class Stopped(BaseException):
    """The job was told to end; no ``except Exception`` of a library may hold it up."""

    def __init__(self, number: int, what_then: str = "") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}{what_then}")
        self.exit_code = 128 + number  # what a shell says of a process that died of the signal


class _Heard:
    """What this process has been told; ``waits`` while the trainer sees to it."""

    number: int | None = None
    waits = False


def received() -> int | None:
    """Return the number of the signal that told this process to end, or None."""
    return _Heard.number


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Raise ``Stopped`` within the block when a signal comes; to be entered in the main thread."""
    _Heard.number = None
    # Python calls a handler between two steps of the main thread, and torch may be long at one. A byte in a pipe comes
    # at once, for a thread that ends the job at the second signal whatever the main thread is at.
    heard, told = os.pipe()
    os.set_blocking(told, False)
    before_told = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    before = {number: signal.signal(number, _handle) for number in SIGNALS}
    threading.Thread(target=_listen, args=(heard,), daemon=True).start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_told)
        os.close(told)
        _Heard.number = None


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Only note a signal that comes within the block; raise ``Stopped`` after it, if one came and none saw to it."""
    _Heard.waits = True
    try:
        yield
    finally:
        _Heard.waits = False
    if _Heard.number is not None:
        raise Stopped(_Heard.number)


def _listen(heard: int) -> None:
    first = None
    while byte := os.read(heard, 1):
        if byte[0] in SIGNALS:
            first = first or time.monotonic()
            if time.monotonic() - first > ONE:
                os._exit(128 + byte[0])
    os.close(heard)


def _handle(number: int, frame: object) -> None:
    if _Heard.number is None:
        _Heard.number = number
        if not _Heard.waits:
            raise Stopped(number)
