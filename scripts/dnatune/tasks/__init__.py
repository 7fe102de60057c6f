"""Tasks: what a label is, and everything that follows from it.

Nothing outside this package asks which task a run has: rules, scripts and library go through the object that
``task`` returns. A task is a file with its facts and the names of its parts, one part for each stage of the chain
(``base.Task``); a part is loaded only by the stage that needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from dnatune.tasks.base import Task

TASKS = ("multiclass", "binary", "multilabel", "regression", "token", "embedding")


def task(name: str, options: Mapping[str, Any] | None = None) -> Task:
    """Return the task of the configuration key ``task``; ``options`` is the section of the same name."""
    return import_module(f"dnatune.tasks.{name}").TASK(options or {})


def task_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``task`` is called with for a complete configuration: name and options."""
    columns = config["data"]["columns"]["label"]
    options = {**config.get(config["task"], {}), "labels": config["data"]["label_map"]}
    options["columns"] = [columns] if isinstance(columns, str) else list(columns)
    if config["data"]["columns"]["ranks"]:
        options["ranks"] = list(config["data"]["columns"]["ranks"])
    return {"name": config["task"], "options": options}
