"""Self-attention with rotary positions, as AIDO.DNA and the Nucleotide Transformer v2 share it.

This file travels with every saved model that uses it, so it needs nothing but torch.
"""

from __future__ import annotations

import torch
from torch import nn

BASE = 10_000.0


def rotary_table(tokens: int, width: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosines and sines (tokens, width) float32 of RoFormer (Su et al. 2021), halves laid out as in GPT-NeoX."""
    frequencies = BASE ** -(torch.arange(0, width, 2, device=device).float() / width)
    angles = torch.outer(torch.arange(tokens, device=device).float(), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def rotate(vectors: torch.Tensor, table: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Turn vectors (batch, heads, tokens, width) by their positions; computed in float32, given back as they came."""
    cosines, sines = table
    first, second = vectors.float().chunk(2, dim=-1)
    turned = torch.cat((first, second), -1) * cosines + torch.cat((-second, first), -1) * sines
    return turned.to(vectors.dtype)


def key_mask(attention_mask: torch.Tensor | None) -> torch.Tensor | None:
    """Return which keys may be seen, (batch, 1, 1, tokens) bool, or None without padding: torch is faster then."""
    if attention_mask is None or bool(attention_mask.all()):
        return None
    return attention_mask[:, None, None, :].bool()


class RotarySelfAttention(nn.Module):
    """Softmax attention over rotated queries and keys; the output projection is another module's."""

    def __init__(self, config, bias=True):
        super().__init__()
        self.heads = config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.query = nn.Linear(config.hidden_size, config.hidden_size, bias=bias)
        self.key = nn.Linear(config.hidden_size, config.hidden_size, bias=bias)
        self.value = nn.Linear(config.hidden_size, config.hidden_size, bias=bias)

    def forward(self, hidden, table, mask):
        """Map hidden states (batch, tokens, hidden) to the heads' contexts side by side, (batch, tokens, hidden)."""
        query, key, value = (
            projection(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        context = nn.functional.scaled_dot_product_attention(
            rotate(query, table),
            rotate(key, table),
            value,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return context.transpose(1, 2).flatten(2)
