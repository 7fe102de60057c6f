# What all rules share: the checked configuration, names of folds and models, and lists of files.
import gc
import shutil
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

WORKFLOW_FOLDER = Path(workflow.basedir)
sys.path.insert(0, str(WORKFLOW_FOLDER / "scripts"))

from dnatune import config as configuration
from dnatune.backbones import folder_version
from dnatune.baseline_programs import PROGRAMS, runnable
from dnatune.curve_models import on_curve
from dnatune.errors import UserError
from dnatune.experts import experts
from dnatune.files import fingerprint
from dnatune.run_plan import write_plan
from dnatune.source_version import source_version
from dnatune.tasks import task, task_of
from dnatune.tuning_kinds import kind_of
from dnatune.versions import installed_versions

# On a cluster Snakemake starts twice for each job; a fifth of that was looking for garbage in what has been imported.
gc.freeze()

try:
    config = configuration.resolve(config)
    configuration.check_files(config)
    configuration.check_writable(f"{config['results_folder']}/{config['name']}")
except UserError as mistake:
    raise WorkflowError(str(mistake)) from None

for settings in config["models"].values():
    settings["backbone_version"] = folder_version(settings["backbone"])

RUN_FOLDER = f"{config['results_folder']}/{config['name']}"
TASK_NAMED = task_of(config)
TASK = task(**TASK_NAMED)
MODELS = list(config["models"])
# Models that the task trains besides: judged like the others, not saved, and never the best one.
COMPARED = TASK.compared(config["models"])
TRAINED = {**config["models"], **COMPARED}
FOLDS = list(range(1 if config["data"]["columns"]["split"] else config["split"]["folds"]))
PACKAGED = config["packaging"]["models"] or MODELS

# A method that cannot run here is left out or replaced, and the report says so; conda's environment and the container
# bring the programs.
DEPLOYED = str(workflow.deployment_settings.deployment_method).lower()
BROUGHT = "conda" in DEPLOYED or (config["container"] and "apptainer" in DEPLOYED)
MISSING = [program for program in set(PROGRAMS.values()) if not BROUGHT and not shutil.which(program)]
BASELINES, LEFT_OUT = runnable(config["baselines"]["methods"], MISSING)

# Models and baselines that are pooled, and the name of their pool, in a list: empty where there is none.
EXPERTS = experts(config, TASK, BASELINES)
ENGINES = [config["engine"]["name"]] if EXPERTS else []
if config["engine"]["experts"] and not EXPERTS:
    LEFT_OUT.append(f"{config['engine']['name']}: fewer than two of its experts can run here")
JUDGED = {
    **dict.fromkeys(TRAINED, "models"),
    **dict.fromkeys(BASELINES, "baselines"),
    **dict.fromkeys(ENGINES, "engines"),
}

# The learning curve: models and baselines that are on it, and its parts of the training records (folder -> share).
ON_CURVE = on_curve(config, BASELINES, MISSING)
PARTS = {f"{100 * share:g}_percent": share for share in config["learning_curve"]["shares"][:-1]}
PART = "<results>/learning_curve/{part}"

# What calibration, thresholds and sets of names depend on: params of every rule that judges.
JUDGING = {
    "calibration": config["calibration"],
    "sets": config["sets"],
    "rank_threshold": config["taxonomy"]["threshold"],
    "unknowns": {key: config["unknowns"][key] for key in ("score", "false_alarm")},
}
# An engine is a calibration of its experts already.
CALIBRATION = dict.fromkeys(("models", "baselines", "engines"), config["calibration"])
if config["calibration"]["method"] == "auto":
    CALIBRATION["engines"] = {**config["calibration"], "method": "auto_simple"}

# Matches no name: a model may be called anything.
NOTHING = "(?!)"


wildcard_constraints:
    fold=r"\d+",
    model="|".join(map(re.escape, TRAINED)) or NOTHING,
    method="|".join(BASELINES) or NOTHING,
    engine="|".join(map(re.escape, ENGINES)) or NOTHING,
    kind="models|baselines|engines",
    predictor="|".join(map(re.escape, JUDGED)),
    part="|".join(map(re.escape, PARTS)),


def code(script, *parts):
    """Version of a script's library code and of the task's parts, so that a changed module re-runs what uses it."""
    modules = [f"dnatune.tasks.{config['task']}", *TASK.modules(parts)]
    return source_version(WORKFLOW_FOLDER / "scripts" / script, modules)


def model_settings(wildcards):
    """What a training job depends on: all settings of its model but the resources."""
    return {k: v for k, v in TRAINED[wildcards.model].items() if k != "resources"}


def token_settings(model):
    """What the tokens of a model depend on; models that agree in it share one token set."""
    backbone = {k: TRAINED[model][k] for k in BACKBONE_KEYS}
    return {"backbone": backbone, "tokens": TRAINED[model]["tokens"]}


BACKBONE_KEYS = ("backbone", "revision", "trust_remote_code", "backbone_config", "backbone_version")
TOKEN_SETS = {
    f"{re.sub(r'[^A-Za-z0-9]+', '-', config['models'][m]['backbone']).strip('-')}-"
    f"{fingerprint(token_settings(m))[:6]}": token_settings(m)
    for m in MODELS
}


def tokens_of(wildcards):
    """Token set of a model."""
    wanted = token_settings(wildcards.model)
    name = next(name for name, given in TOKEN_SETS.items() if given == wanted)
    return f"<results>/tokens/{name}"


def embeddings_of(wildcards):
    """Embeddings of a probe's frozen backbone; other tunings read tokens only."""
    settings = TRAINED[wildcards.model]
    model = settings.get(
        "of", wildcards.model
    )  # a compared model reads those of the model it is compared with
    needed = kind_of(settings).needs_embeddings
    return {"embeddings": f"<results>/embeddings/{model}.npy"} if needed else {}


def fold_files(name, predictors):
    """A file of every fold of every model, baseline or engine, in that order."""
    return [f"<results>/{JUDGED[p]}/{p}/fold_{fold}/{name}" for p in predictors for fold in FOLDS]


def expert_files(name, folds):
    """A file of every expert of the engine, fold after fold."""
    return [f"<results>/{JUDGED[e]}/{e}/fold_{fold}/{name}" for fold in folds for e in EXPERTS]


def final_models():
    """Folders of the saved models, and of the engine."""
    return [f"<results>/final/{model}" for model in [*PACKAGED, *ENGINES]]


def predictions(wildcards):
    """The table of names for the query, or a hint how to name one."""
    if config["query"] is None:
        raise WorkflowError("Nothing to predict: name a FASTA file with --config query=unknown.fasta.")
    if not final_models():
        raise WorkflowError(
            "Nothing is saved that could name sequences: give the configuration a model, or an engine of two "
            "baselines or more (engine.experts)."
        )
    stem = re.sub(r"(\.(fasta|fa|fna|fas|fsa))?(\.gz)?$", "", Path(config["query"]).name)
    return [f"<results>/predictions/{stem}.tsv"]


def embedding_settings(wildcards):
    """What the embeddings of a probe depend on: backbone, pooling, tokens and precision, not how the head learns."""
    settings = model_settings(wildcards)
    precision = {"precision": settings["training"]["precision"]}
    return {**settings, "training": precision, "head_dropout": 0.0}


def saved_for_embedding(wildcards):
    """The saved model, where vectors are wanted from it."""
    trained = config["embedding"]["weights"] == "final" and TASK.labelled
    return {"saved": f"<results>/final/{wildcards.model}"} if trained else {}


def vectors():
    """Tables of vectors, one per model."""
    models = PACKAGED if config["embedding"]["weights"] == "final" and TASK.labelled else MODELS
    return [f"<results>/vectors/{model}.parquet" for model in models]


def run_results():
    """What a run is for: the report and the saved models, or vectors where nothing is trained."""
    return ["<results>/report/report.html", *final_models()] if TASK.labelled else vectors()


# Whether scores may need the distance of a sequence to the training sequences (see ``dnatune.rejection``).
MEASURES_DISTANCES = TASK.classes and config["unknowns"]["score"] in ("auto", "distance", "nearest")


def reference_of(wildcards):
    """Vectors of the training sequences, where the saved model measures distances to them."""
    return {"reference": f"<results>/models/{wildcards.model}/reference.npz"} if MEASURES_DISTANCES else {}


def packaged_weights(wildcards):
    """Weights that the saved model is made of."""
    if config["packaging"]["mode"] == "refit":
        return [f"<results>/models/{wildcards.model}/refit/weights"]
    return fold_files("weights", [wildcards.model])


def difficulty_of_data():
    """Table of species, suspicious records and summary, where the task's labels are species or the like."""
    files = {"species": "species.tsv", "suspicious": "suspicious.tsv", "difficulty": "summary.json"}
    if "difficulty" not in TASK.sections:
        return {}
    return {name: f"<results>/difficulty/{file}" for name, file in files.items()}


def points_of_curve(wildcards):
    """Metrics of all points of the learning curve, the smallest part first and the run itself last."""
    if not ON_CURVE:
        raise WorkflowError(
            f"snakemake learning_curve: found nothing to put on the curve with task: {config['task']} and the "
            "baselines that run; name models or baselines in learning_curve.models."
        )
    whole = fold_files("metrics.tsv", ON_CURVE)
    parts = [[path.replace("<results>", PART.format(part=part)) for path in whole] for part in PARTS]
    return {f"metrics_{number}": paths for number, paths in enumerate([*parts, whole])}


def curve_of_run():
    """Tables of the learning curve, where the report shows it."""
    names = {"curve": "learning_curve", "gains": "gains", "training_records": "training_records"}
    shown = names if config["learning_curve"]["in_report"] else {}
    return {name: f"<results>/learning_curve/{file}.tsv" for name, file in shown.items()}


def report_source(name):
    """A file the report is made from: template, style, script or caption."""
    return str(WORKFLOW_FOLDER / "workflow" / "report" / name)


def benchmarks_of_jobs():
    """Time and memory of all jobs before the report."""
    jobs = ["records", "labels", "folds", "compare", "figures"]
    jobs += ["distances"] if difficulty_of_data() else []
    jobs += [f"tokens/{name}" for name in TOKEN_SETS]
    jobs += [f"embeddings/{model}" for model in MODELS if kind_of(TRAINED[model]).needs_embeddings]
    jobs += [f"train/{model}/fold_{fold}" for model in TRAINED for fold in FOLDS]
    jobs += [f"baselines/{method}/fold_{fold}" for method in BASELINES for fold in FOLDS]
    jobs += [f"engines/{engine}/fold_{fold}" for engine in ENGINES for fold in FOLDS]
    jobs += [f"evaluate/{kind}/{name}/fold_{fold}" for name, kind in JUDGED.items() for fold in FOLDS]
    return [f"<benchmarks>/{job}.tsv" for job in jobs]


def reported_config():
    """The configuration as the report shows it: what the results depend on."""
    hidden = ["report", "query", "training_environment", "backbones_folder", "gpu_cards", "container"]
    hidden += [] if config["learning_curve"]["in_report"] else ["learning_curve"]
    shown = {k: v for k, v in config.items() if k not in hidden}
    models = {m: {k: v for k, v in s.items() if k != "resources"} for m, s in config["models"].items()}
    return {**shown, "models": models}
