# Backbones from a hub, downloaded where Snakemake runs: the one step that needs the internet.
# Only the manifest is an output. Snakemake would delete a folder before it makes it again, and other runs read it.
from dnatune.backbones.local_copies import manifest_path, on_a_hub

BACKBONES_FOLDER = str(Path(config["backbones_folder"]).expanduser())


def manifest_of(settings):
    """Manifest of a downloaded backbone: repository, commit and files."""
    keys = ("backbone", "revision", "trust_remote_code")
    return str(manifest_path(BACKBONES_FOLDER, *(settings[key] for key in keys)))


# Backbones that come from a hub, each once, by the name of the manifest.
DOWNLOADED = {
    manifest_of(settings).removeprefix(f"{BACKBONES_FOLDER}/").removesuffix(".json"): settings
    for settings in config["models"].values()
    if on_a_hub(settings["backbone"])
}


wildcard_constraints:
    downloaded="|".join(map(re.escape, DOWNLOADED)) or "none",


def backbone_of(settings):
    """Manifest of a model's backbone, where it comes from a hub."""
    return {"backbone": manifest_of(settings)} if on_a_hub(settings["backbone"]) else {}


def model_backbone(wildcards):
    """Manifest of the backbone of a rule's model, where it comes from a hub."""
    return backbone_of(TRAINED[wildcards.model])


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
