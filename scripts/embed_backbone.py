"""Embed all token rows with a frozen backbone, once for all folds of a probe."""

from pathlib import Path

import torch

from dnatune.fold_data import class_names
from dnatune.fold_training import Job, embed_rows, open_inputs
from dnatune.job import job
from dnatune.tasks import task

with job(snakemake):
    params, given = snakemake.params, snakemake.input
    torch.set_num_threads(snakemake.threads)
    embedding = Job(params.model, params.settings, task(**params.task), params.seed, Path())
    inputs = open_inputs(given.tokens, None)
    embed_rows(embedding, inputs, class_names(given.label_map), Path(snakemake.output.embeddings))
