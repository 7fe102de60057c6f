"""Checkpoints that a killed job goes on from, and no other job ever picks up.

They live outside declared outputs (Snakemake deletes those of a failed job), in a folder named by a hash of
everything the training depends on. A checkpoint counts only once its marker is written, after everything else.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from dnatune import distributed

MARKER = "complete"


class MarkComplete(TrainerCallback):
    """Write the marker when the trainer has written all of a checkpoint."""

    def on_save(self, args, state, control, **kwargs):
        """Called by the trainer after each checkpoint."""
        distributed.wait_for_all()  # each process has written its part
        folder = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        if folder.is_dir() and distributed.rank() == 0:
            (folder / MARKER).touch()


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
