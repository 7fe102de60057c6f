"""Keys of a model that another key switches off: one that the user wrote is refused, not silently ignored.

In: the configuration as it was written and as it was completed. Defaults count as not written, and so does null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dnatune.errors import UserError
from dnatune.tuning_kinds import names_of


@dataclass(frozen=True)
class Switch:
    """``key`` (or every key of that section) has an effect only where the key ``by`` has one of ``values``."""

    key: str
    by: str
    values: tuple[str | None, ...]


SWITCHES = (
    Switch("lora", "tuning", names_of("adapter", "lora")),
    Switch("ia3", "tuning", names_of("adapter", "ia3")),
    Switch("qlora", "tuning", names_of("quantised")),
    Switch("base_precision", "tuning", names_of("frozen_backbone")),
    Switch("training.gradient_checkpointing", "tuning", names_of("through_backbone")),
    Switch("training.sharding", "tuning", names_of("shardable")),
    Switch("head_dropout", "pooling", ("mean", "cls", "last", None)),
    Switch("tokens.window_overlap", "tokens.long_sequences", ("windows",)),
    Switch("training.focal_gamma", "training.imbalance", ("focal",)),
    Switch("training.logit_adjustment_tau", "training.imbalance", ("logit_adjustment",)),
)


def check_idle_keys(written: dict[str, Any], resolved: dict[str, Any]) -> None:
    """Raise UserError for the first key of a model that was written and has no effect."""
    for name, model in (written.get("models") or {}).items():
        complete = resolved["models"][str(name)]
        for switch in SWITCHES:
            keys = _written(_value(model, switch.key), switch.key)
            found = _value(complete, switch.by)
            if keys and found not in switch.values:
                options = " or ".join(str(value) for value in switch.values if value is not None)
                raise UserError(
                    f"Configuration key 'models.{name}.{keys[0]}' has no effect with {switch.by}: {found}; "
                    f"leave it out, or set {switch.by} to {options}."
                )


def check_idle_ranks(written: dict[str, Any], resolved: dict[str, Any]) -> None:
    """Raise UserError for a key about ranks that was written where there are none."""
    if resolved["data"]["columns"]["ranks"]:
        return
    for path in ("taxonomy.threshold", "data.on_empty_rank"):
        if _value(written, path) is not None:
            raise UserError(
                f"Configuration key '{path}' has no effect without ranks; leave it out, or name the columns of genus, "
                "family, ... in data.columns.ranks."
            )


def _value(tree: Any, path: str) -> Any:
    for part in path.split("."):
        tree = (tree or {}).get(part)
    return tree


def _written(value: Any, path: str) -> list[str]:
    if isinstance(value, dict):
        return [key for name, child in value.items() for key in _written(child, f"{path}.{name}")]
    return [] if value is None else [path]
