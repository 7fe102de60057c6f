"""One training job from files to files: a model on a fold, or on all data for the saved model.

Joins the parts (tokens, tuning, training, inference, scores); the scripts only name the files.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from dnatune import distributed, files, sharding, tuning
from dnatune.backbones.local_copies import published
from dnatune.fold_data import FoldData, fold_scores
from dnatune.hardware import choose_precision, device_name
from dnatune.inference import score_records
from dnatune.inputs import EmbeddingInputs, Inputs, TokenInputs
from dnatune.per_base import as_bytes
from dnatune.progress import ProgressFile
from dnatune.scores import Scores
from dnatune.tasks.base import Task
from dnatune.tokens import TokenTable
from dnatune.training import Trained, TrainingData, train
from dnatune.vectors import Reader, scores_with_evidence
from dnatune.versions import installed_versions
from dnatune.views import prediction_views, training_views

LOGGER = logging.getLogger("dnatune")


@dataclass(frozen=True)
class Job:
    """What a training job is: model name and settings, the task, the run's seed, where checkpoints go.

    ``code`` is the version of the code that trains (see ``source_version``). ``checkpoint_minutes`` changes nothing
    about what is trained (see ``training.train``); ``progress`` hears how far it is. ``distances``: whether those
    of each scored record to the training records are measured.
    """

    model: str
    settings: dict[str, Any]
    task: Task
    seed: int
    checkpoints: Path
    fold: int | None = None
    code: str = ""
    checkpoint_minutes: float | None = None
    progress: ProgressFile = field(default_factory=ProgressFile)
    distances: bool = False


def open_inputs(tokens: str | Path, embeddings: str | Path | None) -> Inputs:
    """Open the token rows of a run, or the embeddings that a frozen backbone made of them."""
    table = TokenTable(tokens)
    if embeddings:
        return EmbeddingInputs(table, np.load(embeddings, mmap_mode="r"))
    return TokenInputs(table, files.read_json(Path(tokens) / "tokens.json")["pad_id"])


def label_ids(classes: list[str]) -> dict[str, int]:
    """Return the label2id of class names in the order of their ids."""
    return {name: i for i, name in enumerate(classes)}


def views_at_prediction(settings: dict[str, Any], table: TokenTable) -> np.ndarray:
    """Return the numbers of the views over which probabilities are averaged."""
    return table.numbers_of(prediction_views(settings["tokens"], table.frames))


def training_key(job: Job, inputs: Inputs, data: TrainingData, records_sha256: str, stop: float | None = None) -> str:
    """Return a hash of everything the training depends on: a stale checkpoint is never picked up."""
    rows = hashlib.sha256(np.concatenate([data.train, [-1], data.validation]).astype(np.int64).tobytes())
    rows.update(as_bytes(data.targets))
    settings = {key: value for key, value in published(job.settings).items() if key != "resources"}
    shape = [type(inputs).__name__, len(inputs.table), inputs.table.views]
    # The checkpoints of a model that is spread over GPUs have a form of their own.
    spread = sharding.in_use(job.settings["training"])
    parts = [settings, job.seed, job.fold, job.code, rows.hexdigest(), shape, records_sha256, stop, spread]
    return files.fingerprint(parts)


def run_training(
    job: Job,
    inputs: Inputs,
    data: TrainingData,
    classes: list[str],
    records_sha256: str,
    stop: float | None = None,
) -> tuple[Trained, Path]:
    """Build the model, train it, and return it with the checkpoint folder that may now be removed."""
    job.task.learning.check(inputs.table, data.targets, job.settings["backbone"])
    folder = job.checkpoints / training_key(job, inputs, data, records_sha256, stop)
    head = job.task.learning.fitted_head(job.task.head(classes), data.targets[data.train])
    model = tuning.build({**job.settings, "head": head}, label_ids(classes), job.seed, inputs.width)
    trained = train(
        model,
        data,
        job.settings["training"],
        job.task,
        views=inputs.table.numbers_of(training_views(job.settings["tokens"], inputs.table.frames)),
        folder=folder,
        # Folds see their batches in different orders, so that their spread tells something.
        seed=job.seed + (0 if job.fold is None else 1 + job.fold),
        stop_after_epochs=stop,
        checkpoint_minutes=job.checkpoint_minutes,
        progress=job.progress,
    )
    if sharding.is_spread(trained.model):
        plain = tuning.build(job.settings, label_ids(classes), job.seed, inputs.width)
        trained = replace(trained, model=sharding.joined(trained.model, plain))
    return trained, folder


def train_on_fold(job: Job, fold: FoldData, inputs: Inputs, records_sha256: str) -> tuple[Trained, Scores, dict, Path]:
    """Train on a fold and score its validation, test and known unknowns.

    Returns the trained model, the scores, the record for run.json, and the checkpoint folder.
    """
    start = time.perf_counter()
    data = TrainingData(inputs, fold.labels, fold.train, fold.validation, len(fold.classes))
    trained, folder = run_training(job, inputs, data, fold.classes, records_sha256)
    job.progress.tell(state="scoring")
    views, evidence = views_at_prediction(job.settings, inputs.table), None
    if job.task.classes:
        reader = Reader(trained.model, inputs, views, len(fold.classes), job.task, trained.run["precision"])
        logits, evidence = scores_with_evidence(reader, fold, job.distances)
    else:
        score = partial(
            score_records,
            trained.model,
            inputs,
            views=views,
            outputs=len(fold.classes),
            task=job.task,
            precision=trained.run["precision"],
        )
        logits = distributed.by_shares(fold.scored, score)
    scores = fold_scores(fold, logits, evidence)
    run = {
        **describe(job),
        **trained.run,
        "seconds": time.perf_counter() - start,
        "train_records": len(fold.train),
        "validation_records": len(fold.validation),
        "test_records": len(fold.test),
    }
    LOGGER.info(
        "fold %s of %s: best epoch %.2f, validation %s %s, %.0f s in all",
        job.fold,
        job.model,
        run["best_epoch"],
        run["metric_for_best"],
        "-" if run["best_metric"] is None else f"{run['best_metric']:.4f}",
        run["seconds"],
    )
    return trained, scores, run, folder


def train_apart(
    job: Job, fold: FoldData, inputs: Inputs, records_sha256: str, units: list[list[int]], weights: Path
) -> tuple[pd.DataFrame, Scores, dict, list[Path]]:
    """Train a model on a fold for each of ``units`` (label ids) and score with all of them together.

    Saves the weights of each under ``weights``; returns history (with a column unit), scores (records, outputs of
    all), the record for run.json, and the checkpoint folders.
    """
    parts, histories, runs, folders = [], [], [], []
    for number, unit in enumerate(units):
        LOGGER.info("%s: %s (%d of %d)", job.model, ", ".join(fold.classes[i] for i in unit), number + 1, len(units))
        job.progress.tell(part=[number + 1, len(units)])
        own = replace(fold, labels=fold.labels[:, unit], classes=[fold.classes[i] for i in unit])
        trained, part, run, folder = train_on_fold(job, own, inputs, records_sha256)
        tuning.save(trained.model, weights / str(number), job.settings["tuning"])
        parts.append(part.logits)
        histories.append(trained.history.assign(unit=number))
        runs.append({**run, "labels": own.classes})
        folders.append(folder)
    logits = np.empty((len(fold.scored), len(fold.classes)), dtype=np.float32)
    logits[:, [i for unit in units for i in unit]] = np.concatenate(parts, axis=1)
    run = {**describe(job), "seconds": sum(run["seconds"] for run in runs), "units": runs}
    run["peak_memory_mib"] = max(each["peak_memory_mib"] for each in runs)
    return pd.concat(histories, ignore_index=True), fold_scores(fold, logits), run, folders


def train_on_all(
    job: Job, fold: FoldData, inputs: Inputs, records_sha256: str, epochs: float
) -> tuple[Trained, dict, Path]:
    """Train on every known record for ``epochs`` epochs; nothing is chosen, so nothing needs a validation part."""
    start = time.perf_counter()
    everything = fold.known
    data = TrainingData(inputs, fold.labels, everything, everything[:0], len(fold.classes))
    trained, folder = run_training(job, inputs, data, fold.classes, records_sha256, stop=epochs)
    run = {
        **describe(job),
        **trained.run,
        "seconds": time.perf_counter() - start,
        "train_records": len(everything),
    }
    return trained, run, folder


def describe(job: Job) -> dict[str, Any]:
    """Return what a job was, for run.json."""
    return {
        "model": job.model,
        "fold": job.fold,
        "backbone": job.settings["backbone"],
        "revision": job.settings["revision"],
        "tuning": job.settings["tuning"],
        "device": device_name(),
        "processes": distributed.size(),
        "seed": job.seed,
        "versions": installed_versions(),
    }


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a job whose outputs are written, and their parents once empty."""
    shutil.rmtree(folder, ignore_errors=True)
    for parent in list(folder.parents)[:3]:
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()


def embed_rows(job: Job, inputs: TokenInputs, classes: list[str], out: Path) -> None:
    """Write the embeddings (token rows, hidden) float32 of the frozen backbone, once for all folds."""
    from dnatune.inference import embeddings

    model = tuning.frozen_model(job.settings, label_ids(classes), job.seed)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    rows = np.arange(len(inputs.table))
    with files.whole(out) as partial:
        array = np.lib.format.open_memmap(
            partial, mode="w+", dtype=np.float32, shape=(len(rows), model.config.backbone.hidden_size)
        )
        embeddings(model, inputs, rows, choose_precision(job.settings["training"]["precision"]), array)
        array.flush()
