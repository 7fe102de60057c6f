"""What happens between training steps: stopping, and a line in the log per evaluation.

All decisions read the trainer's own state, which a checkpoint carries, so a resumed job decides as it would have.
"""

from __future__ import annotations

import logging
import time

import numpy as np
from transformers import TrainerCallback

from dnatune.hardware import peak_gpu_memory_mib, peak_memory_mib

LOGGER = logging.getLogger("dnatune")


class StopAfter(TrainerCallback):
    """End training after a number of epochs, on the learning-rate schedule of the whole."""

    def __init__(self, epochs: float) -> None:
        self.epochs = epochs

    def on_step_end(self, args, state, control, **kwargs):
        """Called by the trainer after each step."""
        if state.epoch is not None and state.epoch >= self.epochs - 1e-6:
            control.should_training_stop = True


class EarlyStopping(TrainerCallback):
    """Stop after ``patience`` evaluations without a better metric.

    Counts in the trainer's own state, which a checkpoint carries, so a resumed job stops where it would have.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        """Called by the trainer after each evaluation."""
        name = f"eval_{args.metric_for_best_model}"
        values = [entry[name] for entry in state.log_history if name in entry]
        best = int(np.argmax(values) if args.greater_is_better else np.argmin(values))
        if len(values) - 1 - best >= self.patience:
            control.should_training_stop = True


class Progress(TrainerCallback):
    """A line in the log for each evaluation: where the training is, how fast, how long it will take."""

    def __init__(self, stop_after_epochs: float | None = None) -> None:
        self.stop_after_epochs = stop_after_epochs

    def last_step(self, max_steps: int, epochs: float) -> int:
        """Return the step at which training will end if nothing stops it early."""
        return max_steps if self.stop_after_epochs is None else round(max_steps * self.stop_after_epochs / epochs)

    def on_train_begin(self, args, state, control, **kwargs):
        """Remember when and where this attempt began."""
        self.start, self.first_step = time.perf_counter(), state.global_step

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Write the line when the learning curve has a new point (or, without validation, a new loss)."""
        logs = logs or {}
        if not ({"eval_validation_log_loss", "loss"} & set(logs)) or state.global_step == self.first_step:
            return
        if "loss" in logs and args.eval_strategy != "no":
            return  # the evaluation that follows says more
        elapsed = time.perf_counter() - self.start
        rate = (state.global_step - self.first_step) / elapsed
        left = (self.last_step(state.max_steps, args.num_train_epochs) - state.global_step) / rate
        memory = peak_gpu_memory_mib()
        LOGGER.info(
            "epoch %.2f/%d step %d/%d | %s | %.1f sequences/s | %s left | peak %s",
            state.epoch or 0,
            args.num_train_epochs,
            state.global_step,
            state.max_steps,
            describe(logs),
            rate * args.train_batch_size * args.gradient_accumulation_steps,
            f"{left / 60:.1f} min" if left > 90 else f"{left:.0f} s",
            f"{memory:.0f} MiB GPU" if memory else f"{peak_memory_mib():.0f} MiB",
        )


def describe(logs: dict[str, float]) -> str:
    """Return the figures of one evaluation in words."""
    if "eval_validation_log_loss" not in logs:
        return f"training loss {logs['loss']:.4f}"
    return " | ".join(
        f"{part} log loss {logs[f'eval_{part}_log_loss']:.4f} PR-AUC {logs[f'eval_{part}_pr_auc_macro']:.4f}"
        for part in ("train", "validation")
    )
