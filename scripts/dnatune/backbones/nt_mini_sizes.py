"""The sizes of ``builtin:nt-mini`` that a configuration may change; checked before anything heavy is imported."""

from __future__ import annotations

from typing import Any

from dnatune.errors import UserError, nearest

# intermediate_size: four times hidden_size unless given.
SIZES: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": None,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def check_sizes(where: str, overrides: dict[str, Any]) -> None:
    """Raise UserError for a key that is not among SIZES, or a width that the heads cannot share evenly."""
    for key in overrides:
        if key not in SIZES:
            raise UserError(
                f"Configuration key '{where}.{key}' cannot be changed{nearest(key, SIZES)}; "
                f"known are {', '.join(SIZES)}."
            )
    sizes = {**SIZES, **overrides}
    width, heads = sizes["hidden_size"], sizes["num_attention_heads"]
    if width % (2 * heads):
        raise UserError(
            f"Configuration key '{where}': hidden_size {width} does not split into {heads} attention heads of an even "
            "width; change one of them."
        )
