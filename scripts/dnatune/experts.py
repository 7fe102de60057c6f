"""Which models and baselines the engine asks. In: a complete configuration; out: their names, and what is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dnatune.errors import UserError, nearest
from dnatune.tasks.base import Task


def experts(config: Mapping[str, Any], task: Task, baselines: Sequence[str]) -> list[str]:
    """Return the experts of the engine, none where there is no engine.

    ``baselines`` are the methods that can run here. By default the models that are saved and, in each of the task's
    ``experts``, the first method that runs; where models are trained, an engine needs one of them. Experts that are
    named but cannot run are left out; fewer than two make no engine.
    """
    if config["engine"]["experts"] is not None:
        named = [name for name in config["engine"]["experts"] if name in config["models"] or name in baselines]
        return named if len(named) > 1 else []
    models = config["packaging"]["models"] or list(config["models"])
    methods = [next((name for name in place if name in baselines), None) for place in task.experts]
    found = [name for name in methods if name]
    return [*models, *found] if found and len(models) + len(found) > 1 else []


def check_experts(config: Mapping[str, Any], task: Task) -> None:
    """Raise UserError for the first key of the section ``engine`` that does not go with the rest."""
    engine, key = config["engine"], "Configuration key 'engine"
    known = [*config["models"], *config["baselines"]["methods"]]
    if engine["name"] in known:
        raise UserError(f"{key}.name': '{engine['name']}' is the name of a model or baseline; choose another one.")
    if engine["experts"] and not task.experts:
        raise UserError(f"{key}.experts': with task: {config['task']} there is no engine; leave the key out.")
    for name in engine["experts"] or []:
        if name not in known:
            raise UserError(
                f"{key}.experts': found '{name}'{nearest(name, known)}, expected names of models or of "
                "baselines.methods."
            )
        if name.startswith("vector_"):
            raise UserError(f"{key}.experts': {name} needs vectors, which new sequences do not have; leave it out.")
    if engine["experts"] and len(engine["experts"]) < 2:
        raise UserError(f"{key}.experts': found one expert, expected two or more, or [] for no engine.")


def check_predictor(config: Mapping[str, Any], task: Task) -> None:
    """Raise UserError if ``predict_with`` names nothing that is saved."""
    wanted = config["predict_with"]
    if wanted == config["engine"]["name"] and not experts(config, task, config["baselines"]["methods"]):
        raise UserError(
            f"Configuration key 'predict_with': found '{wanted}', but there is no engine: see engine.experts."
        )
    saved = [*(config["packaging"]["models"] or config["models"]), config["engine"]["name"]]
    if wanted is not None and wanted not in saved:
        raise UserError(
            f"Configuration key 'predict_with': found '{wanted}'{nearest(wanted, saved)}, expected null or one of "
            f"{', '.join(saved)}."
        )
