"""Rule labels: number the classes and say how unbalanced they are. See ``dnatune.labels``."""

from dnatune.job import job
from dnatune.labels import map_labels
from dnatune.tasks import task

with job(snakemake) as log:
    summary = map_labels(
        snakemake.input.records,
        snakemake.output.label_map,
        snakemake.output.class_balance,
        snakemake.output.summary,
        task(**snakemake.params.task),
    )
    log.info("%s", summary["statement"])
