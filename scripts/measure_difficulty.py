"""Rule distances: how far each sequence is from its own and from other names. See ``dnatune.difficulty``."""

from dnatune.difficulty import measure
from dnatune.files import write_json, write_tsv
from dnatune.job import job

with job(snakemake) as log:
    params, made = snakemake.params, snakemake.output
    species, suspicious, summary = measure(snakemake.input.records, params.settings, params.seed, snakemake.threads)
    write_tsv(made.species, species)
    write_tsv(made.suspicious, suspicious)
    write_json(made.summary, summary)
    log.info("%d classes: %s", summary["classes"], summary["verdicts"])
    log.info("suspicious records: %s", summary["suspicious"])
