"""Folders with a classifier that the Auto classes load: how ours are written and read.

Model code of ours (pooled heads, ensembles, native architectures) is saved beside the weights for others, and
known here to transformers by its class, so that dnatune itself never runs code from a folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from dnatune.backbones.modeling_ensemble import (
    EnsembleConfig,
    EnsembleForSequenceClassification,
    EnsembleForTokenClassification,
)
from dnatune.backbones.modeling_natives import NATIVES
from dnatune.backbones.modeling_pooled import (
    PooledConfig,
    PooledForSequenceClassification,
    PooledForTokenClassification,
)
from dnatune.backbones.nucleotide_transformer import fuse_gelu

PER_SEQUENCE, PER_TOKEN = AutoModelForSequenceClassification, AutoModelForTokenClassification
OUR_MODELS = (
    (PooledConfig, PooledForSequenceClassification, PER_SEQUENCE),
    (PooledConfig, PooledForTokenClassification, PER_TOKEN),
    (EnsembleConfig, EnsembleForSequenceClassification, PER_SEQUENCE),
    (EnsembleConfig, EnsembleForTokenClassification, PER_TOKEN),
    *((config, classifier, PER_SEQUENCE) for config, _, classifier in NATIVES),
)
for _config, _model, _auto in OUR_MODELS:
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    _auto.register(_config, _model, exist_ok=True)


def is_ours(model: PreTrainedModel) -> bool:
    """Say whether a model needs the model code that is saved beside it."""
    return isinstance(model, tuple(kind for _, kind, _ in OUR_MODELS))


def auto_class(per_token: bool) -> Any:
    """Return transformers' Auto class for models with an output per token, or per sequence."""
    return PER_TOKEN if per_token else PER_SEQUENCE


def save_model(model: PreTrainedModel, tokenizer: Any, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Save model and tokenizer so that the Auto class of the model and AutoTokenizer load them."""
    for config, kind, auto in OUR_MODELS:
        if type(model) is kind:
            config.register_for_auto_class()
            kind.register_for_auto_class(auto.__name__)
    units = {name: buffer.clone() for name, buffer in model.named_buffers() if name.rsplit(".")[-1] in ("mean", "sd")}
    model = model.to(dtype)
    for name, buffer in units.items():
        model.get_buffer(name).data = buffer  # the units of a regression: half precision would shift every value
    model.config.dtype = dtype
    model.save_pretrained(folder, save_original_format=False)
    tokenizer.save_pretrained(folder)


def load_model(folder: str | Path, per_token: bool = False) -> PreTrainedModel:
    """Load a folder written by ``save_model`` in float32, in evaluation mode."""
    model = auto_class(per_token).from_pretrained(folder, dtype=torch.float32)
    return fuse_gelu(model).eval()
