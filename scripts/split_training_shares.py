"""Rule training_shares: parts of each fold's training records, nested. See ``dnatune.training_shares``."""

from dnatune.audit import audit_folds, require_clean
from dnatune.files import write_tsv
from dnatune.job import job
from dnatune.tasks import task
from dnatune.training_shares import write_training_shares

with job(snakemake) as log:
    given, params, kind = snakemake.input, snakemake.params, task(**snakemake.params.task)
    written = dict(zip(params.shares, snakemake.output.folds, strict=True))
    counts = write_training_shares(
        given.records, given.folds, given.label_map, list(params.numbers), written, params.seed, kind
    )
    for path in written.values():
        # The run's own audit proves the rest; here, that no group is partly used and no record is lost.
        require_clean(audit_folds(path, given.records, "part", kind.classes), path)
    write_tsv(snakemake.output.counts, counts)
    for share, mine in counts.groupby("share")[["train_records", "real_share"]].mean().iterrows():
        log.info("%g of the training records: %.0f, really %.3f", share, *mine)
