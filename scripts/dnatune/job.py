"""What every script does around its work: a log that is also seen, GPUs of its own, mistakes said in one sentence.

Takes the object that Snakemake gives to scripts (only ``log``, ``resources`` and ``threads`` are used); gives a context
to work in.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from dnatune import attempts, several_nodes
from dnatune.errors import UserError
from dnatune.own_gpus import own_gpus
from dnatune.stopping import Stopped, listening

LOGGER = logging.getLogger("dnatune")


@contextmanager
def job(snakemake: Any) -> Iterator[logging.Logger]:
    """Log to the rule's log file and to the screen while the block runs; let it see as many GPUs as the rule asks for.

    A ``UserError`` ends the script with exit code 1 and its one sentence; any other exception is a bug of
    ours and keeps its traceback. Both reach the log and the screen, and so does a signal that ends the job (exit code
    128 and its number).
    """
    # What was imported stays to the end: looking through it again and again, and once more in the end, took a second
    # or two of each job.
    gc.enable()
    gc.freeze()
    # Of several processes that share a job (see ``distributed``), the first tells the story, the others their errors.
    first = several_nodes.is_first()
    log_path = snakemake.log[0] if len(snakemake.log) else None
    attempt, done = 1, False
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log_path:
        os.makedirs(os.path.dirname(log_path) or ".", exist_ok=True)
        if first:
            open(log_path, "w").close()
        handlers.append(logging.FileHandler(log_path, mode="a", encoding="utf-8"))
        handlers.append(logging.FileHandler(attempts.attempts_of(log_path), mode="a", encoding="utf-8", delay=True))
    formatter = logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S")
    for handler in handlers:
        handler.setFormatter(formatter)
        handler.setLevel(logging.INFO if first else logging.ERROR)
        LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    # The processes that share a job have the GPUs of the first.
    asked = getattr(snakemake, "resources", None) if first else None
    try:
        if asked is not None:
            several_nodes.spread(asked, snakemake.threads)  # which may begin this script again, once on each node
        if first and log_path and (attempt := attempts.begin(log_path)) > 1:
            LOGGER.info("attempt %d; what was said before stands in %s", attempt, attempts.attempts_of(log_path))
        with listening(), nullcontext() if asked is None else own_gpus(asked.get("gpu", 0)):
            yield LOGGER
        done = True
    except Stopped as stop:
        LOGGER.warning("%s", stop)  # not an error: the first of several processes says it for all
        sys.exit(stop.exit_code)
    except UserError as mistake:
        LOGGER.error("Error: %s", mistake)
        sys.exit(1)
    except Exception:
        LOGGER.error("This is a fault in dnatune, please report it:\n%s", traceback.format_exc())
        sys.exit(1)
    finally:
        for handler in handlers:
            LOGGER.removeHandler(handler)
            handler.close()
        if done and first and log_path:
            attempts.end(log_path, attempt)
