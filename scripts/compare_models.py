"""Put all models and baselines side by side.

input: metrics (list of tables), curves (of the same folds), folds; output: metrics, comparison, paired.
"""

import pandas as pd

from dnatune.calibration_error import pooled_errors
from dnatune.comparison import compare, paired_tests, read_metrics, tested_per_trained
from dnatune.files import write_tsv
from dnatune.job import job
from dnatune.sequence_tests import bootstrap_tests, read_outcomes
from dnatune.tasks import task

with job(snakemake) as log:
    metrics = read_metrics(snakemake.input.metrics)
    share = tested_per_trained(snakemake.input.folds)
    write_tsv(snakemake.output.metrics, metrics)
    outcomes = read_outcomes(snakemake.input.curves)
    averages = [compare(metrics), pooled_errors(outcomes, snakemake.params.seed)]
    write_tsv(snakemake.output.comparison, pd.concat([part for part in averages if len(part)]))
    tested = task(**snakemake.params.task).tested
    tests = [
        paired_tests(metrics, share, tested),
        bootstrap_tests(outcomes, tested, snakemake.params.seed),
    ]
    write_tsv(snakemake.output.paired, pd.concat([part for part in tests if len(part)] or tests[:1]))
    log.info("Compared %s.", ", ".join(dict.fromkeys(metrics["model"])))
