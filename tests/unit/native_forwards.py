"""The native architectures a second time, from the published tensors and with other arithmetic: one sequence, no masks.

Rotary positions are complex numbers here, attention is a written-out softmax.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn.functional import gelu, layer_norm, silu

from native_miniatures import HEADS, HIDDEN, LAYERS

WIDTH = HIDDEN // HEADS


def affine(weights: dict[str, Any], name: str, x: torch.Tensor) -> torch.Tensor:
    """Return x W^T + b for the layer ``name``; no b where the checkpoint has none."""
    return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", torch.zeros(1))


def normal(weights: dict[str, Any], name: str, x: torch.Tensor, eps: float) -> torch.Tensor:
    """Return the layer norm of x, or the root-mean-square norm where the checkpoint has no bias."""
    scale = weights[f"{name}.weight"]
    if f"{name}.bias" in weights:
        return layer_norm(x, (HIDDEN,), scale, weights[f"{name}.bias"], eps)
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * scale


def turned(x: torch.Tensor) -> torch.Tensor:
    """Rotate (tokens, width): the pair (i, i + width/2) is a complex number, turned by position / 10000^(2i/width)."""
    half = WIDTH // 2
    angle = torch.arange(len(x))[:, None] / 10000 ** (torch.arange(half) * 2 / WIDTH)
    z = torch.complex(x[:, :half], x[:, half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat((z.real, z.imag), dim=1)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, rotary: bool, slopes: list[float]) -> torch.Tensor:
    """Return the contexts (tokens, hidden) of all heads."""
    found = []
    steps = torch.arange(len(q))
    for head in range(HEADS):
        a, b, c = (x[:, head * WIDTH : (head + 1) * WIDTH] for x in (q, k, v))
        a, b = (turned(a), turned(b)) if rotary else (a, b)
        scores = a @ b.T / math.sqrt(WIDTH) - slopes[head] * (steps[None] - steps[:, None]).abs()
        found.append(scores.exp() / scores.exp().sum(1, keepdim=True) @ c)
    return torch.cat(found, dim=1)


def rotary_attention(weights: dict[str, Any], at: str, y: torch.Tensor) -> torch.Tensor:
    """Return the attention step of a layer with three matrices."""
    q, k, v = (affine(weights, f"{at}.attention.self.{name}", y) for name in ("query", "key", "value"))
    return affine(weights, f"{at}.attention.output.dense", attention(q, k, v, True, [0.0] * HEADS))


def aido_forward(weights: dict[str, Any], ids: torch.Tensor) -> torch.Tensor:
    """Return the hidden states (tokens, hidden) of AIDO.DNA."""
    x = weights["bert.embeddings.word_embeddings.weight"][ids]
    for i in range(LAYERS):
        at = f"bert.encoder.layer.{i}"
        x = x + rotary_attention(weights, at, normal(weights, f"{at}.attention.ln", x, 1e-5))
        y = normal(weights, f"{at}.ln", x, 1e-5)
        gated = silu(affine(weights, f"{at}.mlp.gate_proj", y)) * affine(weights, f"{at}.mlp.up_proj", y)
        x = x + affine(weights, f"{at}.mlp.down_proj", gated)
    return normal(weights, "bert.encoder.ln", x, 1e-5)


def nt_v2_forward(weights: dict[str, Any], ids: torch.Tensor) -> torch.Tensor:
    """Return the hidden states (tokens, hidden) of the Nucleotide Transformer v2."""
    x = weights["esm.embeddings.word_embeddings.weight"][ids]
    for i in range(LAYERS):
        at = f"esm.encoder.layer.{i}"
        x = x + rotary_attention(weights, at, normal(weights, f"{at}.attention.LayerNorm", x, 1e-12))
        both = affine(weights, f"{at}.intermediate.dense", normal(weights, f"{at}.LayerNorm", x, 1e-12))
        half = both.shape[1] // 2
        x = x + affine(weights, f"{at}.output.dense", silu(both[:, :half]) * both[:, half:])
    return normal(weights, "esm.encoder.emb_layer_norm_after", x, 1e-12)


def dnabert2_forward(weights: dict[str, Any], ids: torch.Tensor) -> torch.Tensor:
    """Return the hidden states (tokens, hidden) of DNABERT-2; two heads have the slopes 2^-4 and 2^-8."""
    at = "bert.embeddings"
    x = weights[f"{at}.word_embeddings.weight"][ids] + weights[f"{at}.token_type_embeddings.weight"][0]
    x = normal(weights, f"{at}.LayerNorm", x, 1e-12)
    for i in range(LAYERS):
        at = f"bert.encoder.layer.{i}"
        q, k, v = affine(weights, f"{at}.attention.self.Wqkv", x).split(HIDDEN, dim=1)
        y = affine(weights, f"{at}.attention.output.dense", attention(q, k, v, False, [2**-4, 2**-8]))
        x = normal(weights, f"{at}.attention.output.LayerNorm", x + y, 1e-12)
        both = affine(weights, f"{at}.mlp.gated_layers", x)
        half = both.shape[1] // 2
        y = affine(weights, f"{at}.mlp.wo", gelu(both[:, :half]) * both[:, half:])
        x = normal(weights, f"{at}.mlp.layernorm", x + y, 1e-12)
    return x


FORWARDS = {
    "aido": aido_forward,
    "aido_rms": aido_forward,
    "nt_v2": nt_v2_forward,
    "dnabert2": dnabert2_forward,
}
