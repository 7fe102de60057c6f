"""Rule labels: number the classes and say how unbalanced they are. See ``dnatune.labels``."""

import pyarrow.parquet as pq

from dnatune.job import job
from dnatune.labels import map_labels
from dnatune.tasks import task
from dnatune.taxonomy import described

with job(snakemake) as log:
    records, kind = snakemake.input.records, task(**snakemake.params.task)
    ranks, taxonomy = kind.options.get("ranks"), None
    if ranks:
        columns = ["id", "label", "known", "unknown", *(f"rank_{rank}" for rank in ranks)]
        taxonomy = described(pq.read_table(records, columns=columns), ranks, kind.options["columns"][0], records)
    summary = map_labels(
        records,
        snakemake.output.label_map,
        snakemake.output.class_balance,
        snakemake.output.summary,
        kind,
        taxonomy,
    )
    log.info("%s", summary["statement"])
