"""A classifier that pools the hidden states of any backbone and adds one linear layer.

This file travels with every saved model that uses it (``auto_map`` in config.json points here), so it needs
nothing but torch, transformers and the files beside it. In: token ids and attention mask; out: logits, one per label.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput

from .modeling_heads import loss_of, make_head
from .modeling_natives import NATIVES  # noqa: F401  (importing it makes them known to the Auto classes)
from .modeling_overlap import OverlapConfig  # noqa: F401 (registers it with the Auto classes)


class PooledConfig(PreTrainedConfig):
    """The backbone's own configuration, and how its hidden states become one vector (mean, cls or last).

    ``head`` says what kind of head follows: ``problem_type`` as transformers has it, ``per_token``, ``groups`` of
    label ids with a head each, ``mean`` and ``sd`` of the values of a regression.
    """

    model_type = "dnatune-pooled"
    sub_configs: ClassVar = {"backbone": AutoConfig}

    def __init__(self, backbone=None, pooling="mean", head_dropout=0.0, head=None, **kwargs):
        if isinstance(backbone, dict):
            settings = dict(backbone)
            backbone = AutoConfig.for_model(settings.pop("model_type"), **settings)
        self.backbone = backbone
        self.pooling = pooling
        self.head_dropout = head_dropout
        self.head = head
        if backbone is not None:
            kwargs.setdefault("pad_token_id", backbone.pad_token_id)
        if head:
            kwargs.setdefault("problem_type", head.get("problem_type"))
        super().__init__(**kwargs)


def pool(hidden: torch.Tensor, attention_mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Reduce hidden states (batch, tokens, hidden) to (batch, hidden) over real (unpadded) tokens."""
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        last = attention_mask.shape[1] - 1 - attention_mask.flip(1).argmax(1)
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]
    # The sum runs in float32: a mean over a thousand bfloat16 tokens would lose digits.
    mask = attention_mask.unsqueeze(-1).float()
    return ((hidden.float() * mask).sum(1) / mask.sum(1).clamp(min=1)).to(hidden.dtype)


class PooledForSequenceClassification(PreTrainedModel):
    """Backbone, pooling, dropout, one linear layer."""

    config_class = PooledConfig
    base_model_prefix = "backbone"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    _supports_sdpa = True
    _supports_flash_attn = True
    # Units of a regression: half precision is for weights, a mean of 1005 would become 1004.
    _keep_in_fp32_modules_strict = ("mean", "sd")

    def __init__(self, config):
        super().__init__(config)
        extra = {"add_pooling_layer": False} if config.backbone.model_type in ("esm", "bert") else {}
        self.backbone = AutoModel.from_config(config.backbone, **extra)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = make_head(config.backbone.hidden_size, config.num_labels, config.head, config.head_dropout)
        self.post_init()

    def hidden_states(self, input_ids, attention_mask):
        """Return the hidden states of all tokens, (batch, tokens, hidden)."""
        return self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    def embed(self, input_ids, attention_mask):
        """Return one vector per sequence, (batch, hidden)."""
        return pool(self.hidden_states(input_ids, attention_mask), attention_mask, self.config.pooling)

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs):
        if attention_mask is None:
            attention_mask = (input_ids != self.config.pad_token_id).long()
        logits = self.classifier(self.dropout(self.embed(input_ids, attention_mask)))
        loss = None if labels is None else loss_of(logits, labels, self.config.problem_type)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class PooledForTokenClassification(PooledForSequenceClassification):
    """Backbone, dropout, one linear layer on every token; nothing is pooled."""

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs):
        if attention_mask is None:
            attention_mask = (input_ids != self.config.pad_token_id).long()
        logits = self.classifier(self.dropout(self.hidden_states(input_ids, attention_mask)))
        loss = None if labels is None else loss_of(logits, labels, self.config.problem_type)
        return TokenClassifierOutput(loss=loss, logits=logits)
