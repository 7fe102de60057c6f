"""What happens between training steps: stopping, and word of the progress.

All decisions read the trainer's own state, which a checkpoint carries, so a resumed job decides as it would have.
"""

from __future__ import annotations

import logging
import time

import numpy as np
from transformers import TrainerCallback

from dnatune.hardware import peak_gpu_memory_mib, peak_memory_mib
from dnatune.progress import ProgressFile

LOGGER = logging.getLogger("dnatune")
WORDS = {"log_loss": "log loss", "pr_auc_macro": "PR-AUC"}


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
    """Where the training is, how fast, how long it will take: a line in the log for each evaluation, and ``file``.

    ``curve`` names the figures of an evaluation that are told: the loss and the metric that chooses.
    """

    def __init__(self, file: ProgressFile, curve: tuple[str, str], stop_after_epochs: float | None = None) -> None:
        self.file = file
        self.curve = curve
        self.stop_after_epochs = stop_after_epochs

    def last_step(self, max_steps: int, epochs: float) -> int:
        """Return the step at which training will end if nothing stops it early."""
        return max_steps if self.stop_after_epochs is None else round(max_steps * self.stop_after_epochs / epochs)

    def on_train_begin(self, args, state, control, **kwargs):
        """Remember when and where this attempt began."""
        self.start, self.first_step = time.perf_counter(), state.global_step
        self.file.tell(
            state="training",
            step=state.global_step,
            first_step=self.first_step,
            steps=self.last_step(state.max_steps, args.num_train_epochs),
            epoch=state.epoch or 0,
            epochs=self.stop_after_epochs or args.num_train_epochs,
            curve=self.curve,
        )
        self.file.write()

    def on_step_end(self, args, state, control, **kwargs):
        """Note the step."""
        rate, left = self.pace(args, state)
        self.file.tell(step=state.global_step, epoch=state.epoch, rate=rate, left=left)

    def pace(self, args, state) -> tuple[float, float]:
        """Return sequences per second in this attempt, evaluations included, and the seconds that are left."""
        steps_per_second = (state.global_step - self.first_step) / (time.perf_counter() - self.start)
        left = self.last_step(state.max_steps, args.num_train_epochs) - state.global_step
        return steps_per_second * args.train_batch_size * args.gradient_accumulation_steps, left / steps_per_second

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Write the line when the learning curve has a new point (or, without validation, a new loss)."""
        logs = logs or {}
        loss, metric = self.curve
        if not ({f"eval_validation_{loss}", "loss"} & set(logs)) or state.global_step == self.first_step:
            return
        gpu_memory = peak_gpu_memory_mib()
        self.file.tell(memory_mib=gpu_memory or peak_memory_mib(), on_gpu=gpu_memory is not None)
        if "loss" in logs and args.eval_strategy != "no":
            return  # the evaluation that follows says more
        names = ("train_" + loss, "validation_" + loss, "train_" + metric, "validation_" + metric)
        measured = {name: logs[f"eval_{name}"] for name in names if f"eval_{name}" in logs}
        self.file.tell(**(measured or {"train_loss": logs["loss"]}))
        self.file.write()
        rate, left = self.pace(args, state)
        LOGGER.info(
            "epoch %.2f/%d step %d/%d | %s | %.1f sequences/s | %s left | peak %s",
            state.epoch or 0,
            args.num_train_epochs,
            state.global_step,
            state.max_steps,
            describe(logs, self.curve),
            rate,
            f"{left / 60:.1f} min" if left > 90 else f"{left:.0f} s",
            f"{gpu_memory:.0f} MiB GPU" if gpu_memory else f"{peak_memory_mib():.0f} MiB",
        )


def describe(logs: dict[str, float], curve: tuple[str, str]) -> str:
    """Return the figures of one evaluation in words; ``curve`` names them."""
    if f"eval_validation_{curve[0]}" not in logs:
        return f"training loss {logs['loss']:.4f}"
    return " | ".join(
        f"{part} "
        + " ".join(f"{WORDS.get(name, name)} {logs[f'eval_{part}_{name}']:.4f}" for name in dict.fromkeys(curve))
        for part in ("train", "validation")
    )
