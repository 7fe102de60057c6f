"""Rule folds: give each record its role in each fold and prove that nothing leaks. See ``dnatune.folds``."""

from dnatune.audit import audit_folds, require_clean
from dnatune.files import write_json
from dnatune.fold_data import class_names
from dnatune.folds import split_folds
from dnatune.job import job
from dnatune.tasks import task

with job(snakemake) as log:
    folds_path, kind = snakemake.output.folds, task(**snakemake.params.task)
    scheme = split_folds(
        snakemake.input.records,
        class_names(snakemake.input.label_map),
        snakemake.params.split,
        snakemake.params.seed,
        folds_path,
        kind,
        snakemake.params.held_out,
    )
    audit = audit_folds(folds_path, snakemake.input.records, scheme, kind.classes)
    write_json(snakemake.output.audit, audit)
    require_clean(audit, folds_path)
    log.info("%d folds (%s), audit clean: %d classes tested", audit["folds"], scheme, audit["classes_tested"])
    for fold in audit["per_fold"]:
        log.info(
            "fold %d: train %d, validation %d, test %d records; %d classes tested",
            fold["fold"],
            *(fold[role]["records"] for role in ("train", "validation", "test")),
            fold["classes_tested"],
        )
