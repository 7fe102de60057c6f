"""Name the sequences of a query FASTA with the best saved model, or the engine (by validation)."""

from pathlib import Path

import torch

import dnatune.offline  # noqa: F401 (before transformers)
from dnatune import files
from dnatune.engine import naming_model
from dnatune.errors import UserError
from dnatune.job import job
from dnatune.prediction import prediction_tables
from dnatune.report_files import table as read_table
from dnatune.report_tables import best_model
from dnatune.saved_engine import open_saved
from dnatune.tasks import task

with job(snakemake) as log:
    params, given = snakemake.params, snakemake.input
    torch.set_num_threads(snakemake.threads)
    kind = task(**params.task)
    folders = {Path(folder).name: folder for folder in given.models}
    if params.wanted and params.wanted not in folders:
        raise UserError(
            f"predict_with: '{params.wanted}' was not saved, since fewer than two of its experts can run here."
        )
    best = best_model(read_table(given.metrics), list(params.models), kind)
    runs = [files.read_json(path) for path in given.runs]
    name = naming_model(runs, params.engines, params.models, best, params.wanted)
    why = "predict_with" if params.wanted else f"by {kind.best_by} and, for an engine, log loss on validation"
    log.info("naming with %s (%s)", name, why)
    saved = open_saved(folders[name], snakemake.threads)
    tables = prediction_tables(given.query, saved, params.filter, params.top_k)
    table = tables["names"]
    table.insert(len(table.columns), "model", name)
    files.write_tsv(snakemake.output.names, table)
    for other in kind.prediction_tables:
        files.write_tsv(snakemake.output[other], tables[other].assign(model=name))
    for form, written in kind.judging.other_forms(table, saved.calibrator).items():
        files.write_tsv(snakemake.output[form], written)
    log.info("%d sequences, %d named: %s", len(table), (table["note"] == "").sum(), snakemake.output.names)
