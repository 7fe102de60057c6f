"""Checkpoints that a killed job goes on from, and no other job ever picks up.

They live outside declared outputs (Snakemake deletes those of a failed job), in a folder named by a hash of
everything the training depends on. A checkpoint counts only once its marker is written, after everything else.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from pathlib import Path

import torch
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from dnatune import distributed, stopping

MARKER = "complete"
DUE = 1  # less than the number of any signal that is listened to


class RunningLoss(TrainerCallback):
    """Keep the sum of the training loss since the last point of the learning curve, which the trainer forgets."""

    def __init__(self, trainer: Trainer, checkpoint: Path | None) -> None:
        self.trainer = trainer
        self.checkpoint = checkpoint

    def on_train_begin(self, args, state, control, **kwargs):
        """Called by the trainer before the first step."""
        if self.checkpoint:
            kept = torch.load(_running_loss(self.checkpoint), weights_only=True)
            self.trainer._tr_loss += kept["sum"]
            self.trainer._globalstep_last_logged = kept["since"]

    def on_save(self, args, state, control, **kwargs):
        """Called by the trainer after each checkpoint."""
        kept = {"sum": self.trainer._tr_loss.item(), "since": self.trainer._globalstep_last_logged}
        torch.save(kept, _running_loss(_folder(args, state)))


class MarkComplete(TrainerCallback):
    """Write the marker when all of a checkpoint is written; only then the older ones go, but for the best."""

    def on_save(self, args, state, control, **kwargs):
        """Called by the trainer after each checkpoint."""
        distributed.wait_for_all()  # each process has written its part
        folder = _folder(args, state)
        if folder.is_dir() and distributed.rank() == 0:
            (folder / MARKER).touch()
            kept = {folder.name, Path(state.best_model_checkpoint or folder).name}
            for path in folder.parent.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
                if path.name not in kept:
                    shutil.rmtree(path)
        distributed.wait_for_all()  # none ends before the first, which would take it for dead


class SaveInTime(TrainerCallback):
    """A checkpoint besides those at evaluations: after so many minutes, and when the job is told to end, which it does.

    The processes of a job do so at the same step. A checkpoint adds nothing to the learning curve.
    """

    def __init__(self, minutes: float | None) -> None:
        self.seconds = 60 * minutes if minutes else math.inf
        self.reason = 0

    def on_train_begin(self, args, state, control, **kwargs):
        """Called by the trainer before the first step."""
        self.saved = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        """Called by the trainer after each step."""
        due = distributed.rank() == 0 and time.monotonic() - self.saved >= self.seconds
        self.reason = distributed.largest(stopping.received() or DUE * due)
        if self.reason:
            control.should_save = True

    def on_save(self, args, state, control, **kwargs):
        """Called by the trainer after each checkpoint."""
        self.saved = time.monotonic()
        if self.reason > DUE:
            raise stopping.Stopped(
                self.reason, f" at step {state.global_step}, checkpoint saved; the next attempt goes on from there"
            )


def _folder(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"


def _running_loss(checkpoint: Path) -> Path:
    return checkpoint / f"running_loss_{distributed.rank()}.pt"


def last_complete(folder: str | Path) -> Path | None:
    """Return the newest whole checkpoint under ``folder``; remove those that a kill left half-written."""
    whole: list[tuple[int, Path]] = []
    for path in Path(folder).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        if (path / MARKER).is_file():
            whole.append((int(path.name.rsplit("-", 1)[1]), path))
        else:
            shutil.rmtree(path)
    return max(whole)[1] if whole else None


def step_of(checkpoint: Path) -> int:
    """Return the optimizer step of a checkpoint folder."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def finished(checkpoint: Path) -> bool:
    """Say whether training had ended at this checkpoint: all steps done, or stopped."""
    state = json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))
    stopped = state["stateful_callbacks"]["TrainerControl"]["args"]["should_training_stop"]
    return stopped or state["global_step"] >= state["max_steps"]
