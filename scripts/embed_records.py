"""Write one vector per sequence of a run, from a frozen backbone or from a saved model."""

from pathlib import Path

import pyarrow.parquet as pq
import torch

import dnatune.offline  # noqa: F401 (before transformers)
from dnatune import files
from dnatune.backbones.local_copies import located
from dnatune.embedding import embedder, write_embeddings
from dnatune.hardware import check_card
from dnatune.job import job
from dnatune.tasks import task
from dnatune.tokens import TokenTable

with job(snakemake) as log:
    params, given = snakemake.params, snakemake.input
    torch.set_num_threads(snakemake.threads)
    check_card(snakemake.resources.get("gpu_mem_mb", 0))
    settings = {**located(params.settings, given.get("backbone")), "head": task(**params.task).head()}
    model = embedder(settings, params.seed, params.pooling, given.get("saved"))
    ids = pq.read_table(given.records, columns=["id"])["id"].combine_chunks()
    pad_id = files.read_json(Path(given.tokens) / "tokens.json")["pad_id"]
    made = snakemake.output.embeddings
    size = write_embeddings(model, TokenTable(given.tokens), pad_id, ids, settings, made)
    log.info("%d vectors of %d numbers: %s", len(ids), size, made)
