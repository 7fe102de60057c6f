"""Put all models and baselines side by side.

input: metrics (list of tables), folds; output: metrics, comparison, paired.
"""

from dnatune.comparison import compare, paired_tests, read_metrics, tested_per_trained
from dnatune.files import write_tsv
from dnatune.job import job

with job(snakemake) as log:
    metrics = read_metrics(snakemake.input.metrics)
    write_tsv(snakemake.output.metrics, metrics)
    write_tsv(snakemake.output.comparison, compare(metrics))
    write_tsv(snakemake.output.paired, paired_tests(metrics, tested_per_trained(snakemake.input.folds)))
    log.info("Compared %s.", ", ".join(dict.fromkeys(metrics["model"])))
