"""Fine-tune one model on one fold and score the fold's validation, test and known unknown sequences."""

from pathlib import Path

import torch

from dnatune import files, tuning
from dnatune.fold_data import load_fold
from dnatune.fold_training import Job, open_inputs, remove_checkpoints, train_apart, train_on_fold
from dnatune.job import job
from dnatune.tasks import task

with job(snakemake) as log:
    params, given, made = snakemake.params, snakemake.input, snakemake.output
    torch.set_num_threads(snakemake.threads)
    folder, number = Path(params.checkpoints), int(params.fold)
    training = Job(params.model, params.settings, task(**params.task), params.seed, folder, number, params.code)
    fold = load_fold(given.records, given.folds, given.label_map, training.fold, training.task)
    log.info("%s, fold %d: %d sequences to train on", training.model, training.fold, len(fold.train))
    inputs = open_inputs(given.tokens, given.get("embeddings"))
    units = training.task.units(training.settings, fold.classes)
    sha256 = files.sha256(given.records)
    with files.whole(made.weights) as partial:
        if units:
            history, scores, run, checkpoints = train_apart(training, fold, inputs, sha256, units, partial)
        else:
            trained, scores, run, folder = train_on_fold(training, fold, inputs, sha256)
            tuning.save(trained.model, partial, training.settings["tuning"])
            history, checkpoints = trained.history, [folder]
    files.write_tsv(made.history, history)
    files.write_json(made.run, run)
    scores.save(made.scores)
    for folder in checkpoints:
        remove_checkpoints(folder)
