"""Calibrate and evaluate one model, or baseline, on one fold.

input: scores, label_map; params: model, fold, calibration {method, cv_folds}, metrics {top_k}, seed;
output: calibration, metrics, curves, confusions.
"""

import numpy as np

from dnatune.evaluation import evaluate_fold
from dnatune.files import whole, write_json, write_tsv
from dnatune.fold_data import class_names
from dnatune.job import job
from dnatune.scores import Scores

with job(snakemake) as log:
    params, output = snakemake.params, snakemake.output
    result = evaluate_fold(
        Scores.load(snakemake.input.scores),
        class_names(snakemake.input.label_map),
        model=params.model,
        fold=params.fold,
        calibration_method=params.calibration["method"],
        calibration_folds=params.calibration["cv_folds"],
        top_k=params.metrics["top_k"],
        seed=params.seed,
    )
    write_json(output.calibration, result.calibrator)
    write_tsv(output.metrics, result.metrics)
    write_tsv(output.confusions, result.confusions)
    with whole(output.curves) as partial:
        np.savez(partial, **result.curves)
    headline = ["accuracy", "f1_macro", "pr_auc_macro", "log_loss", "ece"]
    chosen = result.metrics.query("split == 'test' and `class` == 'all' and metric in @headline")
    for stage, table in chosen.groupby("stage", sort=False):
        words = ", ".join(f"{row.metric} {row.value:.4f}" for row in table.itertuples())
        log.info("%s, fold %s, test, %s: %s", params.model, params.fold, stage, words)
    log.info("Calibration: %s.", result.calibrator["method"])
