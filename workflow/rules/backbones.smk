# Backbones from a hub, downloaded where Snakemake runs: the one step that needs the internet.
# Only the manifest is an output. Snakemake would delete a folder before it makes it again, and other runs read it.


rule backbone:
    output:
        manifest=f"{BACKBONES_FOLDER}/{{downloaded}}.json",
    log:
        "<logs>/backbones/{downloaded}.log",
    benchmark:
        "<benchmarks>/backbones/{downloaded}.tsv"
    localrule: True
    conda:
        f"../../envs/train-{config['training_environment']}.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        repository=lambda wildcards: DOWNLOADED[wildcards.downloaded]["backbone"],
        revision=lambda wildcards: DOWNLOADED[wildcards.downloaded]["revision"],
        with_code=lambda wildcards: DOWNLOADED[wildcards.downloaded]["trust_remote_code"],
        code=code("fetch_backbone.py"),
    message:
        "Downloading {wildcards.downloaded}; progress: {log}"
    script:
        "../../scripts/fetch_backbone.py"
