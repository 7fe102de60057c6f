"""What a configuration may change of ``builtin:nt-mini``; checked before anything heavy is imported."""

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
# k: length of the k-mers. overlapping: one token per base, which looks up the k-mer around it (stride 1 instead of k).
TOKENS: dict[str, Any] = {"k": 6, "overlapping": False}
# In front of the layers of overlapping k-mers: width of a convolution in bases (odd; 0: none), and how many bases
# become one position of the layers behind it.
STEM: dict[str, Any] = {"stem_kernel": 0, "stem_pooling": 1}
LARGEST_K = 8  # 65,536 k-mers; there are four times as many with every base more


def check_sizes(where: str, overrides: dict[str, Any]) -> None:
    """Raise UserError for an unknown key, a k-mer length out of range, or a width the heads cannot share evenly."""
    known = {**SIZES, **TOKENS, **STEM}
    for key in overrides:
        if key not in known:
            raise UserError(
                f"Configuration key '{where}.{key}' cannot be changed{nearest(key, known)}; "
                f"known are {', '.join(known)}."
            )
    k, overlapping = ({**TOKENS, **overrides}[key] for key in TOKENS)
    if not isinstance(overlapping, bool):
        raise UserError(f"Configuration key '{where}.overlapping': found {overlapping!r}, expected true or false.")
    smallest = 1 if overlapping else 2
    if isinstance(k, bool) or not isinstance(k, int) or not smallest <= k <= LARGEST_K:
        raise UserError(
            f"Configuration key '{where}.k': found {k!r}, expected a whole number from {smallest} to {LARGEST_K}"
            f"{'' if overlapping or k != 1 else ' (1 needs overlapping: true)'}."
        )
    _check_stem(where, {**STEM, **overrides}, overlapping)
    sizes = {**SIZES, **overrides}
    width, heads = sizes["hidden_size"], sizes["num_attention_heads"]
    if width % (2 * heads):
        raise UserError(
            f"Configuration key '{where}': hidden_size {width} does not split into {heads} attention heads of an even "
            "width; change one of them."
        )


def _check_stem(where: str, sizes: dict[str, Any], overlapping: bool) -> None:
    kernel, pooling = sizes["stem_kernel"], sizes["stem_pooling"]
    for key, value, smallest in (("stem_kernel", kernel, 0), ("stem_pooling", pooling, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
            raise UserError(
                f"Configuration key '{where}.{key}': found {value!r}, expected a whole number from {smallest}."
            )
    if kernel and not kernel % 2:
        raise UserError(
            f"Configuration key '{where}.stem_kernel': found {kernel}, expected an odd number of bases, such as "
            f"{kernel + 1}."
        )
    if kernel and not overlapping:
        raise UserError(f"Configuration key '{where}.stem_kernel' is for overlapping k-mers; add overlapping: true.")
    if pooling > 1 and not kernel:
        raise UserError(f"Configuration key '{where}.stem_pooling' belongs to a stem; add stem_kernel, such as 11.")
