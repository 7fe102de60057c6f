"""The saved model: a folder that plain transformers loads, its calibration, a card, and a light version.

In: weights of the refit or of the folds, validation scores, the folds' metrics. Out: ``final/<model>/``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from dnatune import files, tuning
from dnatune.backbones.local_copies import published
from dnatune.backbones.modeling_ensemble import (
    EnsembleConfig,
    EnsembleForSequenceClassification,
    EnsembleForTokenClassification,
)
from dnatune.fold_data import FoldData
from dnatune.saved_models import is_ours, save_model
from dnatune.scores import Scores
from dnatune.tasks import Task, task
from dnatune.tasks.base import EvaluationSettings
from dnatune.tuning_kinds import kind_of
from dnatune.unknown_kinds import HELD_OUT
from dnatune.versions import installed_versions

LOGGER = logging.getLogger("dnatune")


@dataclass(frozen=True)
class Package:
    """What a saved model is made of: its name and settings, the run's seed, label names, mode and task.

    ``settings`` carry the task's head; ``task`` is what ``tasks.task`` is called with.
    """

    model: str
    settings: dict[str, Any]
    seed: int
    classes: list[str]
    mode: str
    light: bool
    task: dict[str, Any]


def trained_rows(package_mode: str, fold: FoldData) -> np.ndarray:
    """Return the row numbers that a saved model has learned from: those of its fold, or all known records."""
    return fold.train if package_mode == "best_fold" else fold.known


def settled_epochs(runs: list[dict[str, Any]]) -> float:
    """Return the epochs that the folds settled on: the median of their best epochs."""
    return float(np.median([run["best_epoch"] for run in runs]))


def best_fold(runs: list[dict[str, Any]], task: Task) -> int:
    """Return the position of the fold with the best validation metric."""
    values = np.array([np.nan if run["best_metric"] is None else run["best_metric"] for run in runs])
    if np.isnan(values).all():
        return 0
    return int(np.nanargmax(values) if task.curve[runs[0]["metric_for_best"]] else np.nanargmin(values))


def assemble(package: Package, weights: list[Path], runs: list[dict[str, Any]]) -> PreTrainedModel:
    """Return the model to save: the refit, the best fold, or an ensemble of all folds (weights in fold order)."""
    labels = {name: i for i, name in enumerate(package.classes)}
    if package.mode == "best_fold":
        weights = [weights[best_fold(runs, task(**package.task))]]
    members = [tuning.restore(folder, package.settings, labels, package.seed) for folder in weights]
    if len(members) == 1:
        return members[0]
    config = EnsembleConfig(
        member=members[0].config,
        size=len(members),
        label2id=labels,
        id2label={i: name for name, i in labels.items()},
    )
    config.pad_token_id = members[0].config.pad_token_id
    per_token = package.settings["head"]["per_token"]
    ensemble = (EnsembleForTokenClassification if per_token else EnsembleForSequenceClassification)(config)
    for slot, member in zip(ensemble.members, members, strict=True):
        slot.load_state_dict(member.state_dict())
    return ensemble


def fit_calibration(
    scores: list[Scores], runs: list[dict[str, Any]], mode: str, task: Task, settings: EvaluationSettings
) -> dict[str, Any]:
    """Fit the calibration of the saved model on validation scores: of its own fold, or of all folds together.

    The refit has no validation part of its own; the folds' models, trained the same way on nearly the same
    sequences, stand in for it.
    """
    chosen = [scores[best_fold(runs, task)]] if mode == "best_fold" else scores
    # A record may be a validation record of several folds: its group keeps its scores together.
    validation = Scores.joined([part.part("validation") for part in chosen])
    held_out = Scores.joined([part.of_kind(HELD_OUT) for part in chosen])
    return task.judging.calibrate(validation, settings, held_out)


def write_package(
    package: Package,
    weights: list[Path],
    runs: list[dict[str, Any]],
    calibrator: dict[str, Any],
    tokens: dict[str, Any],
    folder: Path,
) -> dict[str, Any]:
    """Write everything but the card into ``folder``; return what stands in dnatune.json."""
    model = assemble(package, weights, runs)
    tokenizer = tuning.backbone_of(package.settings).saved_tokenizer()
    about = {
        "model": package.model,
        "mode": package.mode,
        "task": package.task,
        "settings": published(package.settings),
        "seed": package.seed,
        "precision": runs[0]["precision"],
        "tokens": tokens,
        "own_model_code": is_ours(model),
        "parameters": sum(p.numel() for p in model.parameters()),
        "versions": installed_versions(),
    }
    save_model(model, tokenizer, folder)
    files.write_json(folder / "calibration.json", calibrator)
    files.write_json(folder / "dnatune.json", about)
    if package.light:
        write_light(package, model, tokenizer, weights, runs, folder / "light")
    return about


def write_light(
    package: Package,
    model: PreTrainedModel,
    tokenizer: Any,
    weights: list[Path],
    runs: list[dict[str, Any]],
    folder: Path,
) -> None:
    """Write the light version: adapter and head alone where a published base exists, else half precision."""
    has_base = not package.settings["backbone"].startswith("builtin:")
    if kind_of(package.settings).adapter and has_base and package.mode != "ensemble":
        chosen = best_fold(runs, task(**package.task)) if package.mode == "best_fold" else 0
        adapter = weights[chosen]
        files.copy_folder(adapter, folder)
        tokenizer.save_pretrained(folder)
        made = {**vars(package), "settings": published(package.settings), "label2id": model.config.label2id}
        files.write_json(folder / "settings.json", made)
        (folder / "README.md").write_text(LIGHT, "utf-8")
    else:
        save_model(model, tokenizer, folder, torch.bfloat16)


LIGHT = """# Adapter and head alone

The backbone itself is not in this folder; it is loaded from where it was published (`settings.json` says where).
With dnatune's `scripts` folder on the Python path:

```python
import json
from pathlib import Path
from dnatune.tuning import restore

folder = Path("this folder")
made = json.loads((folder / "settings.json").read_text())
model = restore(folder, made["settings"], made["label2id"], made["seed"])  # a plain transformers model, adapter merged
```

`restore_adapter`, with the same arguments, keeps the backbone as it was in training (in 4 bits for qlora, else in half
precision on a GPU) with the adapter beside it: the same predictions in less memory.
"""
