"""Embed all token rows with a frozen backbone, once for all folds of a probe."""

from pathlib import Path

import torch

import dnatune.offline  # noqa: F401 (before transformers)
from dnatune.backbones.local_copies import located
from dnatune.fold_data import class_names
from dnatune.fold_training import Job, embed_rows, open_inputs
from dnatune.hardware import check_card
from dnatune.job import job
from dnatune.tasks import task

with job(snakemake):
    params, given = snakemake.params, snakemake.input
    torch.set_num_threads(snakemake.threads)
    check_card(snakemake.resources.get("gpu_mem_mb", 0))
    settings = located(params.settings, given.get("backbone"))
    embedding = Job(params.model, settings, task(**params.task), params.seed, Path())
    inputs = open_inputs(given.tokens, None)
    embed_rows(embedding, inputs, class_names(given.label_map), Path(snakemake.output.embeddings))
