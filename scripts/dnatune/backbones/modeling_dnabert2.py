"""DNABERT-2 and DNABERT-S: MosaicBERT, a post-norm encoder with ALiBi and a gated feed-forward step.

The published code needs transformers 4.29; this is the same function under the same tensor names. The file
travels with every saved model that uses it, so it needs nothing but torch and transformers.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput


class DNABert2Config(PreTrainedConfig):
    """Sizes as in the published config.json, under a model type of our own: ``bert`` is another architecture."""

    model_type = "dnatune-dnabert2"

    def __init__(
        self,
        vocab_size=4096,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.0,
        classifier_dropout=None,
        type_vocab_size=2,
        initializer_range=0.02,
        layer_norm_eps=1e-12,
        alibi_starting_size=512,
        pad_token_id=3,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.classifier_dropout = classifier_dropout
        self.type_vocab_size = type_vocab_size
        self.initializer_range = initializer_range
        self.layer_norm_eps = layer_norm_eps
        self.alibi_starting_size = alibi_starting_size
        super().__init__(pad_token_id=pad_token_id, **kwargs)


def alibi_slopes(heads: int) -> list[float]:
    """Return the slope of each head (Press et al. 2022, ALiBi).

    A geometric series for the largest power of two; the other heads take every second slope of twice as many.
    """
    whole = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / whole) for i in range(whole)]
    return slopes + (alibi_slopes(2 * whole)[0::2][: heads - whole] if heads > whole else [])


def attention_bias(heads: int, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    """Return what is added to the attention scores: minus slope times distance, and minus infinity for padding.

    Shape (1, heads, tokens, tokens) without padding, (batch, heads, tokens, tokens) with.
    """
    position = torch.arange(input_ids.shape[1], device=input_ids.device)
    distance = (position[None, :] - position[:, None]).abs().float()
    bias = -torch.tensor(alibi_slopes(heads), device=input_ids.device)[:, None, None] * distance
    if attention_mask is None or bool(attention_mask.all()):
        return bias[None]
    return bias.masked_fill(~attention_mask[:, None, None, :].bool(), -torch.inf)


class DNABert2Embeddings(nn.Module):
    """Token and segment vectors, normalised; there are no positions."""

    def __init__(self, config):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids):
        segment = self.token_type_embeddings(torch.zeros_like(input_ids))
        return self.dropout(self.LayerNorm(self.word_embeddings(input_ids) + segment))


class DNABert2SelfAttention(nn.Module):
    """Attention with queries, keys and values from one matrix."""

    def __init__(self, config):
        super().__init__()
        self.heads = config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.Wqkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)

    def forward(self, hidden, bias):
        query, key, value = self.Wqkv(hidden).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        context = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=bias.to(query.dtype), dropout_p=self.dropout if self.training else 0.0
        )
        return context.transpose(1, 2).flatten(2)


class DNABert2SelfOutput(nn.Module):
    """Projection, residual, normalisation."""

    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, context, hidden):
        return self.LayerNorm(self.dropout(self.dense(context)) + hidden)


class DNABert2Attention(nn.Module):
    """Attention and what follows it."""

    def __init__(self, config):
        super().__init__()
        self.self = DNABert2SelfAttention(config)
        self.output = DNABert2SelfOutput(config)

    def forward(self, hidden, bias):
        return self.output(self.self(hidden, bias), hidden)


class DNABert2MLP(nn.Module):
    """Gated feed-forward step, wo(gelu(first half) * second half), residual, normalisation."""

    def __init__(self, config):
        super().__init__()
        self.gated_layers = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.wo = nn.Linear(config.intermediate_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden):
        gate, value = self.gated_layers(hidden).chunk(2, dim=-1)
        return self.layernorm(self.wo(self.dropout(nn.functional.gelu(gate) * value)) + hidden)


class DNABert2Layer(GradientCheckpointingLayer):
    """Attention, then the feed-forward step."""

    def __init__(self, config):
        super().__init__()
        self.attention = DNABert2Attention(config)
        self.mlp = DNABert2MLP(config)

    def forward(self, hidden, bias):
        return self.mlp(self.attention(hidden, bias))


class DNABert2Encoder(nn.Module):
    """All layers."""

    def __init__(self, config):
        super().__init__()
        self.layer = nn.ModuleList(DNABert2Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, hidden, bias):
        for layer in self.layer:
            hidden = layer(hidden, bias)
        return hidden


class DNABert2Pooler(nn.Module):
    """BERT's pooler: a layer and tanh on the first token."""

    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden):
        return torch.tanh(self.dense(hidden[:, 0]))


class DNABert2PreTrainedModel(PreTrainedModel):
    """What loading, saving and gradient checkpointing need to know."""

    config_class = DNABert2Config
    base_model_prefix = "bert"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    _supports_sdpa = True
    _no_split_modules = ("DNABert2Layer",)
    _input_embed_layer = "word_embeddings"


class DNABert2Model(DNABert2PreTrainedModel):
    """The encoder: ids and attention mask (batch, tokens) to hidden states (batch, tokens, hidden)."""

    def __init__(self, config, add_pooling_layer=False):
        super().__init__(config)
        self.embeddings = DNABert2Embeddings(config)
        self.encoder = DNABert2Encoder(config)
        self.pooler = DNABert2Pooler(config) if add_pooling_layer else None
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        bias = attention_bias(self.config.num_attention_heads, input_ids, attention_mask)
        kind = input_ids.device.type
        if torch.is_autocast_enabled(kind):  # here, once, and not in each layer
            bias = bias.to(torch.get_autocast_dtype(kind))
        hidden = self.encoder(self.embeddings(input_ids), bias)
        pooled = None if self.pooler is None else self.pooler(hidden)
        return BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=pooled)


class DNABert2ForSequenceClassification(DNABert2PreTrainedModel):
    """Encoder, pooler, dropout and one linear layer, as published."""

    def __init__(self, config):
        super().__init__(config)
        self.bert = DNABert2Model(config, add_pooling_layer=True)
        given = config.classifier_dropout
        self.dropout = nn.Dropout(config.hidden_dropout_prob if given is None else given)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs):
        if attention_mask is None:
            attention_mask = (input_ids != self.config.pad_token_id).long()
        pooled = self.bert(input_ids=input_ids, attention_mask=attention_mask).pooler_output
        logits = self.classifier(self.dropout(pooled))
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits)
