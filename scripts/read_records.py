"""Rule records: match, clean and filter sequences and labels. See ``dnatune.records``."""

from dnatune.job import job
from dnatune.records import Settings, read_records
from dnatune.tasks import task

with job(snakemake) as log:
    kind = task(**snakemake.params.task)
    summary = read_records(
        Settings.from_config(snakemake.params.data, snakemake.params.filter),
        snakemake.output.records,
        snakemake.output.removed,
        snakemake.output.summary,
        kind,
    )
    log.info("%d sequences read, %d kept", summary["sequences_read"], summary["records_kept"])
    if kind.classes:
        log.info(
            "%d in %d classes to train with, %d in %d classes that are too rare",
            summary["records_known"],
            summary["classes_known"],
            summary["records_known_unknown"],
            summary["classes_known_unknown"],
        )
    for reason, count in summary["removed"].items():
        log.info("removed.tsv: %d %s", count, reason)
    conflicts = summary["conflicts"]
    if conflicts["sequences"]:
        log.info(
            "%d sequences have two or more labels (%d records, %s): none can exceed %.4f accuracy",
            conflicts["sequences"],
            conflicts["records"],
            conflicts["policy"],
            conflicts["best_accuracy"],
        )
