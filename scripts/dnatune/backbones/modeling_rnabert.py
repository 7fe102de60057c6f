"""AIDO.DNA (model type ``rnabert``): a pre-norm encoder with rotary positions and a SwiGLU feed-forward step.

The published code needs transformers 4.38; this is the same function under the same tensor names. The file
travels with every saved model that uses it, so it needs nothing but torch, transformers and the file beside it.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

from .modeling_rotary import RotarySelfAttention, key_mask, rotary_table

NORMS = {"LayerNorm": nn.LayerNorm, "RMSNorm": nn.RMSNorm}
# What the published code can be told but no published DNA model uses, and so this file does not know.
ONLY = {
    "hidden_act": "swiglu",
    "position_embedding_type": "rope",
    "rotary_percent": 1.0,
    "seq_len_interpolation_factor": None,
}


class RNABertConfig(PreTrainedConfig):
    """Sizes and kinds as in the published config.json; the defaults are those of the published code.

    Raises ValueError for a kind that this file does not know.
    """

    model_type = "rnabert"

    def __init__(
        self,
        vocab_size=16,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=512,
        initializer_range=0.02,
        layer_norm_eps=1e-5,
        normalization_type="RMSNorm",
        add_linear_bias=True,
        classifier_pooling="cls_pooling",
        pad_token_id=0,
        **kwargs,
    ):
        for name, value in ONLY.items():
            if kwargs.get(name, value) != value:
                raise ValueError(f"rnabert with {name} {kwargs[name]!r} is not known here, only {value!r}")
        if normalization_type not in NORMS:
            raise ValueError(f"rnabert with normalization_type {normalization_type!r} is not known here")
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.max_position_embeddings = max_position_embeddings
        self.initializer_range = initializer_range
        self.layer_norm_eps = layer_norm_eps
        self.normalization_type = normalization_type
        self.add_linear_bias = add_linear_bias
        self.classifier_pooling = classifier_pooling
        super().__init__(pad_token_id=pad_token_id, **kwargs)


def norm(config):
    """Return a fresh normalisation layer of the configuration's kind."""
    return NORMS[config.normalization_type](config.hidden_size, eps=config.layer_norm_eps)


class RNABertEmbeddings(nn.Module):
    """Token vectors alone: positions come in as rotations."""

    def __init__(self, config):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids):
        return self.dropout(self.word_embeddings(input_ids))


class RNABertSelfOutput(nn.Module):
    """The projection that joins the heads."""

    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=config.add_linear_bias)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, context):
        return self.dropout(self.dense(context))


class RNABertAttention(nn.Module):
    """Normalisation, attention, projection; the residual is the layer's."""

    def __init__(self, config):
        super().__init__()
        self.ln = norm(config)
        self.self = RotarySelfAttention(config, bias=config.add_linear_bias)
        self.output = RNABertSelfOutput(config)

    def forward(self, hidden, table, mask):
        return self.output(self.self(self.ln(hidden), table, mask))


class RNABertMLP(nn.Module):
    """SwiGLU (Shazeer 2020): down(silu(gate(x)) * up(x))."""

    def __init__(self, config):
        super().__init__()
        wide, bias = config.intermediate_size, config.add_linear_bias
        self.up_proj = nn.Linear(config.hidden_size, wide, bias=bias)
        self.down_proj = nn.Linear(wide, config.hidden_size, bias=bias)
        self.gate_proj = nn.Linear(config.hidden_size, wide, bias=bias)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden):
        return self.dropout(self.down_proj(nn.functional.silu(self.gate_proj(hidden)) * self.up_proj(hidden)))


class RNABertLayer(GradientCheckpointingLayer):
    """Attention and feed-forward step, each on normalised input and added to it."""

    def __init__(self, config):
        super().__init__()
        self.attention = RNABertAttention(config)
        self.ln = norm(config)
        self.mlp = RNABertMLP(config)

    def forward(self, hidden, table, mask):
        hidden = hidden + self.attention(hidden, table, mask)
        return hidden + self.mlp(self.ln(hidden))


class RNABertEncoder(nn.Module):
    """All layers and the last normalisation."""

    def __init__(self, config):
        super().__init__()
        self.layer = nn.ModuleList(RNABertLayer(config) for _ in range(config.num_hidden_layers))
        self.ln = norm(config)

    def forward(self, hidden, table, mask):
        for layer in self.layer:
            hidden = layer(hidden, table, mask)
        return self.ln(hidden)


class RNABertPreTrainedModel(PreTrainedModel):
    """What loading, saving and gradient checkpointing need to know."""

    config_class = RNABertConfig
    base_model_prefix = "bert"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    _supports_sdpa = True
    _no_split_modules = ("RNABertLayer",)
    _input_embed_layer = "word_embeddings"


class RNABertModel(RNABertPreTrainedModel):
    """The encoder: ids and attention mask (batch, tokens) to hidden states (batch, tokens, hidden)."""

    def __init__(self, config):
        super().__init__(config)
        self.embeddings = RNABertEmbeddings(config)
        self.encoder = RNABertEncoder(config)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        width = self.config.hidden_size // self.config.num_attention_heads
        table = rotary_table(input_ids.shape[1], width, input_ids.device)
        hidden = self.encoder(self.embeddings(input_ids), table, key_mask(attention_mask))
        return BaseModelOutput(last_hidden_state=hidden)


class RNABertClassificationHead(nn.Module):
    """The published head: dropout, a narrowing layer, tanh, one linear layer."""

    def __init__(self, config):
        super().__init__()
        hidden = config.hidden_size
        narrow = hidden // 4 if hidden >= 2048 else hidden // 2 if hidden > 128 else hidden
        self.dropout = nn.Dropout(min(config.hidden_dropout_prob, 0.1))
        self.dense = nn.Linear(hidden, narrow)
        self.out_proj = nn.Linear(narrow, config.num_labels)

    def forward(self, pooled):
        return self.out_proj(torch.tanh(self.dense(self.dropout(pooled))))


class RNABertForSequenceClassification(RNABertPreTrainedModel):
    """Encoder and published head, on the first token (``cls_pooling``) or the mean of all (``mean_pooling``)."""

    def __init__(self, config):
        super().__init__(config)
        self.bert = RNABertModel(config)
        self.classifier = RNABertClassificationHead(config)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs):
        if attention_mask is None:
            attention_mask = (input_ids != self.config.pad_token_id).long()
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.config.classifier_pooling == "mean_pooling":
            weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * weights).sum(1) / weights.sum(1)
        else:
            pooled = hidden[:, 0]
        logits = self.classifier(pooled)
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits)
