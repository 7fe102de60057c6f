"""One training job from files to files: a model on a fold, or on all data for the saved model.

Joins the parts (tokens, tuning, training, inference, scores); the scripts only name the files.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dnatune import distributed, files, sharding, tuning
from dnatune.fold_data import FoldData
from dnatune.hardware import choose_precision, device_name
from dnatune.inference import log_probabilities
from dnatune.inputs import EmbeddingInputs, Inputs, TokenInputs
from dnatune.scores import Scores
from dnatune.tasks import Task
from dnatune.tokens import TokenTable
from dnatune.training import Trained, TrainingData, train
from dnatune.versions import installed_versions

LOGGER = logging.getLogger("dnatune")


@dataclass(frozen=True)
class Job:
    """What a training job is: model name and settings, the task, the run's seed, where checkpoints go.

    ``code`` is the version of the code that trains (see ``source_version``).
    """

    model: str
    settings: dict[str, Any]
    task: Task
    seed: int
    checkpoints: Path
    fold: int | None = None
    code: str = ""


def open_inputs(tokens: str | Path, embeddings: str | Path | None) -> Inputs:
    """Open the token rows of a run, or the embeddings that a frozen backbone made of them."""
    table = TokenTable(tokens)
    if embeddings:
        return EmbeddingInputs(table, np.load(embeddings, mmap_mode="r"))
    return TokenInputs(table, files.read_json(Path(tokens) / "tokens.json")["pad_id"])


def label_ids(classes: list[str]) -> dict[str, int]:
    """Return the label2id of class names in the order of their ids."""
    return {name: i for i, name in enumerate(classes)}


def frames_at_prediction(settings: dict[str, Any], table: TokenTable) -> int:
    """Return over how many reading frames probabilities are averaged."""
    return table.frames if settings["tokens"]["average_frames"] is not False else 1


def training_key(job: Job, inputs: Inputs, data: TrainingData, records_sha256: str, stop: float | None = None) -> str:
    """Return a hash of everything the training depends on: a stale checkpoint is never picked up."""
    rows = hashlib.sha256(np.concatenate([data.train, [-1], data.validation]).astype(np.int64).tobytes())
    rows.update(data.labels.astype(np.int64).tobytes())
    settings = {key: value for key, value in job.settings.items() if key != "resources"}
    shape = [type(inputs).__name__, len(inputs.table), inputs.table.frames]
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
    folder = job.checkpoints / training_key(job, inputs, data, records_sha256, stop)
    model = tuning.build(job.settings, label_ids(classes), job.seed, inputs.width)
    trained = train(
        model,
        data,
        job.settings["training"],
        job.task,
        random_frame=job.settings["tokens"]["random_frame"] is not False,
        folder=folder,
        # Folds see their batches in different orders, so that their spread tells something.
        seed=job.seed + (0 if job.fold is None else 1 + job.fold),
        stop_after_epochs=stop,
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
    score = partial(
        log_probabilities,
        trained.model,
        inputs,
        frames=frames_at_prediction(job.settings, inputs.table),
        classes=len(fold.classes),
        probabilities=job.task.probabilities,
        precision=trained.run["precision"],
    )
    logits = distributed.by_shares(fold.scored, score)
    scored = fold.scored
    scores = Scores(fold.ids[scored], fold.scored_roles, fold.labels[scored], logits, fold.groups[scored])
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


def train_on_all(
    job: Job, fold: FoldData, inputs: Inputs, records_sha256: str, epochs: float
) -> tuple[Trained, dict, Path]:
    """Train on every known record for ``epochs`` epochs; nothing is chosen, so nothing needs a validation part."""
    start = time.perf_counter()
    everything = np.sort(np.concatenate([fold.train, fold.validation, fold.test]))
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
            partial, mode="w+", dtype=np.float32, shape=(len(rows), model.classifier.in_features)
        )
        embeddings(model, inputs, rows, choose_precision(job.settings["training"]["precision"]), array)
        array.flush()
