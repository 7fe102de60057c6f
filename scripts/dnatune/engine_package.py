"""The saved engine: every expert in a folder of its own, the pool, its calibration and a card.

In: the experts' validation scores of all folds, saved language models, all known sequences. Out: ``final/<engine>/``.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dnatune import files
from dnatune.engine import FinalPool, validation_losses
from dnatune.fold_data import FoldData
from dnatune.model_card import strangers
from dnatune.pooling import PRODUCT, Pool
from dnatune.rank_experts import expert_of
from dnatune.saved_experts import save_expert
from dnatune.tasks import Task
from dnatune.tasks.base import CLASS_METRICS
from dnatune.versions import installed_versions


@dataclass(frozen=True)
class Engine:
    """What a saved engine is made of: its name, the folders of its language models by name, the settings of its
    baselines by name, the run's seed, and the expert that says how strange a sequence is (``engine.witness``)."""

    name: str
    models: Mapping[str, Path]
    settings: Mapping[str, Mapping[str, Any]]
    seed: int
    witness: str | None = None


def settled_settings(runs: Sequence[Mapping[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a baseline that most folds chose (the first of these in a tie); ``given`` if none did."""
    chosen = [tuple(sorted(run["settings"].items())) for run in runs if run.get("settings")]
    return {**given, **(dict(Counter(chosen).most_common(1)[0][0]) if chosen else {})}


def write_engine(
    engine: Engine,
    fitted: FinalPool,
    data: FoldData,
    sequences: Sequence[str],
    calibrator: dict[str, Any],
    task: Task,
    named: Mapping[str, Any],
    folder: Path,
) -> None:
    """Write everything but the card into ``folder``. ``sequences`` are those of ``data.known``, all known records;
    ``named`` is what ``tasks.task`` is called with."""
    labels, experts = data.labels[data.known], dict.fromkeys(map(expert_of, fitted.pool.experts))
    for name in experts:
        if name in engine.models:
            link_folder(engine.models[name], folder / name)
            continue
        settings = engine.settings[name]
        save_expert(folder / name, name, task.baseline(name), sequences, labels, data.classes, settings, engine.seed)
    about = {
        "name": engine.name,
        "task": dict(named),
        "classes": data.classes,
        "models": [name for name in experts if name in engine.models],
        "pool": fitted.pool.to_json(),
        "by_rank": fitted.by_rank,
        "witness": engine.witness,
        "versions": installed_versions(),
    }
    files.write_json(folder / "engine.json", about)
    files.write_json(folder / "calibration.json", calibrator)


def link_folder(source: Path, target: Path) -> None:
    """Copy a saved model without its light version; its files are shared (hard links) where the disk allows it."""

    def link(one: str, other: str) -> str:
        try:
            os.link(one, other)
        except OSError:
            shutil.copy2(one, other)
        return other

    shutil.copytree(source, target, copy_function=link, ignore=shutil.ignore_patterns("light", ".snakemake_timestamp"))


def card(pool: Pool, name: str, metrics: pd.DataFrame, runs: Sequence[Mapping[str, Any]], calibrator: dict) -> str:
    """Return the README of a saved engine. ``metrics`` are its own of all folds, ``runs`` its run.json of each."""
    test = metrics.query("split == 'test' and `class` == 'all' and stage == 'calibrated'")
    table = test.groupby("metric")["value"].agg(["mean", "std"])
    shown = [(words, table.loc[key]) for key, words in CLASS_METRICS.items() if key in table.index]
    losses = validation_losses(runs)
    return CARD.format(
        name=name,
        experts="\n".join(
            f"| {_folder(member)} | {weight:.3f} | {temperature:.2f} | {_number(losses.get(member))} |"
            for member, weight, temperature in zip(pool.members, pool.weights, pool.temperatures, strict=True)
            if member != PRODUCT
        ),
        product=dict(zip(pool.members, pool.weights, strict=True)).get(PRODUCT, 0.0),
        loss=_number(losses.get(name)),
        folds=len(runs),
        metrics="\n".join(f"| {words} | {row['mean']:.4f} | {_number(row['std'])} |" for words, row in shown),
        method=calibrator["method"],
        groups=pool.groups,
        strangers=strangers(calibrator),
    )


def _folder(member: str) -> str:
    expert = expert_of(member)
    return f"`{expert}/`{member.removeprefix(expert)}"


def _number(value: float | None) -> str:
    return "-" if value is None or pd.isna(value) else f"{value:.4f}"


CARD = """# {name}

Several experts asked together. The probability of a name is a weighted mean of what each expert says, after its
temperature has made it more or less sure of itself, and of their product (weight {product:.3f}), which is high where
all agree. Weights and temperatures were fitted on validation records ({groups} groups), with a prior that leans on the
best single expert where there are few. "By rank" is the same expert with a temperature for each rank of the taxonomy.

| expert | weight | temperature | log loss alone, on validation |
|---|---|---|---|
{experts}

Log loss of all together on the same records, each judged by weights that never saw it: {loss}.

## How well it did

Mean over the test parts of {folds} folds, calibrated. They are of the folds' experts, made the same way: those in this
folder have seen all sequences.

| | mean | sd |
|---|---|---|
{metrics}

A sequence of a class that it does not know gets probabilities of the known names all the same. {strangers}

## What is in this folder

- a folder for each expert: a language model loads alone with plain `transformers` (see its README); a k-mer model is
  `model.npz`, arrays without pickle; a method that looks sequences up has them in `references.fasta` (class id and
  name in the header) and needs its program at hand, vsearch for `vsearch_top_hit`
- `engine.json`: class names, weights, temperatures; `calibration.json`: method {method}, fitted on validation records
  scored by weights that never saw them

`snakemake predict` uses it (`predict_with` says otherwise): it cleans the sequences, asks all experts and calibrates.
"""
