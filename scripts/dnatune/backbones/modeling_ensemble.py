"""Several models of one kind as one: the mean of their probabilities, or of their values.

This file travels with every saved ensemble (``auto_map`` in config.json points here). In: token ids and
attention mask; out: logits whose probabilities are the mean ones, or the mean values of a regression.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from .modeling_heads import loss_of
from .modeling_pooled import PooledConfig, PooledForSequenceClassification, PooledForTokenClassification


class EnsembleConfig(PreTrainedConfig):
    """The members' common configuration and how many there are."""

    model_type = "dnatune-ensemble"
    sub_configs: ClassVar = {"member": AutoConfig}

    def __init__(self, member=None, size=1, **kwargs):
        if isinstance(member, dict):
            settings = dict(member)
            kind = settings.pop("model_type")
            pooled = kind == PooledConfig.model_type
            member = PooledConfig(**settings) if pooled else AutoConfig.for_model(kind, **settings)
        self.member = member
        self.size = size
        if member is not None:
            kwargs.setdefault("pad_token_id", member.pad_token_id)
            kwargs.setdefault("problem_type", member.problem_type)
        super().__init__(**kwargs)


def mean_of(logits: list[torch.Tensor], problem_type: str | None) -> torch.Tensor:
    """Return the values, or the logits of the mean probabilities, of several models."""
    stacked = torch.stack([member.float() for member in logits])
    if problem_type == "regression":
        return stacked.mean(0)
    if problem_type == "multi_label_classification":
        # The logit of the mean probability from logarithms: a probability of 1 in float32 would give infinity.
        yes, no = (nn.functional.logsigmoid(signed).logsumexp(0) for signed in (stacked, -stacked))
        return yes - no
    return stacked.softmax(-1).mean(0).clamp(min=1e-38).log()


class EnsembleForSequenceClassification(PreTrainedModel):
    """Members that each give logits; their probabilities are averaged."""

    pooled = PooledForSequenceClassification
    from_config = AutoModelForSequenceClassification.from_config

    config_class = EnsembleConfig
    base_model_prefix = "members"
    _supports_sdpa = True
    _keep_in_fp32_modules_strict = PooledForSequenceClassification._keep_in_fp32_modules_strict

    def __init__(self, config):
        super().__init__(config)
        build = self.pooled if isinstance(config.member, PooledConfig) else self.from_config
        self.members = nn.ModuleList(build(config.member) for _ in range(config.size))
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs):
        parts = [member(input_ids=input_ids, attention_mask=attention_mask).logits for member in self.members]
        logits = mean_of(parts, self.config.problem_type)
        loss = None if labels is None else loss_of(logits, labels, self.config.problem_type)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class EnsembleForTokenClassification(EnsembleForSequenceClassification):
    """The same for models with an output per token."""

    pooled = PooledForTokenClassification
    from_config = AutoModelForTokenClassification.from_config
