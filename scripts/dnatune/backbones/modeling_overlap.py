"""An ESM model that reads one base per token and looks up the k-mer around each base (k-mers at stride 1).

It may have a stem in front of its layers: a convolution that reads the k-mers of a neighbourhood together, and the
strongest answer of every few bases, so that the layers see fewer positions.

This file travels with every saved model that may need it, so it needs nothing but torch and transformers. In: ids of
special tokens and of A T C G N, and the attention mask; out: hidden states, one per token.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, EsmConfig, EsmModel
from transformers.models.esm.modeling_esm import EsmEmbeddings


class OverlapConfig(EsmConfig):
    """ESM's configuration, the length of the k-mers, and the id of the first base (A; T, C, G follow).

    ``stem_kernel`` is the width of the stem's convolution in bases (0: no stem), ``stem_pooling`` how many bases
    become one position.
    """

    model_type = "dnatune-overlap"

    kmer_length: int = 6
    first_base_id: int = 4
    stem_kernel: int = 0
    stem_pooling: int = 1


def kmer_ids(input_ids: torch.Tensor, k: int, first_base_id: int) -> torch.Tensor:
    """Return for each token the id of the k-mer centred on it, (batch, tokens) int64.

    The window takes (k - 1) // 2 tokens before and k // 2 after; base 4 digits in the order A T C G, the first is
    the highest. Windows that hold anything else (N, a special token) or run over an end share the id 4**k.
    """
    width = input_ids.shape[1]
    digits = nn.functional.pad(input_ids - first_base_id, ((k - 1) // 2, k // 2), value=-1)
    ids, whole = torch.zeros_like(input_ids), torch.ones_like(input_ids, dtype=torch.bool)
    for offset in range(k):
        digit = digits[:, offset : offset + width]
        ids = ids * 4 + digit
        whole &= (digit >= 0) & (digit < 4)
    return torch.where(whole, ids, 4**k)


class OverlapEmbeddings(EsmEmbeddings):
    """ESM's embedding of the token itself plus that of the k-mer around it."""

    def __init__(self, config):
        super().__init__(config)
        self.kmer_length = config.kmer_length
        self.first_base_id = config.first_base_id
        self.kmer_embeddings = nn.Embedding(4**config.kmer_length + 1, config.hidden_size)

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, inputs_embeds=None):
        if inputs_embeds is None:
            kmers = self.kmer_embeddings(kmer_ids(input_ids, self.kmer_length, self.first_base_id))
            inputs_embeds = self.word_embeddings(input_ids) + kmers
        return super().forward(input_ids, attention_mask, position_ids, inputs_embeds)


class Stem(nn.Module):
    """A convolution over neighbouring positions, then the largest of every ``stem_pooling`` (as in DeepBind).

    In: embeddings (batch, tokens, hidden) and mask (batch, tokens), or None where nothing is padded. Out: what each
    token found (batch, tokens, hidden), the largest of every few (batch, positions, hidden), and their mask.
    """

    def __init__(self, config):
        super().__init__()
        size, kernel = config.hidden_size, config.stem_kernel
        self.pooling = config.stem_pooling
        self.before = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.convolution = nn.Conv1d(size, size, kernel, padding=kernel // 2)
        self.after = nn.LayerNorm(size, eps=config.layer_norm_eps)

    def forward(self, embeddings, mask):
        if mask is None:
            mask = embeddings.new_ones(embeddings.shape[:2], dtype=torch.long)
        # Padding is zero, as what lies beyond the ends is to the convolution: so it changes nothing.
        hidden = self.dropout(self.before(embeddings)) * mask.unsqueeze(-1).to(embeddings.dtype)
        hidden = nn.functional.gelu(self.convolution(hidden.transpose(1, 2)))
        short = -hidden.shape[-1] % self.pooling
        whole = nn.functional.pad(hidden.masked_fill(mask.unsqueeze(1) == 0, -1), (0, short), value=-1)
        # GELU is above -0.17, so a position of padding alone is the only one whose largest value is -1.
        largest = nn.functional.max_pool1d(whole, self.pooling).transpose(1, 2)
        positions = nn.functional.pad(mask, (0, short)).unflatten(1, (-1, self.pooling)).amax(2)
        return self.after(hidden.transpose(1, 2)), self.after(largest), positions


class OverlapModel(EsmModel):
    """ESM with the embeddings above, without a pooler, and with the stem if there is one.

    Behind a stem the hidden state of a token is that of its position plus what the stem found at the token itself.
    """

    config_class = OverlapConfig

    def __init__(self, config):
        super().__init__(config, add_pooling_layer=False)
        self.embeddings = OverlapEmbeddings(config)
        self.stem = Stem(config) if config.stem_kernel else None
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        if self.stem is None:
            return super().forward(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        embeddings = self.embeddings(input_ids=input_ids, attention_mask=attention_mask)
        each, largest, mask = self.stem(embeddings, attention_mask)
        outputs = super().forward(inputs_embeds=largest, attention_mask=mask, **kwargs)
        spread = outputs.last_hidden_state.repeat_interleave(self.stem.pooling, dim=1)
        outputs.last_hidden_state = spread[:, : each.shape[1]] + each
        return outputs


AutoConfig.register(OverlapConfig.model_type, OverlapConfig, exist_ok=True)
AutoModel.register(OverlapConfig, OverlapModel, exist_ok=True)
