"""Rule training_share: a part of each fold's training records. See ``dnatune.training_shares``."""

from dnatune.audit import audit_folds, require_clean
from dnatune.files import write_tsv
from dnatune.job import job
from dnatune.tasks import task
from dnatune.training_shares import write_training_share

with job(snakemake) as log:
    given, params, made = snakemake.input, snakemake.params, snakemake.output
    kind, files = task(**params.task), (given.records, given.folds, given.label_map)
    counts = write_training_share(*files, list(params.numbers), params.share, made.folds, params.seed, kind)
    # The run's own audit proves the rest; here, that no group is partly used and no record is lost.
    require_clean(audit_folds(made.folds, given.records, "part", kind.classes), made.folds)
    write_tsv(made.counts, counts)
    size = counts.loc[counts["share"] < 1, ["train_records", "real_share"]].mean()
    log.info("%g of the training records: %.0f, really %.3f", params.share, *size)
