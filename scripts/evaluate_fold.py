"""Calibrate and evaluate one model, or baseline, on one fold.

input: scores, label_map; params: model, fold, calibration {method, cv_folds, coverage}, metrics {top_k},
unknowns {score, false_alarm}, seed, task; output: calibration, metrics, curves, and the task's own tables.
"""

import numpy as np

from dnatune.files import whole, write_json, write_tsv
from dnatune.fold_data import class_names
from dnatune.job import job
from dnatune.scores import Scores
from dnatune.tasks import task
from dnatune.tasks.base import EvaluationSettings

with job(snakemake) as log:
    params, output = snakemake.params, snakemake.output
    kind = task(**params.task)
    method, cv_folds = params.calibration["method"], params.calibration["cv_folds"]
    result = kind.judging.evaluate(
        Scores.load(snakemake.input.scores),
        class_names(snakemake.input.label_map),
        params.model,
        params.fold,
        EvaluationSettings(
            method,
            cv_folds,
            params.metrics["top_k"],
            params.seed,
            params.calibration["coverage"],
            params.unknowns["score"],
            params.unknowns["false_alarm"],
        ),
    )
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
