"""Calibrate and evaluate one model, or baseline, on one fold.

input: scores, label_map, records, folds; params: model, fold, calibration {method, cv_folds, coverage},
sets {coverage, allow_empty}, rank_threshold, unknowns {score, false_alarm}, metrics {top_k}, seed, task;
output: calibration, metrics, curves, and the task's own tables.
"""

import numpy as np

from dnatune.files import whole, write_json, write_tsv
from dnatune.fold_data import class_names, facts_of_fold, load_fold
from dnatune.job import job
from dnatune.judging_settings import judging_settings
from dnatune.scores import Scores
from dnatune.tasks import task

with job(snakemake) as log:
    params, given, output = snakemake.params, snakemake.input, snakemake.output
    kind = task(**params.task)
    tables, names = (given.records, given.folds, given.label_map), class_names(given.label_map)
    facts = facts_of_fold(load_fold(*tables, params.fold, kind)) if kind.classes else {}
    settings = judging_settings(params, given.label_map, top_k=params.metrics["top_k"], **facts)
    result = kind.judging.evaluate(Scores.load(given.scores), names, params.model, params.fold, settings)
    write_json(output.calibration, result.calibrator)
    write_tsv(output.metrics, result.metrics)
    for name in kind.fold_tables:
        write_tsv(output[name], result.tables[name])
    with whole(output.curves) as partial:
        np.savez(partial, **result.curves)
    headline = list(kind.headline)
    chosen = result.metrics.query("split == 'test' and `class` == 'all' and metric in @headline")
    for stage, table in chosen.groupby("stage", sort=False):
        words = ", ".join(f"{row.metric} {row.value:.4f}" for row in table.itertuples())
        log.info("%s, fold %s, test, %s: %s", params.model, params.fold, stage, words)
    log.info("Calibration: %s.", result.calibrator.get("method", "none"))
