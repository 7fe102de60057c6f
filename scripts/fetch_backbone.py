"""Download one backbone from a hub, of one commit, verified. The only step that needs the internet."""

from pathlib import Path

from dnatune.backbones.hub import fetch
from dnatune.job import job

with job(snakemake) as log:
    params = snakemake.params
    made = fetch(params.repository, params.revision, params.with_code, snakemake.output.manifest)
    size = sum(file["size"] for file in made["files"])
    log.info("%s at commit %s: %d files, %.1f MB", made["repository"], made["commit"], len(made["files"]), size / 1e6)
    log.info("in %s", Path(snakemake.output.manifest).parent / made["folder"])
