"""Which models and baselines are on the learning curve. In: a complete configuration; out: their names."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from dnatune.baseline_programs import runnable
from dnatune.errors import UserError, nearest

# They look at no sequence, so that no sequence more can help them: not on the curve unless they are named.
BLIND = ("majority", "mean")


def on_curve(config: Mapping[str, Any], baselines: Sequence[str], missing: Collection[str]) -> list[str]:
    """Return the models and baselines of the curve.

    ``baselines`` are those that run, ``missing`` the programs that are not installed. By default all baselines that
    look at sequences and no language model: each point of one is a training.
    """
    named = config["learning_curve"]["models"]
    if named is None:
        return [name for name in baselines if name not in BLIND]
    methods = runnable([name for name in named if name not in config["models"]], missing)[0]
    return list(dict.fromkeys([*(name for name in named if name in config["models"]), *methods]))


def check_curve(config: Mapping[str, Any]) -> None:
    """Raise UserError for the first key of the section ``learning_curve`` that does not go with the rest."""
    curve, key = config["learning_curve"], "Configuration key 'learning_curve"
    shares = curve["shares"]
    if any(one >= other for one, other in pairwise(shares)):
        raise UserError(f"{key}.shares': found {shares}, expected each share to be larger than the one before it.")
    if len(shares) < 2 or shares[-1] != 1:
        raise UserError(
            f"{key}.shares': found {shares}, expected smaller shares and then 1: the run itself, which is the end of "
            "the curve and costs nothing more."
        )
    known = [*config["models"], *config["baselines"]["methods"]]
    for name in curve["models"] or []:
        if name not in known:
            raise UserError(
                f"{key}.models': found '{name}'{nearest(name, known)}, expected names of models or of "
                f"baselines.methods, which are {', '.join(known)}."
            )
    if curve["keep"] != "steps" and not set(curve["models"] or []) & set(config["models"]):
        raise UserError(f"{key}.keep' has no effect without a language model in learning_curve.models; leave it out.")
    if curve["in_report"] and not on_curve(config, config["baselines"]["methods"], []):
        raise UserError(f"{key}.in_report': nothing is on the curve; name a model in learning_curve.models.")
