"""One training job on several GPUs: one process for each, all running the same script.

The job's own process is the first; it starts the others with its own command line, and only it writes files. On several
nodes (see ``several_nodes``) the first process of each starts the others there. Each batch of the configuration is
shared out between all, and the loss is that of the whole batch, so the learning curve is that of one process. A process
that dies ends the job; no process outlives it.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from dnatune.errors import UserError
from dnatune.several_nodes import PORT, RANK, place
from dnatune.stopping import Stopped

LOGGER = logging.getLogger("dnatune")
PROCESSES = "DNATUNE_PROCESSES"  # set by tests: so many processes on a CPU
GRACE = 20.0  # seconds for an error to be told where it happened, before the job is ended from outside
LIMIT = timedelta(hours=2)  # the longest that the first process may do alone: writing a checkpoint

Found = TypeVar("Found")


def rank() -> int:
    """Return the number of this process, 0 for the first or only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Return how many processes share the job."""
    return dist.get_world_size() if dist.is_initialized() else 1


def size_here() -> int:
    """Return how many of them run on this node."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if dist.is_initialized() else 1


def processes_for(gpus: int) -> int:
    """Return how many processes a job that asked for ``gpus`` GPUs here runs: one for each in sight, at least one."""
    if PROCESSES in os.environ:
        return int(os.environ[PROCESSES])
    found = min(gpus, torch.cuda.device_count())
    if 0 < found < gpus:
        LOGGER.warning("Warning: %d GPUs were asked for and %d are here; training goes on with those", gpus, found)
    elif found < gpus and "SLURM_JOB_ID" in os.environ:
        LOGGER.warning(
            "Warning: %d GPUs were asked for and torch %s finds none (CUDA_VISIBLE_DEVICES: %s); training goes on, on "
            "the CPU and much slower (docs/cluster.md, What goes wrong)",
            gpus,
            torch.__version__,
            os.environ.get("CUDA_VISIBLE_DEVICES", "not set"),
        )
    return max(1, found)


@contextmanager
def processes(gpus: int) -> Iterator[None]:
    """Run the block in one process for each GPU that the job asked for, on all its nodes together.

    The other processes run the whole script again from its start, with this block among it.
    """
    here = place()
    each = processes_for(gpus // here.nodes)
    if each == here.nodes == 1:
        yield
        return
    local = int(os.environ.get(RANK, "0"))
    is_first, port = here.node == local == 0, int(os.environ.get(PORT, "0"))
    store = dist.TCPStore(here.first, port, None, is_first, LIMIT, wait_for_workers=False)
    if here.nodes > 1:
        each = _agreed(each, store, here.node, here.nodes)
    number, count = here.node * each + local, here.nodes * each
    others = [_start(i, store.port) for i in range(1, each)] if local == 0 else []
    # What accelerate reads.
    numbers = {"RANK": number, "LOCAL_RANK": local, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": each}
    os.environ.update({name: str(value) for name, value in numbers.items()} | {"MASTER_ADDR": here.first})
    os.environ["MASTER_PORT"] = str(store.port)
    over = threading.Event()
    watch = (_watch_others, (others, over)) if local == 0 else (_end_with_the_first, (over,))
    threading.Thread(target=watch[0], args=watch[1], daemon=True).start()
    try:
        backend = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(local)
            backend = "cpu:gloo,cuda:nccl"
        else:
            os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"  # not cpu:0, to which no checkpoint can be loaded
        dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=LIMIT)
        yield
    except UserError:
        if number:
            time.sleep(GRACE)  # the first process says the same, and ends this one
        raise
    except Stopped:
        if here.node and not local:
            time.sleep(GRACE)  # as this node's end is that of all, and the first process may not have come to its own
        raise
    except Exception:
        time.sleep(1)  # a dead process is felt by the first sooner than it is gone
        if dead := _ended(others):
            LOGGER.error("Error: %s", dead)
        raise
    finally:
        over.set()
        if sys.exc_info()[0] is not None:
            _stop(others)
        for process in others:
            process.wait()
        if dist.is_initialized():
            dist.destroy_process_group()


def _agreed(count: int, store: dist.Store, node: int, nodes: int) -> int:
    """Return how many processes each node runs: as many as the one with the fewest can, told by ``count`` of each."""
    store.set(f"processes of node {node}", str(count))
    return min(int(store.get(f"processes of node {i}")) for i in range(nodes))


def others_end_here() -> None:
    """End every process but the first: what follows (writing the outputs) is done once."""
    if size() > 1:
        dist.barrier()
        if rank():
            sys.exit(0)


def _start(number: int, port: int) -> subprocess.Popen:
    # The pipe is never written to: when the first process ends, however it ends, the others read its end.
    command = [sys.executable, *sys.orig_argv[1:]]
    return subprocess.Popen(command, env={**os.environ, RANK: str(number), PORT: str(port)}, stdin=subprocess.PIPE)


def _stop(others: list[subprocess.Popen]) -> None:
    for process in others:
        if process.poll() is None:
            process.kill()


def _ended(others: list[subprocess.Popen]) -> str:
    """Say which process has ended before its time, or nothing."""
    codes = [(number, process.poll()) for number, process in enumerate(others, start=1)]
    return next((f"process {n} of this training job ended with exit code {code}" for n, code in codes if code), "")


def _watch_others(others: list[subprocess.Popen], over: threading.Event) -> None:
    while not over.wait(0.2):
        # An error that all processes meet is told by the first of them, which needs a moment for it.
        if _ended(others) and not over.wait(GRACE):
            LOGGER.error("Error: %s", _ended(others))
            _stop(others)
            os._exit(1)


def _end_with_the_first(over: threading.Event) -> None:
    os.read(0, 1)
    if not over.is_set():
        os._exit(1)


def from_first(find: Callable[[], Found]) -> Found:
    """Return what ``find`` gives in the first process, in all of them."""
    if size() == 1:
        return find()
    found = [find() if rank() == 0 else None]
    dist.broadcast_object_list(found)
    return found[0]


def largest(number: int) -> int:
    """Return the largest of the numbers that the processes give, in all of them."""
    if size() == 1:
        return number
    found = torch.tensor(number)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def wait_for_all() -> None:
    """Return when every process has come here."""
    if size() > 1:
        dist.barrier()


def share(batch: list[int]) -> list[int]:
    """Return this process's part of a batch; all of it if there is less than one item for each process."""
    return batch[rank() :: size()] if len(batch) >= size() else batch


def whole_batch(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and labels of all processes' parts of a batch, so that the loss is that of the whole batch.

    Gradients flow into this process's logits alone and count for all: the mean of the processes' gradients, which
    is what they then agree on, is the gradient of the whole batch.
    """
    if size() == 1:
        return logits, labels
    if logits.requires_grad:
        logits.register_hook(lambda gradient: gradient * size())
    # Filled-up places count for nothing: -100 is cross entropy's, and targets that are shares have a weight of 0.
    return _gathered(logits, 0.0), _gathered(labels, 0.0 if labels.is_floating_point() else -100)


def _gathered(tensor: torch.Tensor, filling: float) -> torch.Tensor:
    """Return all processes' tensors joined along the first axis, other axes filled up to the longest."""
    mine = torch.tensor(tensor.shape, device=tensor.device)
    shapes = [torch.zeros_like(mine) for _ in range(size())]
    dist.all_gather(shapes, mine)
    longest = torch.stack(shapes).amax(0).tolist()
    padding = [n for axis in reversed(range(tensor.ndim)) for n in (0, longest[axis] - tensor.shape[axis])]
    padded = torch.nn.functional.pad(tensor, padding, value=filling).contiguous()
    parts = [torch.empty_like(padded) for _ in range(size())]
    dist.all_gather(parts, padded.detach())
    parts[rank()] = padded
    return torch.cat([part[: int(shape[0])] for part, shape in zip(parts, shapes, strict=True)])


def by_shares(records: np.ndarray, score: Callable[[np.ndarray], np.ndarray], together: bool = False) -> np.ndarray:
    """Return ``score(records)``, an array with one or more rows per record; each process computes its part.

    ``together``: a model whose weights are spread over the processes needs all of them for each record.
    """
    if size() == 1 or together or not len(records):
        return score(records)
    mine = np.array_split(records, size())[rank()]
    found = score(mine) if len(mine) else score(records[:1])[:0]
    parts: list[Any] = [None] * size()
    dist.all_gather_object(parts, found)
    return np.concatenate(parts)
