"""Name the sequences of a query FASTA with the best saved model (by validation)."""

from pathlib import Path

import torch

import dnatune.offline  # noqa: F401 (before transformers)
from dnatune import files
from dnatune.job import job
from dnatune.prediction import SavedModel, prediction_tables
from dnatune.report_files import table as read_table
from dnatune.report_tables import best_model
from dnatune.tasks import task

with job(snakemake) as log:
    params, given = snakemake.params, snakemake.input
    torch.set_num_threads(snakemake.threads)
    kind = task(**params.task)
    name = best_model(read_table(given.metrics), list(params.models), kind)
    folders = {Path(folder).name: folder for folder in given.models}
    log.info("naming with %s (best %s on validation of %d saved)", name, kind.best_by, len(folders))
    saved = SavedModel(folders[name])
    tables = prediction_tables(given.query, saved, params.filter, params.top_k)
    table = tables["names"]
    table.insert(len(table.columns), "model", name)
    files.write_tsv(snakemake.output.names, table)
    for other in kind.prediction_tables:
        files.write_tsv(snakemake.output[other], tables[other].assign(model=name))
    for form, written in kind.judging.other_forms(table, saved.calibrator).items():
        files.write_tsv(snakemake.output[form], written)
    log.info("%d sequences, %d named: %s", len(table), (table["note"] == "").sum(), snakemake.output.names)
