"""One training job on several nodes of a SLURM cluster: its script runs once on each.

Snakemake's executor plugin starts a job's work as one task of one node, except where the job asks for the resource
``mpi``: then it leaves that to the job. Such a job's script becomes ``srun``, which starts it again on every node, as a
step of the job: so SLURM tells each of them when the job has to end, and ends all when one fails.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from dataclasses import dataclass
from typing import Any

from dnatune.errors import UserError

NODES = "DNATUNE_NODES"
PORT = "DNATUNE_PORT"  # on which the first process of all listens
RANK = "DNATUNE_RANK"  # number of a process among those of its node
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """Where a process runs: the number of its node, how many nodes there are, and the first one's address."""

    node: int = 0
    nodes: int = 1
    first: str = HOST


def place() -> Place:
    """Return where this process runs."""
    if NODES not in os.environ:
        return Place()
    # SLURM names the address at which its tasks reach srun, which runs on the first node.
    return Place(int(os.environ["SLURM_NODEID"]), int(os.environ[NODES]), os.environ["SLURM_LAUNCH_NODE_IPADDR"])


def is_first() -> bool:
    """Say whether this process is the only one of its job, or the first of all that share it."""
    return os.environ.get(RANK, "0") == "0" and place().node == 0


def spread(resources: Any, threads: int) -> None:
    """Go on with this script on each node that the job has; return there, or at once where the job has one node.

    Outside SLURM, and where Snakemake itself runs in a smaller job, there is one node, whatever was asked for.
    """
    nodes = resources.get("nodes", 1)
    # Not said in a job of the plugin, which has what it asked for.
    there = int(os.environ.get("SLURM_JOB_NUM_NODES", nodes))
    if nodes == 1 or there < nodes or "SLURM_JOB_ID" not in os.environ or NODES in os.environ:
        return
    if not shutil.which("srun"):
        raise UserError(
            f"this job has {nodes} nodes and starts itself on each with srun, which is not found here (in a container, "
            "say); set models.<name>.resources.nodes to 1."
        )
    with socket.socket() as free:
        free.bind(("", 0))
        os.environ.update({NODES: str(nodes), PORT: str(free.getsockname()[1])})
    command = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", f"--cpus-per-task={threads}"]
    if gpus := resources.get("gpu", 0) // nodes:
        command.append(f"--gpus-per-node={gpus}")
    # All memory of the job; whatever processor; the first may write long after the others have ended.
    command += ["--mem=0", "--cpu-bind=none", "--mpi=none", "--kill-on-bad-exit=1", "--wait=0"]
    os.execvp("srun", [*command, sys.executable, *sys.orig_argv[1:]])
