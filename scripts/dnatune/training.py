"""Train one model on one fold: transformers' Trainer with our order of batches, losses and learning curves.

In: token rows (or frozen embeddings), the fold's records, the model's settings. Out: the best model by the
validation part, the learning curve, and a record of what happened. The test part never comes near this module.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments, set_seed
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerState

from dnatune import checkpoints, distributed, sharding, stopping
from dnatune.callbacks import EarlyStopping, Progress, StopAfter
from dnatune.hardware import choose_precision, peak_gpu_memory_mib, peak_memory_mib
from dnatune.inference import score_records
from dnatune.inputs import Inputs, TrainingCollator
from dnatune.progress import ProgressFile
from dnatune.sampling import TrainingRecords, stratified_sample
from dnatune.shared_batches import SharedBatches, prepared
from dnatune.tasks.base import Task
from dnatune.tuning import parameter_counts

LOGGER = logging.getLogger("dnatune")


@dataclass(frozen=True)
class TrainingData:
    """The records a model learns from and is chosen by: row numbers into the token table, and targets of all.

    ``validation`` may be empty (the refit on all data): then nothing is chosen and the last weights stay.
    ``outputs`` is the number of classes, labels or values.
    """

    inputs: Inputs
    targets: Any
    train: np.ndarray
    validation: np.ndarray
    outputs: int


@dataclass(frozen=True)
class Trained:
    """A trained model, its learning curve (one row per evaluation), and what happened."""

    model: nn.Module
    history: pd.DataFrame
    run: dict[str, Any]


def train(
    model: nn.Module,
    data: TrainingData,
    settings: dict[str, Any],
    task: Task,
    *,
    views: np.ndarray,
    folder: Path,
    seed: int,
    stop_after_epochs: float | None = None,
    checkpoint_minutes: float | None = None,
    progress: ProgressFile | None = None,
) -> Trained:
    """Train ``model`` and return it with the weights of the best evaluation.

    ``settings`` is the model's ``training`` section; ``views`` (views,) are the numbers of the views that training
    draws from (see ``TokenTable.views``); ``folder`` takes the checkpoints, from the last of which a killed job goes
    on. ``stop_after_epochs`` ends the schedule early (the refit). ``checkpoint_minutes``: a checkpoint at least that
    often, besides those at evaluations. ``progress`` is told where the training is. Raises ``Stopped`` when the job is
    told to end.
    """
    # Weights are drawn from one seed for all folds, the order of batches from one for each.
    set_seed(seed)
    precision = choose_precision(settings["precision"])
    dataset = TrainingRecords(data.inputs.table, data.train, views, seed)
    better = task.curve[settings["metric"]] if len(data.validation) else None
    sharded = sharding.arguments(settings, model)
    arguments = training_arguments(settings, folder, precision, len(dataset), better, seed, **sharded)
    trainer = FoldTrainer(model, arguments, dataset, data, settings, task, precision)
    torch.manual_seed(seed + distributed.rank())  # processes that share a job draw dropout each for itself
    checkpoint = distributed.from_first(lambda: checkpoints.last_complete(folder))
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(checkpoints.RunningLoss(trainer, checkpoint))
    trainer.add_callback(checkpoints.MarkComplete())
    told = (task.tie_break, settings["metric"])
    trainer.add_callback(Progress(progress or ProgressFile(), told, stop_after_epochs))
    if sharding.in_use(settings):
        trainer.add_callback(sharding.CompleteState())
    if stop_after_epochs is not None:
        trainer.add_callback(StopAfter(stop_after_epochs))
    if settings["early_stopping"] is not None and len(data.validation):
        trainer.add_callback(EarlyStopping(settings["early_stopping"]))
    trainer.add_callback(checkpoints.SaveInTime(checkpoint_minutes))
    if checkpoint:
        LOGGER.info("goes on from step %d (checkpoint of an earlier attempt)", checkpoints.step_of(checkpoint))
    start = time.perf_counter()
    if checkpoint and checkpoints.finished(checkpoint):
        trainer.load_finished(checkpoint)
    else:
        with stopping.noted():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.perf_counter() - start
    history = history_table(trainer.state.log_history, list(task.curve))
    return Trained(trainer.model, history, _run_record(trainer, history, precision, seconds, checkpoint, settings))


def training_arguments(
    settings: dict[str, Any],
    folder: Path,
    precision: str,
    records: int,
    greater_is_better: bool | None,
    seed: int,
    **others: Any,
) -> TrainingArguments:
    """Translate the ``training`` section to transformers' arguments; without a metric's way nothing is chosen."""
    choose = greater_is_better is not None
    each_epoch = steps_per_epoch(settings, records)
    total_steps = each_epoch * settings["epochs"]
    interval = min(total_steps, max(1, round(settings["evaluate_every"] * each_epoch)))
    chosen = {
        "load_best_model_at_end": True,
        "metric_for_best_model": "validation_choice",
        "greater_is_better": greater_is_better,
    }
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings["epochs"],
        learning_rate=settings["learning_rate"],
        per_device_train_batch_size=settings["batch_size"],
        gradient_accumulation_steps=settings["gradient_accumulation"],
        warmup_steps=round(settings["warmup"] * total_steps),
        weight_decay=settings["weight_decay"],
        lr_scheduler_type=settings["scheduler"],
        max_grad_norm=settings["max_grad_norm"],
        gradient_checkpointing=settings["gradient_checkpointing"],
        gradient_checkpointing_kwargs={"use_reentrant": False},
        # Backbones carry layers that a classifier does not use (ESM's contact head).
        ddp_find_unused_parameters=True,
        optim="adamw_torch_fused",
        eval_strategy="steps" if choose else "no",
        eval_steps=interval,
        save_strategy="steps",
        save_steps=interval,
        logging_strategy="steps",
        logging_steps=interval,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
        seed=seed,
        data_seed=seed,
        **(chosen if choose else {}),
        **others,
    )
    # One job, one GPU: with several in sight the Trainer would split and multiply the batch by itself.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def steps_per_epoch(settings: dict[str, Any], records: int) -> int:
    """Return the steps of the optimiser in one pass over ``records`` training records."""
    return math.ceil(math.ceil(records / settings["batch_size"]) / settings["gradient_accumulation"])


def with_equal_steps(settings: dict[str, Any], records: int, of: int) -> dict[str, Any]:
    """Return the ``training`` section for ``records`` training records with the steps that it has for ``of`` of them.

    More epochs, and as many more between two evaluations, so that schedule, evaluations and early stopping are those of
    the whole training part, to the next full epoch. With the same epochs a tenth of the records would get a tenth of
    the steps, and less training would look like too little data.
    """
    longer = steps_per_epoch(settings, of) / steps_per_epoch(settings, records)
    epochs, between = math.ceil(settings["epochs"] * longer), settings["evaluate_every"] * longer
    return {**settings, "epochs": epochs, "evaluate_every": between}


class FoldTrainer(Trainer):
    """transformers' Trainer with batches of similar length, the task's loss, and our learning curve."""

    def __init__(
        self,
        model: nn.Module,
        arguments: TrainingArguments,
        dataset: TrainingRecords,
        data: TrainingData,
        settings: dict[str, Any],
        task: Task,
        precision: str,
    ) -> None:
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=dataset,
            eval_dataset=dataset if len(data.validation) else None,  # unused: evaluate() below has its own
            data_collator=TrainingCollator(data.inputs, data.targets, task),
        )
        # The loss is a mean over the batch; without this, accumulated batches would count as their sum.
        self.model_accepts_loss_kwargs = False
        self.data = data
        self.settings = settings
        self.task = task
        self.precision = precision
        train_targets = data.targets[data.train]
        self.loss = task.learning.loss(settings, train_targets, data.outputs)
        sample = settings["train_sample"] or max(1, len(data.validation))
        self.curve_records = {
            "train": data.train[stratified_sample(task.labels.strata(train_targets), sample, arguments.seed)],
            "validation": data.validation,
        }
        self.started = time.perf_counter()
        balanced = settings["imbalance"] == "balanced_sampling"
        self.sampling_weights = task.labels.sampling_weights(train_targets) if balanced else None

    def load_finished(self, checkpoint: Path) -> None:
        """Take over a training that had ended when its job was killed."""
        self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        self._load_from_checkpoint(self.state.best_model_checkpoint or str(checkpoint))

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Save under the names of the modules: checkpoints are read back as a state dict, by name.

        transformers would write the names of older checkpoints (LayerNorm.gamma, block_sparse_moe) and then leave
        those weights out, with a warning only, when the best or the last checkpoint is loaded.
        """
        if isinstance(self.model, PreTrainedModel):
            self.model.save_pretrained(output_dir, state_dict=state_dict, save_original_format=False)
        else:
            super()._save(output_dir, state_dict)

    def get_train_dataloader(self) -> DataLoader:
        """Return batches of similar length."""
        dataset = self.train_dataset
        size, weights = self.args.train_batch_size, self.sampling_weights
        batches = SharedBatches(dataset.lengths(), size, self.args.seed, weights, dataset)
        loader = DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return prepared(self.accelerator, loader)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with a learning rate of its own for the head, and no decay on norms and biases."""
        if self.optimizer is None:
            model = self.model
            head = {id(p) for name, m in model.named_modules() if is_head(name) for p in m.parameters()}
            # A factor of IA3 does nothing at 1, so decay toward 0 would be no rest.
            decayed = {name for name in self.get_decay_parameter_names(model) if ".ia3_l." not in name}
            rates = {True: self.settings["head_learning_rate_factor"], False: 1.0}
            groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    groups.setdefault((id(parameter) in head, name in decayed), []).append(parameter)
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer = kind(
                [
                    {
                        "params": parameters,
                        "lr": self.args.learning_rate * rates[in_head],
                        "weight_decay": self.args.weight_decay if decay else 0.0,
                    }
                    for (in_head, decay), parameters in groups.items()
                ],
                **options,
            )
        return self.optimizer

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return the task's loss in float32."""
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = self.loss(*distributed.whole_batch(outputs.logits.float(), labels))
        return (loss, outputs) if return_outputs else loss

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """Measure the learning curve on the validation part and a fixed sample of the training part.

        The first view only: averaging over views is for the final scores.
        """
        metrics: dict[str, float] = {}
        for part, records in self.curve_records.items():
            score = partial(
                score_records,
                self.model,
                self.data.inputs,
                views=[0],
                outputs=self.data.outputs,
                task=self.task,
                precision=self.precision,
            )
            scores = distributed.by_shares(records, score, together=sharding.is_spread(self.model))
            for name, value in self.task.learning.curve_metrics(scores, self.data.targets[records]).items():
                metrics[f"{metric_key_prefix}_{part}_{name}"] = value
        metrics[f"{metric_key_prefix}_validation_choice"] = choice(
            metrics, f"{metric_key_prefix}_validation_", self.settings["metric"], self.task
        )
        metrics[f"{metric_key_prefix}_seconds"] = time.perf_counter() - self.started
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def choice(metrics: dict[str, float], prefix: str, metric: str, task: Task) -> float:
    """Return the figure that chooses the best evaluation: the metric, ties broken by the task's loss.

    On a small validation part PR-AUC and accuracy stand still while the probabilities still get better.
    """
    value, loss = metrics[prefix + metric], metrics[prefix + task.tie_break]
    if not task.curve[metric]:
        return value
    return value - 1e-6 * min(loss, 100.0)


def is_head(module_name: str) -> bool:
    """Say whether a module is the classification head, in plain and in peft-wrapped models."""
    return any(part in ("classifier", "score") for part in module_name.split("."))


def history_columns(curve: list[str]) -> list[str]:
    """Return the columns of history.tsv for the metrics of a task's learning curve."""
    measured = [f"{part}_{metric}" for metric in curve for part in ("train", "validation")]
    return ["step", "epoch", "learning_rate", "train_loss", *measured, "seconds"]


def history_table(log_history: list[dict[str, float]], curve: list[str]) -> pd.DataFrame:
    """Join the trainer's log entries to one row per evaluation, with the columns of ``history_columns``."""
    rows: dict[int, dict[str, float]] = {}
    for entry in log_history:
        if "train_runtime" in entry:
            continue
        row = rows.setdefault(int(entry["step"]), {"step": int(entry["step"]), "epoch": entry["epoch"]})
        for key, value in entry.items():
            if key == "learning_rate":
                row[key] = value
            elif key == "loss":
                row["train_loss"] = value
            elif key.startswith("eval_"):
                row[key.removeprefix("eval_")] = value
    return pd.DataFrame(list(rows.values())).reindex(columns=history_columns(curve))


def _run_record(
    trainer: FoldTrainer,
    history: pd.DataFrame,
    precision: str,
    seconds: float,
    checkpoint: Path | None,
    settings: dict[str, Any],
) -> dict[str, Any]:
    state = trainer.state
    done = state.global_step - (checkpoints.step_of(checkpoint) if checkpoint else 0)
    best = history[history["step"] == (state.best_global_step or state.global_step)]
    chosen = best.get(f"validation_{settings['metric']}")
    gap = best[f"train_{trainer.task.gap}"] - best[f"validation_{trainer.task.gap}"]
    trained, parameters = parameter_counts(trainer.model)
    return {
        "precision": precision,
        "parameters": parameters,
        "trainable_parameters": trained,
        "seconds_training": seconds,
        "samples_per_second": done * settings["batch_size"] * settings["gradient_accumulation"] / seconds,
        "peak_memory_mib": peak_memory_mib(),
        "peak_gpu_memory_mib": peak_gpu_memory_mib(),
        "best_step": state.best_global_step or state.global_step,
        "best_epoch": float(best["epoch"].iloc[0]) if len(best) else state.epoch,
        "epochs_run": state.epoch,
        "best_metric": None if state.best_metric is None else float(chosen.iloc[0]),
        "metric_for_best": settings["metric"],
        "gap": float(gap.iloc[0]) if len(gap) else None,
        "resumed_from_step": checkpoints.step_of(checkpoint) if checkpoint else None,
    }
