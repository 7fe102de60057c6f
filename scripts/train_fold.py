"""Fine-tune one model on one fold and score the fold's validation, test and known unknown sequences."""

from pathlib import Path

import torch

from dnatune import distributed, files, tuning
from dnatune.fold_data import load_fold
from dnatune.fold_training import Job, open_inputs, remove_checkpoints, train_on_fold
from dnatune.job import job
from dnatune.tasks import task

with job(snakemake) as log, distributed.processes(snakemake.resources.gpu):
    params, given, made = snakemake.params, snakemake.input, snakemake.output
    torch.set_num_threads(max(1, snakemake.threads // distributed.size()))
    folder, number = Path(params.checkpoints), int(params.fold)
    training = Job(params.model, params.settings, task(**params.task), params.seed, folder, number, params.code)
    fold = load_fold(given.records, given.folds, given.label_map, training.fold, training.task)
    log.info("%s, fold %d: %d sequences to train on", training.model, training.fold, len(fold.train))
    inputs = open_inputs(given.tokens, given.get("embeddings"))
    trained, scores, run, checkpoints = train_on_fold(training, fold, inputs, files.sha256(given.records))
    distributed.others_end_here()
    with files.whole(made.weights) as partial:
        tuning.save(trained.model, partial, training.settings["tuning"])
    files.write_tsv(made.history, trained.history)
    files.write_json(made.run, run)
    scores.save(made.scores)
    remove_checkpoints(checkpoints)
