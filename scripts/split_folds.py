"""Rule folds: give each record its role in each fold and prove that nothing leaks. See ``dnatune.folds``."""

from dnatune.audit import audit_folds, require_clean
from dnatune.files import read_json, write_json
from dnatune.folds import split_folds
from dnatune.job import job

with job(snakemake) as log:
    folds_path = snakemake.output.folds
    scheme = split_folds(
        snakemake.input.records,
        read_json(snakemake.input.label_map)["label2id"],
        snakemake.params.split,
        snakemake.params.seed,
        folds_path,
    )
    audit = audit_folds(folds_path, snakemake.input.records, scheme)
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
