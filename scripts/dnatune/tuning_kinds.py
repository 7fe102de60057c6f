"""The kinds of tuning and what is true of each: the table that configuration, rules and packaging ask.

Importing it is cheap (no torch), so that the workflow can. How each kind builds and saves a model stands in ``tuning``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TuningKind:
    """What is true of one kind of tuning.

    ``adapter``: what learns beside frozen layers, by the section of its settings (``lora``: small matrices, ``ia3``:
    factors of their outputs); adapter and head alone are the light version. ``quantised``: the frozen layers are kept
    in 4 bits (``qlora.*``). ``frozen_backbone``: the backbone's own weights never change, so they may be kept in half
    precision (``base_precision``). ``needs_embeddings``: trained on embeddings that are computed once for all folds.
    ``through_backbone``: gradients pass the backbone, so gradient checkpointing and several GPUs have something to do.
    ``shardable``: weights and optimizer can be spread over GPUs.
    """

    adapter: str = ""
    quantised: bool = False
    frozen_backbone: bool = True
    needs_embeddings: bool = False
    through_backbone: bool = True
    shardable: bool = False


KINDS = {
    "full": TuningKind(frozen_backbone=False, shardable=True),
    "lora": TuningKind(adapter="lora"),
    "qlora": TuningKind(adapter="lora", quantised=True),
    "ia3": TuningKind(adapter="ia3"),
    "probe": TuningKind(needs_embeddings=True, through_backbone=False),
}


def kind_of(settings: dict[str, Any]) -> TuningKind:
    """Return what is true of the tuning of a model's settings."""
    return KINDS[settings["tuning"]]


def names_of(fact: str, value: bool | str = True) -> tuple[str, ...]:
    """Return the kinds of tuning of which ``fact`` (a field of ``TuningKind``) is true, or has a value."""
    return tuple(name for name, kind in KINDS.items() if getattr(kind, fact) == value)
