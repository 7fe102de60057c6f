"""A run's folder, as Snakemake and its jobs leave it in the middle of their work, written file by file."""

from __future__ import annotations

import json
import os
import platform
from base64 import urlsafe_b64encode
from pathlib import Path

from dnatune.run_queue import NOT_ASKED, Queue
from dnatune.run_status import Row, status_of

NOW = 1_800_000_000.0
HISTORY = (
    "step\tepoch\tlearning_rate\ttrain_loss\ttrain_log_loss\tvalidation_log_loss\ttrain_pr_auc_macro\t"
    "validation_pr_auc_macro\tseconds\n"
    "10\t1\t0.001\t2.5\t2.25\t2.375\t0.5\t0.4375\t3\n"
    "20\t2\t0.001\t1.5\t1.25\t1.375\t0.75\t0.6875\t6\n"
)
FAILURE = """Error in rule train:
    message: None
    jobid: 9
    output: results/fish/models/{place}/weights
    log: results/fish/logs/train/{place}.log (check log file(s) for error details)
"""
# The same on a cluster, word for word: a job that SLURM has killed, and one that it did not take.
FAILURE_ON_CLUSTER = """Error in rule train:
    message: SLURM-job '30' failed, SLURM status is: 'FAILED'. Detailed failure reason unavailable (status command is \
not 'sacct').For further error details see the cluster/cloud log and the log files of the involved rule(s).
    jobid: 9
    output: results/fish/models/{place}/weights
    log: results/fish/logs/train/{place}.log, {slurm_log} (check log file(s) for \
error details)
    external_jobid: 30
"""
REFUSAL = """Error in rule train:
    message: SLURM sbatch failed. The error message was 'sbatch: error: invalid partition specified: gpuq
sbatch: error: Batch job submission failed: Invalid partition name specified'.
    sbatch call:
        sbatch --parsable --job-name 4ded -p gpuq -t 90 --mem 12000 --wrap="..."
For further error details see the cluster/cloud log and the log files of the involved rule(s).
    jobid: 9
    output: results/fish/models/{place}/weights
    log: results/fish/logs/train/{place}.log (check log file(s) for error details)
"""


class RunTree:
    """The folder results/fish in a working directory of Snakemake; Snakemake is this very process."""

    def __init__(self, base: Path, **plan) -> None:
        self.base, self.folder = base, base / "results" / "fish"
        self.log = base / ".snakemake" / "log" / "now.snakemake.log"
        self.log.parent.mkdir(parents=True)
        self.log.write_text("Building DAG of jobs...\n")
        parts = {"task": "multiclass", "folds": [0, 1, 2], "models": ["nt"], "saved": ["nt"], "refit": True}
        parts |= {"baselines": ["majority"], "tokens": ["t-1"], "embeddings": [], "vectors": []}
        parts |= {"folder": "results/fish", "directory": str(base), "log": str(self.log)}
        parts |= {"host": platform.node(), "pid": os.getpid(), "started": NOW - 1000}
        self.json("logs/plan.json", {**parts, **plan})

    def json(self, name: str, value) -> Path:
        """Write a JSON file."""
        return self.text(name, json.dumps(value))

    def text(self, name: str, text: str = "") -> Path:
        """Write a text file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def tell(self, place: str = "nt/fold_0", below: str = "", **figures) -> None:
        """Write the progress file of a training job, by default one that runs on another machine."""
        told = {
            "state": "training",
            "attempt": 1,
            "started": NOW - 500,
            "time": NOW - 5,
            "every": 15.0,
            "host": "node1",
        }
        told |= {"pid": 7, "step": 15, "first_step": 0, "steps": 20, "epoch": 1.5, "epochs": 2}
        self.json(f"logs/{below}train/{place}.progress.json", {**told, **figures})

    def made(self, place: str = "nt/fold_0", below: str = "") -> None:
        """Write what a finished training leaves; a point of a learning curve leaves no weights."""
        if not below:
            (self.folder / "models" / place / "weights").mkdir(parents=True)
        run = {"best_step": 20, "best_epoch": 2.0, "samples_per_second": 412.5, "peak_memory_mib": 2048.0}
        run |= {"metric_for_best": "pr_auc_macro", "seconds": 90.0, "peak_gpu_memory_mib": None}
        self.json(f"{below}models/{place}/run.json", run)
        self.text(f"{below}models/{place}/history.tsv", HISTORY)
        self.text(f"{below}models/{place}/scores.npz")

    def mark(self, output: str, job: str | None = None, since: float = NOW) -> None:
        """Note an output as one that Snakemake is making."""
        name = urlsafe_b64encode(f"results/fish/{output}".encode()).decode()
        path = self.base / ".snakemake" / "incomplete" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"external_jobid": job}))
        os.utime(path, (since, since))

    def checkpoint(self, step: int, place: str = "nt/fold_0") -> None:
        """Write the mark of a whole checkpoint."""
        self.text(f"checkpoints/{place}/abc/checkpoint-{step}/complete")

    def row(self, fold: int | None = 0, queue: Queue = NOT_ASKED, part: str = "") -> Row:
        """Return the row of a fold."""
        rows = status_of(self.folder, queue, NOW).rows
        return next(row for row in rows if (row.part, row.fold) == (part, fold))
