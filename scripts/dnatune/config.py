"""The configuration: one strict schema, defaults filled in, every mistake said in one sentence.

In: the mapping that Snakemake read from YAML and the command line. Out: a complete mapping, or a UserError.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from dnatune.curve_models import check_curve
from dnatune.errors import UserError, nearest
from dnatune.experts import check_experts, check_predictor
from dnatune.idle_keys import check_idle_keys, check_idle_ranks
from dnatune.tasks import Task, task, task_of
from dnatune.tuning_kinds import kind_of

SCHEMA_PATH = Path(__file__).resolve().parents[2] / "workflow" / "schemas" / "config.schema.yaml"
# A rank is a column of the table of predictions, beside these.
NAMED = ("id", "label", "probability", "rank", "taxon", "taxon_probability", "length", "windows", "note", "model")
TYPE_WORDS = {
    "object": "a group of keys",
    "array": "a list",
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "nothing (null)",
}


@cache
def load_schema() -> dict[str, Any]:
    """Read the schema that ships with the workflow, once: Snakemake starts anew for each job on a cluster."""
    return yaml.load(SCHEMA_PATH.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def resolve(config: dict[str, Any]) -> dict[str, Any]:
    """Return a complete copy of ``config``: numbers parsed, checked against the schema, defaults filled in.

    Raises UserError for the first mistake, naming the key, what was found and what was expected.
    """
    schema = load_schema()
    if "models" in config and config["models"] is None:
        raise UserError(
            "Configuration key 'models' names nothing: give at least one model, or write models: {} for a run without "
            "language models."
        )
    resolved = _complete(copy.deepcopy(dict(config)), schema)
    error = best_match(Draft202012Validator(schema).iter_errors(resolved))
    if error is not None:
        raise UserError(_sentence(error))
    if resolved != config:  # a complete configuration is one that came from here: nobody wrote all keys
        check_idle_keys(config, resolved)
        check_idle_ranks(config, resolved)
    _settle_by_task(resolved)
    _check_meaning(resolved)
    return resolved


def _types(schema: dict[str, Any]) -> list[str]:
    kind = schema.get("type", [])
    return [kind] if isinstance(kind, str) else list(kind)


def _complete(value: Any, schema: dict[str, Any]) -> Any:
    types = _types(schema)
    if isinstance(value, str) and "string" not in types and {"number", "integer"} & set(types):
        value = _number(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # no key means anything by nan or inf; as text the schema refuses it
    if isinstance(value, float) and value.is_integer() and "integer" in types and "number" not in types:
        return int(value)
    if "object" in types and value is None and "null" not in types:
        value = {}  # a section whose keys are all commented out
    if isinstance(value, dict):
        value = {str(key): child for key, child in value.items()}  # a model may be called 500
        known = schema.get("properties", {})
        rest = schema.get("additionalProperties")
        for key, child in known.items():
            if key not in value and "default" in child:
                value[key] = copy.deepcopy(child["default"])
        for key in list(value):
            child = known.get(key, rest)
            if isinstance(child, dict):
                value[key] = _complete(value[key], child)
    return value


def _number(text: str) -> Any:
    # YAML reads 1e-5 as text (it wants 1.0e-5); everybody in machine learning writes 1e-5.
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _sentence(error: ValidationError) -> str:
    key = ".".join(str(part) for part in error.absolute_path)
    where = f"Configuration key '{key}'" if key else "The configuration"
    schema = error.schema
    match error.validator:
        case "additionalProperties":
            known = list(schema.get("properties", {}))
            unknown = next(k for k in error.instance if k not in known)
            inside = f" in '{key}'" if key else ""
            hint = nearest(unknown, known) or f"; known keys are {', '.join(known)}"
            return f"Configuration: unknown key '{unknown}'{inside}{hint}."
        case "required":
            missing = next(k for k in schema["required"] if k not in error.instance)
            meaning = schema.get("properties", {}).get(missing, {}).get("description", "")
            return f"{where} lacks the required key '{missing}': {meaning}"
        case "type":
            expected = " or ".join(TYPE_WORDS[t] for t in _types(schema))
            return f"{where}: found {error.instance!r}, expected {expected}."
        case "enum":
            options = ", ".join("null" if o is None else str(o) for o in schema["enum"])
            hint = nearest(error.instance, schema["enum"])
            return f"{where}: found {error.instance!r}, expected one of {options}{hint}."
        case "pattern" if not schema["pattern"].startswith("^#"):
            return f"{where}: found {error.instance!r}, expected letters, digits and . _ - only, without blanks."
        case "pattern":
            return f"{where}: found {error.instance!r}, expected a colour such as #0072B2."
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            words = {
                "minimum": "at least",
                "maximum": "at most",
                "exclusiveMinimum": "more than",
                "exclusiveMaximum": "less than",
            }
            return f"{where}: found {error.instance!r}, expected {words[error.validator]} {error.validator_value}."
        case _:
            return f"{where}: {error.message}."


def _settle_by_task(config: dict[str, Any]) -> None:
    """Fill in what depends on the task, and refuse what the task does not have."""
    kind = task(**task_of(config))
    word = f"task: {config['task']}"
    if not kind.classes:
        _refuse_unknowns(config, word)
    for section in ("sets", "difficulty"):
        changed = _changed_keys(config, section)
        if changed and section not in kind.sections:
            raise UserError(f"Configuration key '{changed[0]}' has no effect with {word}; leave it out.")
    if not kind.labelled:
        if not config["models"]:
            raise UserError(f"Configuration key 'models': with {word} nothing can be done without a model; name one.")
        _refuse_curve(config, word)
        config["baselines"]["methods"] = []
        check_experts(config, kind)
        check_predictor(config, kind)
        return
    if config["data"]["labels"] is None:
        raise UserError(f"The configuration lacks the key 'data.labels': {word} learns from a label table.")
    for name, model in config["models"].items():
        training, key = model["training"], f"models.{name}.training"
        if training["metric"] is None:
            training["metric"] = kind.best_by
        _one_of(f"{key}.metric", training["metric"], kind.curve, word)
        _one_of(f"{key}.imbalance", training["imbalance"], kind.imbalance, word)
        _check_reading(f"Configuration key 'models.{name}", model, kind, word)
    baselines = config["baselines"]
    if baselines["methods"] is None:
        left = [name for name in kind.baselines if name.startswith("vector_") or name in kind.on_request]
        baselines["methods"] = [name for name in kind.baselines if name not in left]
    for method in baselines["methods"]:
        _one_of("baselines.methods", method, kind.baselines, word)
    if not config["models"] and not baselines["methods"]:
        raise UserError("Configuration key 'models': there are no models and no baselines; name a model or a method.")
    if baselines["tune"] and not set(baselines["methods"]) & set(kind.tuned):
        raise UserError(
            f"Configuration key 'baselines.tune' has no effect: with {word} it chooses settings of "
            f"{', '.join(kind.tuned) or 'no method'}, and none of these runs; leave it out."
        )
    _one_of("calibration.method", config["calibration"]["method"], kind.calibrations, word)
    if not isinstance(config["data"]["columns"]["label"], str) and not kind.several_columns:
        raise UserError(f"Configuration key 'data.columns.label': {word} has one column of labels, not a list.")
    _check_ranks(config["data"]["columns"], kind, word)
    kind.check(config)
    check_experts(config, kind)
    check_predictor(config, kind)
    check_curve(config)


def _check_ranks(columns: dict[str, Any], kind: Task, word: str) -> None:
    """Refuse ranks where labels have none, and those that are not above the label or share a name with a column."""
    if columns["ranks"] and not kind.classes:
        raise UserError(f"Configuration key 'data.columns.ranks': with {word} labels have no ranks; leave it out.")
    for rank in columns["ranks"]:
        if rank == columns["label"]:
            raise UserError(
                f"Configuration key 'data.columns.ranks': '{rank}' is the label column; name the ranks above it."
            )
        if rank in NAMED:
            raise UserError(
                f"Configuration key 'data.columns.ranks': '{rank}' is a column of the table of predictions; give that "
                "column of the label table another name."
            )


def _changed_keys(config: dict[str, Any], section: str) -> list[str]:
    """Return the keys of a section that do not have their default."""
    usual = _complete({}, load_schema()["properties"][section])
    return [f"{section}.{key}" for key, value in config[section].items() if value != usual[key]]


def _refuse_unknowns(config: dict[str, Any], word: str) -> None:
    """Refuse what finds out unknown species where labels are no classes."""
    keys = _changed_keys(config, "unknowns")
    keys += ["data.columns.known"] if config["data"]["columns"]["known"] else []
    if keys:
        raise UserError(
            f"Configuration key '{keys[0]}' has no effect with {word}: only classes (multiclass, binary) can be "
            "unknown; leave it out."
        )


def _refuse_curve(config: dict[str, Any], word: str) -> None:
    """Refuse a learning curve where nothing is trained."""
    for key in _changed_keys(config, "learning_curve"):
        raise UserError(f"Configuration key '{key}' has no effect with {word}: nothing is trained; leave it out.")


def _check_reading(key: str, model: dict[str, Any], kind: Task, word: str) -> None:
    """Refuse strands where a label belongs to one, and what makes no sense for a label per base."""
    for name in ("random_strand", "average_strands"):
        if model["tokens"][name] and not kind.strands:
            raise UserError(f"{key}.tokens.{name}': with {word} labels belong to the given strand; leave it out.")
    if not kind.per_base:
        return
    if kind_of(model).needs_embeddings:
        raise UserError(
            f"{key}.tuning': a probe learns from one pooled vector per sequence, but with {word} each base has a "
            "label; use full or lora."
        )
    if model["pooling"] not in (None, "architecture"):
        raise UserError(
            f"{key}.pooling': found '{model['pooling']}', but with {word} nothing is pooled; leave it out, or use "
            "architecture for the backbone's own head."
        )
    if model["tokens"]["long_sequences"] == "crop":
        raise UserError(f"{key}.tokens.long_sequences': with {word} every base needs its label; use windows.")


def _one_of(key: str, found: str, options: Iterable[str], word: str) -> None:
    if found not in options:
        raise UserError(
            f"Configuration key '{key}': found '{found}', with {word} expected one of "
            f"{', '.join(options)}{nearest(found, list(options))}."
        )


def _check_meaning(config: dict[str, Any]) -> None:
    """Mistakes that a schema cannot see: keys that contradict each other, backbones that do not exist."""
    from dnatune.backbones import check_backbone

    methods = load_schema()["properties"]["baselines"]["properties"]["methods"]["items"]["enum"]
    for name, model in config["models"].items():
        key = f"Configuration key 'models.{name}"
        if name in methods:
            raise UserError(f"{key}': '{name}' is the name of a baseline; choose another name for the model.")
        check_backbone(f"models.{name}", model)
        kind = kind_of(model)
        if kind.needs_embeddings and model["pooling"] == "architecture":
            raise UserError(f"{key}.pooling': a probe has a linear head on pooled embeddings; use mean, cls or last.")
        if model["resources"]["gpu"] > 1 and not kind.through_backbone:
            raise UserError(
                f"{key}.resources.gpu': found {model['resources']['gpu']}, but with tuning: {model['tuning']} only a "
                "head is trained, which uses one GPU; expected 0 or 1."
            )
        if model["resources"]["nodes"] > 1 and not kind.through_backbone:
            raise UserError(
                f"{key}.resources.nodes': found {model['resources']['nodes']}, but with tuning: {model['tuning']} only "
                "a head is trained, which one node does; expected 1."
            )
        if model["resources"]["gpu"] % model["resources"]["nodes"]:
            raise UserError(
                f"{key}.resources.gpu': found {model['resources']['gpu']} with nodes: {model['resources']['nodes']}; "
                "expected a multiple, as each node has the same number of GPUs."
            )
        if model["training"]["sharding"] != "none" and model["resources"]["gpu"] < 2:
            raise UserError(
                f"{key}.training.sharding': found {model['training']['sharding']} with resources.gpu: "
                f"{model['resources']['gpu']}; weights are spread over at least 2 GPUs."
            )
    bounds = config["filter"]
    if bounds["max_length"] is not None and bounds["max_length"] < bounds["min_length"]:
        raise UserError(
            f"Configuration key 'filter.max_length': found {bounds['max_length']}, expected at least "
            f"filter.min_length ({bounds['min_length']})."
        )
    for name in config["packaging"]["models"] or []:
        if name not in config["models"]:
            raise UserError(
                f"Configuration key 'packaging.models': no model is named '{name}'{nearest(name, config['models'])}."
            )
    for method in config["baselines"]["methods"]:
        if method.startswith("vector_") and not config["data"]["vectors"]:
            raise UserError(
                f"Configuration key 'baselines.methods': {method} needs the table 'data.vectors'; name one or leave "
                "the method out."
            )


def check_files(config: dict[str, Any]) -> None:
    """Raise UserError for the first input file of the configuration that is not there."""
    named = {f"data.{role}": config["data"][role] for role in ("sequences", "labels", "vectors", "clusters")}
    for key, path in {**named, "query": config["query"]}.items():
        if path is not None and not Path(path).is_file():
            raise UserError(f"Configuration key '{key}': the file {path} does not exist (looked from {Path.cwd()}).")


def check_writable(folder: str | Path) -> None:
    """Raise UserError if results cannot be written under ``folder`` (its nearest existing parent counts)."""
    folder = Path(folder)
    existing = next((p for p in [folder, *folder.absolute().parents] if p.exists()), Path("/"))
    try:
        # Without a name of its own: on a cluster many jobs look at once, and one would remove the file of another.
        with TemporaryFile(dir=existing):
            pass
    except OSError as reason:
        raise UserError(
            f"The output folder {folder} cannot be written ({reason.strerror}); name another results_folder."
        ) from None
