"""Train one model on all known sequences, for the epochs that its folds settled on."""

from pathlib import Path

import torch

import dnatune.offline  # noqa: F401 (before transformers)
from dnatune import distributed, files, tuning
from dnatune.backbones.local_copies import located
from dnatune.fold_data import load_fold
from dnatune.fold_training import Job, open_inputs, remove_checkpoints, train_on_all
from dnatune.hardware import check_card
from dnatune.job import job
from dnatune.packaging import settled_epochs
from dnatune.progress import ProgressFile
from dnatune.tasks import task

GPUS = snakemake.resources.gpu

with job(snakemake) as log, ProgressFile.beside(snakemake.log[0]) as progress, distributed.processes(GPUS):
    params, given, made = snakemake.params, snakemake.input, snakemake.output
    torch.set_num_threads(max(1, snakemake.threads // distributed.size_here()))
    check_card(snakemake.resources.get("gpu_mem_mb", 0))
    folder = Path(params.checkpoints)
    kind, minutes = task(**params.task), snakemake.resources.checkpoint_minutes
    settings = located(params.settings, given.get("backbone"))
    training = Job(params.model, settings, kind, params.seed, folder, None, params.code, minutes, progress)
    epochs = settled_epochs([files.read_json(path) for path in given.runs])
    log.info("%s on all data for %.2f epochs (median of the folds' best)", training.model, epochs)
    # Any fold holds all known records; its roles are joined again.
    fold = load_fold(given.records, given.folds, given.label_map, 0, training.task)
    inputs = open_inputs(given.tokens, given.get("embeddings"))
    trained, run, checkpoints = train_on_all(training, fold, inputs, files.sha256(given.records), epochs)
    distributed.others_end_here()
    with files.whole(made.weights) as partial:
        tuning.save(trained.model, partial, training.settings["tuning"])
    files.write_tsv(made.history, trained.history)
    files.write_json(made.run, run)
    remove_checkpoints(checkpoints)
