# Where backbones from a hub lie, and what jobs ask for: with a model a number of the configuration, or else an estimate
# from the sizes of model and data. Asked anew before each job starts, when a backbone that was downloaded is known.
from dnatune import job_needs
from dnatune.backbones.local_copies import manifest_path, on_a_hub
from dnatune.data_size import data_size
from dnatune.fold_size import outputs_counted, size_in_run
from dnatune.model_size import model_size

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
    """Manifest of a job's backbone, where it comes from a hub."""
    return backbone_of(TRAINED[wildcards.model])


def size_of(settings):
    """Size of a model's backbone; of one that is not downloaded yet what its name tells."""
    return model_size(settings, backbone_of(settings).get("backbone"))


def models_apart(settings):
    """How many models a training job trains one after the other: one, or one for each label or group of labels."""
    match settings.get("alone"):
        case "labels":
            return outputs_counted(RUN_FOLDER) or 10
        case "groups":
            return len(config["multilabel"]["groups"])
        case _:
            return 1


def fold_size():
    """How much a fold trains and scores, as far as it is known."""
    return size_in_run(RUN_FOLDER, data_size(config["data"]["sequences"]), config, len(FOLDS), TASK.per_base)


def needs_of(job, wildcards):
    """Estimate for a job."""
    data = data_size(config["data"]["sequences"])
    if job == "tokens":
        return job_needs.tokenizing(data)
    members = len(FOLDS) if config["packaging"]["mode"] == "ensemble" else 1
    if job == "name_query":
        given = data_size(config["query"])
        outputs, all_of_them = fold_size().outputs, [config["models"][name] for name in PACKAGED]
        cells = given.sequences * outputs * (given.mean if TASK.per_base else 1)
        each = [job_needs.applying(of, size_of(of), given, members, cells=cells) for of in all_of_them]
        methods = [name for name in EXPERTS if name not in MODELS]
        return job_needs.largest([*each, job_needs.searching(given, data, outputs, len(methods))])
    settings = TRAINED[wildcards.model]
    model = size_of(settings)
    if job == "package":
        return job_needs.packaging(model, members, fold_size(), len(FOLDS))
    if job in ("train", "refit"):
        cells = fold_size().cells if job == "train" else 0
        return job_needs.training(settings, model, data, len(FOLDS), models_apart(settings), cells)
    return job_needs.applying(settings, model, data, every=job == "embeddings")


def asked(job, key):
    """Resource of a job with a model; grows with each attempt. A model's own numbers are for its training."""

    def value(wildcards, attempt):
        given = TRAINED[wildcards.model]["resources"].get(key) if hasattr(wildcards, "model") else None
        if given is None or (job, key) == ("package", "runtime"):
            given = getattr(needs_of(job, wildcards), key)
        return given * attempt

    return value


def plain_needs(job, wildcards, threads):
    """Estimate for a job without a model."""
    data, fold = data_size(config["data"]["sequences"]), fold_size()
    match job:
        case "baseline":
            method, of_methods = wildcards.method, config["baselines"]
            tuned = of_methods["tune"] and method in TASK.tuned
            return job_needs.baseline(method, of_methods.get(method, {}), data, fold, tuned, threads)
        case "evaluate":
            return job_needs.judging(fold)
        case "combine":
            return job_needs.pooling(fold, len(EXPERTS))
        case "package_engine":
            methods = {name: config["baselines"].get(name, {}) for name in EXPERTS if name not in MODELS}
            return job_needs.saving_engine(methods, len(EXPERTS) - len(methods), data, fold, len(FOLDS))
        case "distances":
            return job_needs.comparing(data, config["difficulty"]["records"], threads)


def estimated(job, key):
    """Resource of a job without a model; grows with each attempt."""

    def value(wildcards, attempt, threads):
        return getattr(job_needs.at_least(job, plain_needs(job, wildcards, threads)), key) * attempt

    return value


def card(job):
    """GPU type of a job, where the site's profile names the types there are (gpu_cards)."""

    def value(wildcards, attempt):
        memory = asked(job, "gpu_mem_mb")(wildcards, attempt)
        return job_needs.smallest_card(config["gpu_cards"], memory) if memory else None

    return value


def model_gpus(wildcards):
    """GPUs of a model's training job."""
    return TRAINED[wildcards.model]["resources"]["gpu"]


def model_nodes(wildcards):
    """Nodes of a model's training job; models that learn their labels apart use one GPU of one."""
    settings = TRAINED[wildcards.model]
    return 1 if settings.get("alone") else settings["resources"]["nodes"]


def with_nodes(value):
    """Resource that only jobs of several nodes have: a value, or a function that gives it."""

    def given(wildcards, attempt):
        if model_nodes(wildcards) == 1:
            return None
        return value(wildcards, attempt) if callable(value) else value

    return given


def one_task_each(wildcards, attempt):
    """Tasks of a job: one for each node."""
    return model_nodes(wildcards)


def gpus_of_each_node(job):
    """GPUs on each node of a job, as SLURM's gres."""

    def value(wildcards, attempt):
        gpus = model_gpus(wildcards) // model_nodes(wildcards)
        model = card(job)(wildcards, attempt)
        return ":".join(["gpu", *([model] if model else []), str(gpus)]) if gpus else None

    return value


def checkpoint_minutes(wildcards):
    """Minutes between the checkpoints of a model's training job; 0 is only at evaluations."""
    return TRAINED[wildcards.model]["resources"]["checkpoint_minutes"] or 0


def one_gpu(wildcards):
    """GPUs of a job that applies a model: one, where its training asks for any."""
    return min(1, model_gpus(wildcards))


def model_threads(wildcards):
    """CPU threads of a model's training job."""
    return TRAINED[wildcards.model]["resources"]["threads"]
