"""Weights, gradients and optimizer spread over the GPUs of a job (FSDP2), for models whose training does not fit one.

Each layer's weights are brought together while it computes. A finished model is whole again on every GPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from dnatune import distributed


def in_use(training: dict[str, Any]) -> bool:
    """Say whether a job with this ``training`` section spreads its model; one process alone cannot."""
    return training["sharding"] != "none" and distributed.size() > 1


def arguments(training: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """Return transformers' arguments for ``training.sharding``: every repeated layer is spread by itself."""
    if not in_use(training):
        return {}
    layers = {type(layer).__name__ for m in model.modules() if isinstance(m, nn.ModuleList) for layer in m}
    return {
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "transformer_layer_cls_to_wrap": sorted(layers),
            "state_dict_type": "FULL_STATE_DICT",
        },
    }


class CompleteState(TrainerCallback):
    """Give weights that no gradient reaches (ESM's contact head) an optimizer state too; it never moves them.

    torch saves the optimizer of a spread model without them, and then refuses to load it because they are missing.
    """

    def on_step_end(self, args, state, control, optimizer=None, **kwargs):
        """Called by the trainer after each step."""
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            if parameter not in optimizer.state:
                optimizer.state[parameter] = {
                    "step": torch.zeros((), device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }


def is_spread(model: nn.Module) -> bool:
    """Say whether each process holds only its part of the weights."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


@torch.no_grad()
def joined(model: nn.Module, plain: nn.Module) -> nn.Module:
    """Return ``plain``, the same model freshly built, with the weights of ``model``, on the device of this process.

    To be called in all processes at once.
    """
    found = model.state_dict()
    for name, value in plain.state_dict().items():
        value.copy_(found[name].full_tensor() if isinstance(found[name], DTensor) else found[name])
    return plain.to("cuda" if torch.cuda.is_available() else "cpu")
