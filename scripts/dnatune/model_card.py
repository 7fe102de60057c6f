"""The README of a saved model: what it is, how well it did in cross-validation, how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dnatune.errors import first_ten
from dnatune.tasks import task
from dnatune.views import REVERSE, prediction_views

MODES = {
    "refit": "trained on all sequences for the {epochs:.1f} epochs that the folds settled on",
    "best_fold": "the fold with the best validation figure",
    "ensemble": "the mean of the {averaged} of all folds' models",
}

SEEN = {
    "refit": "They are of the folds' models, made the same way: this one has seen all sequences.",
    "best_fold": "They are of all folds; this model is the fold whose validation part liked it best.",
    "ensemble": "They are of the single folds' models: no sequence is left that none of the members has seen. So are "
    "the calibration and what is fitted with it; a mean is a little less sure of itself than its members.",
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
    words = task(**about["task"]).card
    test = metrics.query("split == 'test' and `class` == 'all'")
    table = test.groupby(["metric", "stage"])["value"].agg(["mean", "std"]).round(4)
    lines = [
        f"| {name} | {_cell(table, metric, 'raw')} | {_cell(table, metric, 'calibrated')} |"
        for metric, name in words.metrics.items()
    ]
    settings = about["settings"]
    code = '("{folder}", trust_remote_code=True)' if about["own_model_code"] else '("{folder}")'
    return CARD.format(
        model=about["model"],
        backbone=settings["backbone"],
        tuning=settings["tuning"],
        what=words.what.format(labels=len(classes), names=first_ten(classes)),
        limits=" ".join(part for part in (words.limits.format(labels=len(classes)), strangers(calibrator)) if part),
        use=words.use,
        auto_class=words.auto_class,
        more=words.more,
        seen=SEEN[about["mode"]],
        mode=MODES[about["mode"]].format(epochs=epochs, averaged=words.averaged),
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


def strangers(calibrator: Mapping[str, Any]) -> str:
    """Say what ``snakemake predict`` does with sequences of classes not learned; empty without a rejection."""
    fitted = calibrator.get("rejection") or {}
    if not fitted.get("thresholds"):
        return ""
    score, limit = fitted["score"], fitted["thresholds"][fitted["score"]]
    return (
        f"`snakemake predict` marks what it takes for unknown (`known: no`): a rejection score ({score}) above "
        f"{limit:.4g}, which {fitted['false_alarm']:.0%} of known validation sequences have. It does not find out "
        "all of them; how many stands in the report."
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
`trust_remote_code=True` is needed because the way from hidden states to answers is not the architecture's own: the few
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
{views}, reads sequences longer than {max_tokens} tokens in windows, and applies the calibration
(`calibration.json`, method {method}, fitted on validation parts){more}.

## Made with

{versions}
"""
