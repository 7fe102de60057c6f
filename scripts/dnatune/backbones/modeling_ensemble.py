"""Several classifiers of one kind as one: the mean of their probabilities.

This file travels with every saved ensemble (``auto_map`` in config.json points here). In: token ids and
attention mask; out: logits, the logarithm of the mean probability per label.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from .modeling_pooled import PooledConfig, PooledForSequenceClassification


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
        super().__init__(**kwargs)


class EnsembleForSequenceClassification(PreTrainedModel):
    """Members that each give logits; their probabilities are averaged."""

    config_class = EnsembleConfig
    base_model_prefix = "members"
    _supports_sdpa = True

    def __init__(self, config):
        super().__init__(config)
        pooled = isinstance(config.member, PooledConfig)
        build = PooledForSequenceClassification if pooled else AutoModelForSequenceClassification.from_config
        self.members = nn.ModuleList(build(config.member) for _ in range(config.size))
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs):
        parts = [m(input_ids=input_ids, attention_mask=attention_mask).logits.float().softmax(-1) for m in self.members]
        logits = torch.stack(parts).mean(0).clamp(min=1e-38).log()
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)
