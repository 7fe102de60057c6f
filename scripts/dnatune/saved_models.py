"""Folders with a classifier that the Auto classes load: how ours are written and read.

Model code of ours (pooled heads, ensembles, native architectures) is saved beside the weights for others, and
known here to transformers by its class, so that dnatune itself never runs code from a folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from dnatune.backbones.modeling_ensemble import EnsembleConfig, EnsembleForSequenceClassification
from dnatune.backbones.modeling_natives import NATIVES
from dnatune.backbones.modeling_pooled import PooledConfig, PooledForSequenceClassification
from dnatune.backbones.nucleotide_transformer import fuse_gelu

OUR_MODELS = (
    (PooledConfig, PooledForSequenceClassification),
    (EnsembleConfig, EnsembleForSequenceClassification),
    *((config, classifier) for config, _, classifier in NATIVES),
)
for _config, _model in OUR_MODELS:
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModelForSequenceClassification.register(_config, _model, exist_ok=True)


def is_ours(model: PreTrainedModel) -> bool:
    """Say whether a model needs the model code that is saved beside it."""
    return isinstance(model, tuple(kind for _, kind in OUR_MODELS))


def save_model(model: PreTrainedModel, tokenizer: Any, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Save model and tokenizer so that AutoModelForSequenceClassification and AutoTokenizer load them."""
    for config, kind in OUR_MODELS:
        if isinstance(model, kind):
            config.register_for_auto_class()
            kind.register_for_auto_class("AutoModelForSequenceClassification")
    model = model.to(dtype)
    model.config.dtype = dtype
    model.save_pretrained(folder, save_original_format=False)
    tokenizer.save_pretrained(folder)


def load_model(folder: str | Path) -> PreTrainedModel:
    """Load a folder written by ``save_model`` in float32, in evaluation mode."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    return fuse_gelu(model).eval()
