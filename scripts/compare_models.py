"""Put all models and baselines side by side.

input: metrics (list of tables), folds; output: metrics, comparison, paired.
"""

from dnatune.comparison import compare, paired_tests, read_metrics, tested_per_trained
from dnatune.files import write_tsv
from dnatune.job import job
from dnatune.tasks import task

with job(snakemake) as log:
    metrics = read_metrics(snakemake.input.metrics)
    share = tested_per_trained(snakemake.input.folds)
    write_tsv(snakemake.output.metrics, metrics)
    write_tsv(snakemake.output.comparison, compare(metrics))
    write_tsv(snakemake.output.paired, paired_tests(metrics, share, task(**snakemake.params.task).tested))
    log.info("Compared %s.", ", ".join(dict.fromkeys(metrics["model"])))
