# dnatune: from a FASTA file and a label table to a fine-tuned DNA language model that can be trusted.
# Read README.md first; every key of a configuration is explained in config/README.md.
from snakemake.utils import min_version

min_version("9.19")


# The example runs unless --configfile names another configuration; the two are never mixed
# (Snakemake would merge them key by key).
if not {"name", "data", "models"} & set(config):

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/resources.smk"


if config["container"]:

    container: config["container"]


pathvars:
    results=RUN_FOLDER,
    logs=f"{RUN_FOLDER}/logs",
    benchmarks=f"{RUN_FOLDER}/benchmarks",


include: "workflow/rules/backbones.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/difficulty.smk"
include: "workflow/rules/tokens.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/baselines.smk"
include: "workflow/rules/engine.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/learning_curve.smk"
include: "workflow/rules/package.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/embed.smk"
include: "workflow/rules/status.smk"


rule all:
    default_target: True
    input:
        run_results(),
    localrule: True
    message:
        "Done: open {input[0]}"


rule backbones:
    input:
        [manifest_of(settings) for settings in DOWNLOADED.values()],
    localrule: True
    message:
        "Done: nothing more has to be downloaded"


rule embed:
    input:
        vectors(),
    localrule: True
    message:
        "Done: the vectors stand in {input}"


rule predict:
    input:
        predictions,
    localrule: True
    message:
        "Done: the names stand in {input}"
