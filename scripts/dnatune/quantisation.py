"""The frozen linear layers of a backbone in 4 bits (QLoRA, Dettmers 2023), and rounded to what 4 bits can tell apart.

Layers are replaced in memory, after loading, so that every backbone is treated alike: builtin ones, checkpoints with
older weight names, GPT-2's transposed layers. Only the base model is touched, so the head can never be quantised.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from dnatune.errors import UserError

BLOCK = 64  # weights that share a scale


def quantise(model: PreTrainedModel, settings: dict[str, Any], compute_dtype: torch.dtype) -> None:
    """Keep the base model's linear layers in 4 bits, in place; they compute in ``compute_dtype``.

    ``settings`` is the ``qlora`` section. Raises UserError where bitsandbytes is not installed, or no layer fits.
    """
    nn4bit = bitsandbytes().nn
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for parent, name, layer in _fitting_layers(model):
        weight = _rows_out(layer)
        rows, columns = weight.shape
        # On the meta device: the weights of the new layer are those of the old.
        new = nn4bit.Linear4bit(columns, rows, bias=False, compute_dtype=compute_dtype, device="meta")
        new.weight = nn4bit.Params4bit(weight, requires_grad=False, **_options(settings)).to(device)
        new.quant_state = new.weight.quant_state
        new.bias = layer.bias
        # A packing for inference alone, which training would have to undo after each evaluation.
        new.support_avx512bf16_for_cpu = False
        setattr(parent, name, new)
    model.is_loaded_in_4bit = True  # peft looks for it


def round_to_four_bits(model: PreTrainedModel, settings: dict[str, Any]) -> None:
    """Give the base model's linear layers the values that their 4-bit form stands for, in place and in float32."""
    functional = bitsandbytes().functional
    for _, _, layer in _fitting_layers(model):
        packed, state = functional.quantize_4bit(_rows_out(layer), **_options(settings))
        rounded = functional.dequantize_4bit(packed, state)
        layer.weight.data = rounded.T.contiguous() if isinstance(layer, Conv1D) else rounded


def _fitting_layers(model: PreTrainedModel) -> list[tuple[nn.Module, str, nn.Module]]:
    # bitsandbytes 0.49.2 dequantises other widths wrongly on a CPU: it lets every row begin a new block.
    fitting = [found for found in linear_layers(model) if _rows_out(found[2]).shape[1] % BLOCK == 0]
    if not fitting:
        raise UserError(
            f"Configuration key 'tuning': no linear layer of this backbone has an input width that is a multiple of "
            f"{BLOCK}, which 4 bits need; use tuning: lora."
        )
    return fitting


def linear_layers(model: PreTrainedModel) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Yield (parent, name, layer) of the plain linear layers of the base model, never those of the head."""
    for parent in getattr(model, model.base_model_prefix).modules():
        for name, layer in parent.named_children():
            # Subclasses may use their weight in ways of their own (nn.MultiheadAttention does).
            if type(layer) in (nn.Linear, Conv1D):
                yield parent, name, layer


def count(parameter: torch.Tensor) -> int:
    """Return how many numbers a parameter stands for, two to the byte in 4 bits."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else math.prod(state.shape)


def bitsandbytes() -> Any:
    """Return the library that quantises. Raises UserError where it is not installed."""
    try:
        import bitsandbytes as library
    except ImportError:
        raise UserError(
            "Configuration key 'tuning': qlora needs the package bitsandbytes, which is not installed here; install "
            "the version of pyproject.toml with 'pip install bitsandbytes' or from conda-forge, or use tuning: lora."
        ) from None
    # A deprecated call of its own, told on every use, and kernels that would have to be downloaded.
    warnings.filterwarnings("ignore", "_check_is_size", FutureWarning)
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    return library


def _rows_out(layer: nn.Module) -> torch.Tensor:
    # GPT-2's layers keep their weights transposed: (in, out).
    weight = layer.weight.data.float()
    return (weight.T if isinstance(layer, Conv1D) else weight).contiguous()


def _options(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "blocksize": BLOCK,
        "quant_type": settings["quant_type"],
        "compress_statistics": settings["double_quantization"],
    }
