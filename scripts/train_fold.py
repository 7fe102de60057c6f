"""Fine-tune one model on one fold and score the fold's validation, test and known unknown sequences."""

from contextlib import ExitStack
from pathlib import Path

import torch

import dnatune.offline  # noqa: F401 (before transformers)
from dnatune import distributed, files, tuning
from dnatune.backbones.local_copies import located
from dnatune.fold_data import load_fold
from dnatune.fold_training import Job, open_inputs, remove_checkpoints, train_apart, train_on_fold
from dnatune.hardware import check_card
from dnatune.job import job
from dnatune.progress import ProgressFile
from dnatune.tasks import task
from dnatune.training import with_equal_steps

# Models that learn their labels apart are many and small: one process, one after the other.
GPUS = 1 if snakemake.params.settings.get("alone") else snakemake.resources.gpu

with job(snakemake) as log, ProgressFile.beside(snakemake.log[0]) as progress, distributed.processes(GPUS):
    params, given, made = snakemake.params, snakemake.input, snakemake.output
    torch.set_num_threads(max(1, snakemake.threads // distributed.size_here()))
    check_card(snakemake.resources.get("gpu_mem_mb", 0))
    folder, number = Path(params.checkpoints), int(params.fold)
    kind, minutes = task(**params.task), snakemake.resources.checkpoint_minutes
    settings, keys = located(params.settings, given.get("backbone")), (params.seed, folder, number, params.code)
    fold = load_fold(given.records, given.folds, given.label_map, number, kind)
    if params.get("equal_steps"):  # a point of a learning curve
        whole = len(fold.train) + len(fold.unused)
        settings = {**settings, "training": with_equal_steps(settings["training"], len(fold.train), whole)}
    training = Job(params.model, settings, kind, *keys, minutes, progress, params.distances)
    log.info("%s, fold %d: %d sequences to train on", training.model, training.fold, len(fold.train))
    inputs = open_inputs(given.tokens, given.get("embeddings"))
    units = training.task.units(training.settings, fold.classes)
    sha256 = files.sha256(given.records)
    with ExitStack() as writing:
        if units:
            partial = writing.enter_context(files.whole(made.weights))
            history, scores, run, checkpoints = train_apart(training, fold, inputs, sha256, units, partial)
        else:
            trained, scores, run, checkpoint = train_on_fold(training, fold, inputs, sha256)
            distributed.others_end_here()
            partial = writing.enter_context(files.whole(made.weights))
            tuning.save(trained.model, partial, training.settings["tuning"])
            history, checkpoints = trained.history, [checkpoint]
    files.write_tsv(made.history, history)
    files.write_json(made.run, run)
    scores.save(made.scores)
    for folder in checkpoints:
        remove_checkpoints(folder)
