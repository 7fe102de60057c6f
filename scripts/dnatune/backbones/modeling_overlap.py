"""An ESM model that reads one base per token and looks up the k-mer around each base (k-mers at stride 1).

This file travels with every saved model that may need it, so it needs nothing but torch and transformers. In: ids of
special tokens and of A T C G N, and the attention mask; out: hidden states, one per token.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, EsmConfig, EsmModel
from transformers.models.esm.modeling_esm import EsmEmbeddings


class OverlapConfig(EsmConfig):
    """ESM's configuration, the length of the k-mers, and the id of the first base (A; T, C, G follow)."""

    model_type = "dnatune-overlap"

    kmer_length: int = 6
    first_base_id: int = 4


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


class OverlapModel(EsmModel):
    """ESM with the embeddings above, without a pooler."""

    config_class = OverlapConfig

    def __init__(self, config):
        super().__init__(config, add_pooling_layer=False)
        self.embeddings = OverlapEmbeddings(config)
        self.post_init()


AutoConfig.register(OverlapConfig.model_type, OverlapConfig, exist_ok=True)
AutoModel.register(OverlapConfig, OverlapModel, exist_ok=True)
