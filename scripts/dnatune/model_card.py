"""The README of a saved model: what it is, how well it did in cross-validation, how to use it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dnatune.tasks import task
from dnatune.views import REVERSE, prediction_views

MODES = {
    "refit": "trained on all sequences for the {epochs:.1f} epochs that the folds settled on",
    "best_fold": "the fold with the best validation figure",
    "ensemble": "the mean of the probabilities of all folds' models",
}

SEEN = {
    "refit": "They are of the folds' models, made the same way: this one has seen all sequences.",
    "best_fold": "They are of all folds; this model is the fold whose validation part liked it best.",
    "ensemble": "They are of the single folds' models: no sequence is left that none of the members has seen.",
}


def card(
    about: dict[str, Any],
    metrics: pd.DataFrame,
    runs: list[dict],
    calibrator: dict,
    classes: list[str],
    epochs: float,
) -> str:
    """Return the card as Markdown. ``metrics`` is the model's metrics of all folds."""
    kind = task(**about["task"])
    test = metrics.query("split == 'test' and `class` == 'all'")
    table = test.groupby(["metric", "stage"])["value"].agg(["mean", "std"]).round(4)
    lines = [
        f"| {words} | {_cell(table, metric, 'raw')} | {_cell(table, metric, 'calibrated')} |"
        for metric, words in kind.card.metrics.items()
    ]
    settings = about["settings"]
    code = '("{folder}", trust_remote_code=True)' if about["own_model_code"] else '("{folder}")'
    return CARD.format(
        model=about["model"],
        backbone=settings["backbone"],
        tuning=settings["tuning"],
        what=kind.card.what.format(classes=len(classes)),
        limits=kind.card.limits.format(classes=len(classes)),
        use=kind.card.use,
        auto_class=kind.card.auto_class,
        more=f", {kind.card.more}" if kind.card.more else "",
        seen=SEEN[about["mode"]],
        mode=MODES[about["mode"]].format(epochs=epochs),
        parameters=f"{about['parameters']:,}",
        folds=len(runs),
        metrics="\n".join(lines),
        method=calibrator["method"],
        load=code.format(folder="this folder"),
        remote=REMOTE if about["own_model_code"] else "",
        views=_views(about),
        max_tokens=about["tokens"]["max_tokens"],
        versions="\n".join(f"- {name} {version}" for name, version in about["versions"].items()),
    )


def _views(about: dict[str, Any]) -> str:
    views = prediction_views(about["settings"]["tokens"], about["tokens"]["frames"])
    words = f"{len({view.frame for view in views})} reading frame(s)"
    return f"{words} on both strands" if any(view.strand == REVERSE for view in views) else words


def _cell(table: pd.DataFrame, metric: str, stage: str) -> str:
    if (metric, stage) not in table.index:
        return "-"
    mean, spread = table.loc[(metric, stage)]
    return f"{mean:.4f}" if pd.isna(spread) else f"{mean:.4f} (sd {spread:.4f})"


REMOTE = """
`trust_remote_code=True` is needed because the way from hidden states to names is not the architecture's own: the few
lines of model code stand beside this file (`modeling_*.py`), and transformers asks before it runs code from a folder.
Read them first.
"""

CARD = """---
library_name: transformers
tags: [dna, dnatune]
---
# {model}

{what}: `{backbone}`, tuning `{tuning}`, {parameters} parameters;
{mode}.

## How well it did

Mean over the test parts of {folds} folds. The test part of a fold never touched training, early stopping or
calibration.

| | raw | calibrated |
|---|---|---|
{metrics}

{seen} {limits}

## How to use it

Put the path of this folder for "this folder":

```python
from transformers import {auto_class}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained{load}
model = {auto_class}.from_pretrained{load}
logits = model(**tokenizer("ACGT...", return_tensors="pt")).logits  # your sequence, upper case
{use}
```
{remote}
`snakemake predict` does more: it cleans the sequences (upper case, U to T, other letters to N), averages over
{views}, reads sequences longer than {max_tokens} tokens in windows{more}, and applies the calibration
(`calibration.json`, method {method}, fitted on validation parts).

## Made with

{versions}
"""
