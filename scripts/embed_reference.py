"""Read the training sequences with the model that is to be saved: what distances of new sequences are measured to."""

from pathlib import Path

import torch

import dnatune.offline  # noqa: F401 (before transformers)
from dnatune import files
from dnatune.backbones.local_copies import located
from dnatune.fold_data import load_fold
from dnatune.fold_training import open_inputs, views_at_prediction
from dnatune.hardware import check_card, choose_precision
from dnatune.job import job
from dnatune.packaging import Package, assemble, best_fold, trained_rows
from dnatune.reference import write_reference
from dnatune.tasks import task
from dnatune.vectors import Reader

with job(snakemake) as log:
    params, given, made = snakemake.params, snakemake.input, snakemake.output
    torch.set_num_threads(snakemake.threads)
    check_card(snakemake.resources.get("gpu_mem_mb", 0))
    kind = task(**params.task)
    runs = [files.read_json(path) for path in given.runs]
    weights = [Path(path) for path in (given.weights if isinstance(given.weights, list) else [given.weights])]
    fold = load_fold(given.records, given.folds, given.label_map, best_fold(runs, kind), kind)
    settings = {**located(params.settings, given.get("backbone")), "head": kind.head(fold.classes)}
    package = Package(params.model, settings, params.seed, fold.classes, params.mode, False, dict(params.task))
    model = assemble(package, weights, runs).eval().to("cuda" if torch.cuda.is_available() else "cpu")
    inputs = open_inputs(given.tokens, None)
    views = views_at_prediction(settings, inputs.table)
    precision = choose_precision("auto")
    reader = Reader(model, inputs, views, len(fold.classes), kind, precision)
    rows = trained_rows(params.mode, fold)
    count = write_reference(made.reference, reader, rows, fold.labels[rows])
    log.info("%s: vectors of %d distinct training sequences", params.model, count)
