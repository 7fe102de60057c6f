"""Nucleotide Transformer v2: ESM with rotary positions and a gated feed-forward step.

The published code calls functions that transformers 5 no longer has; this is the same function under the same
tensor names. The file travels with every saved model that uses it, so it needs nothing but torch, transformers
and the file beside it.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

from .modeling_rotary import RotarySelfAttention, key_mask, rotary_table

# What ESM can be told but no gated ESM uses, and so this file does not know.
ONLY = {"position_embedding_type": "rotary", "token_dropout": False, "is_folding_model": False, "is_decoder": False}


class GatedEsmConfig(PreTrainedConfig):
    """Sizes as in the published config.json, under a model type of our own: ``esm`` is another architecture.

    Raises ValueError for a kind that this file does not know.
    """

    model_type = "dnatune-gated-esm"

    def __init__(
        self,
        vocab_size=4107,
        hidden_size=512,
        num_hidden_layers=12,
        num_attention_heads=16,
        intermediate_size=2048,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=2050,
        initializer_range=0.02,
        layer_norm_eps=1e-12,
        add_bias_fnn=False,
        pad_token_id=1,
        mask_token_id=2,
        **kwargs,
    ):
        for name, value in ONLY.items():
            if kwargs.get(name, value) != value:
                raise ValueError(f"a gated ESM with {name} {kwargs[name]!r} is not known here, only {value!r}")
        if kwargs.get("emb_layer_norm_before"):
            raise ValueError("a gated ESM with emb_layer_norm_before is not known here")
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
        self.add_bias_fnn = add_bias_fnn
        self.mask_token_id = mask_token_id
        super().__init__(pad_token_id=pad_token_id, **kwargs)


def norm(config):
    """Return a fresh layer normalisation."""
    return nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)


class GatedEsmEmbeddings(nn.Module):
    """Token vectors alone: positions come in as rotations."""

    def __init__(self, config):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)

    def forward(self, input_ids):
        return self.word_embeddings(input_ids)


class GatedEsmOutput(nn.Module):
    """A projection back to the hidden width."""

    def __init__(self, config, width, bias):
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size, bias=bias)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, wide):
        return self.dropout(self.dense(wide))


class GatedEsmAttention(nn.Module):
    """Normalisation, attention, projection; the residual is the layer's."""

    def __init__(self, config):
        super().__init__()
        self.self = RotarySelfAttention(config)
        self.output = GatedEsmOutput(config, config.hidden_size, bias=True)
        self.LayerNorm = norm(config)

    def forward(self, hidden, table, mask):
        return self.output(self.self(self.LayerNorm(hidden), table, mask))


class GatedEsmIntermediate(nn.Module):
    """One matrix gives gate and value: silu(first half) * second half."""

    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=config.add_bias_fnn)

    def forward(self, hidden):
        gate, value = self.dense(hidden).chunk(2, dim=-1)
        return nn.functional.silu(gate) * value


class GatedEsmLayer(GradientCheckpointingLayer):
    """Attention and feed-forward step, each on normalised input and added to it."""

    def __init__(self, config):
        super().__init__()
        self.attention = GatedEsmAttention(config)
        self.intermediate = GatedEsmIntermediate(config)
        self.output = GatedEsmOutput(config, config.intermediate_size, bias=config.add_bias_fnn)
        self.LayerNorm = norm(config)

    def forward(self, hidden, table, mask):
        hidden = hidden + self.attention(hidden, table, mask)
        return hidden + self.output(self.intermediate(self.LayerNorm(hidden)))


class GatedEsmEncoder(nn.Module):
    """All layers and the last normalisation."""

    def __init__(self, config):
        super().__init__()
        self.layer = nn.ModuleList(GatedEsmLayer(config) for _ in range(config.num_hidden_layers))
        self.emb_layer_norm_after = norm(config)

    def forward(self, hidden, table, mask):
        for layer in self.layer:
            hidden = layer(hidden, table, mask)
        return self.emb_layer_norm_after(hidden)


class GatedEsmPreTrainedModel(PreTrainedModel):
    """What loading, saving and gradient checkpointing need to know."""

    config_class = GatedEsmConfig
    base_model_prefix = "esm"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    _supports_sdpa = True
    _no_split_modules = ("GatedEsmLayer",)
    _input_embed_layer = "word_embeddings"
    # Published beside the weights and never used by them: the frequencies of the rotation, which are computed here,
    # a table of positions that rotary models do not read, and a head for protein contacts.
    _keys_to_ignore_on_load_unexpected = (
        r"rotary_embeddings\.inv_freq$",
        r"position_embeddings\.weight$",
        r"position_ids$",
        r"contact_head\.",
    )


class GatedEsmModel(GatedEsmPreTrainedModel):
    """The encoder: ids and attention mask (batch, tokens) to hidden states (batch, tokens, hidden)."""

    def __init__(self, config):
        super().__init__(config)
        self.embeddings = GatedEsmEmbeddings(config)
        self.encoder = GatedEsmEncoder(config)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        width = self.config.hidden_size // self.config.num_attention_heads
        table = rotary_table(input_ids.shape[1], width, input_ids.device)
        hidden = self.encoder(self.embeddings(input_ids), table, key_mask(attention_mask))
        return BaseModelOutput(last_hidden_state=hidden)


class GatedEsmClassificationHead(nn.Module):
    """ESM's head on the first token."""

    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, pooled):
        return self.out_proj(self.dropout(torch.tanh(self.dense(self.dropout(pooled)))))


class GatedEsmForSequenceClassification(GatedEsmPreTrainedModel):
    """Encoder and ESM's head."""

    def __init__(self, config):
        super().__init__(config)
        self.esm = GatedEsmModel(config)
        self.classifier = GatedEsmClassificationHead(config)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs):
        if attention_mask is None:
            attention_mask = (input_ids != self.config.pad_token_id).long()
        hidden = self.esm(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        logits = self.classifier(hidden[:, 0])
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits)
