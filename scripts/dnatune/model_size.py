"""How large a backbone is: parameters, layers, width, context; read from its files, without torch.

A builtin's sizes follow from its configuration, a folder's from config.json and its weights. Of a backbone that is
still to be downloaded only the name is known, and names in this field tell the number of parameters (500m, 2.5b, 7B).
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dnatune.backbones.local_copies import read_manifest
from dnatune.backbones.nt_mini_sizes import SIZES, TOKENS
from dnatune.errors import UserError

UNKNOWN = 500_000_000  # parameters of a backbone of which nothing is known
IN_A_NAME = re.compile(r"(?<![A-Za-z0-9])(\d+(?:\.\d+)?)([mMbB])(?![A-Za-z0-9])")
BYTES = {"F64": 8, "F32": 4, "I64": 8, "I32": 4, "F16": 2, "BF16": 2}
NT_MINI_CONTEXT = 1000


@dataclass(frozen=True)
class ModelSize:
    """Numbers of a backbone.

    ``parameters`` of all, ``embedded`` of them in a table that is looked up and not multiplied with; ``layers``;
    ``width`` (hidden size); ``context`` in tokens; ``bases`` that a token stands for, at least; reading ``frames``.
    """

    parameters: int
    embedded: int
    layers: int
    width: int
    context: int
    bases: float
    frames: int = 1


def builtin_size(overrides: dict[str, Any]) -> ModelSize:
    """Return the size of ``builtin:nt-mini`` with changed sizes: an encoder without biases and norms (below 1 %).

    A layer has four square matrices of attention and two of the feed-forward step: 4 h^2 + 2 h f numbers.
    """
    settings = {**SIZES, **TOKENS, **overrides}
    width, layers, k = settings["hidden_size"], settings["num_hidden_layers"], settings["k"]
    between = settings["intermediate_size"] or 4 * width
    vocabulary = 4**k + 9  # also where k-mers overlap: one token per base then looks up the k-mer around it
    computed = layers * (4 * width**2 + 2 * width * between)
    step = 1 if settings["overlapping"] else k
    return ModelSize(computed + vocabulary * width, vocabulary * width, layers, width, NT_MINI_CONTEXT, step, step)


def named_size(name: str) -> ModelSize:
    """Return the size that a backbone's name tells, as a stack of usual proportions.

    A layer has 12 h^2 numbers; large models are about 64 times as wide as deep (NT 2.5B: 80, 500M: 53), so
    parameters = 12 * 64^2 * layers^3.
    """
    found = IN_A_NAME.findall(name.rsplit("/", 1)[-1])
    parameters = round(float(found[-1][0]) * {"m": 1e6, "b": 1e9}[found[-1][1].lower()]) if found else UNKNOWN
    layers = max(1, round((parameters / (12 * 64**2)) ** (1 / 3)))
    width = max(64, round((parameters / (12 * layers)) ** 0.5))
    return ModelSize(parameters, 0, layers, width, 1000, 4)


def folder_size(folder: str | Path) -> ModelSize:
    """Return the size of a checkpoint in a folder, from config.json and the beginning of its weights."""
    folder = Path(folder)
    return _folder_size(folder, tuple((path.name, path.stat().st_size) for path in sorted(folder.iterdir())))


@lru_cache
def _folder_size(folder: Path, files: tuple[tuple[str, int], ...]) -> ModelSize:
    config = _json(folder / "config.json")
    tensors = [path for path, _ in files if path.endswith(".safetensors")]
    if tensors:
        parameters = sum(_in_safetensors(folder / name) for name in tensors)
    else:
        half = str(config.get("dtype") or config.get("torch_dtype")) in ("float16", "bfloat16")
        parameters = sum(size for name, size in files if name.startswith("pytorch_model")) // (2 if half else 4)
    width = _first(config, ("hidden_size", "n_embd", "d_model"), 768)
    layers = _first(config, ("num_hidden_layers", "n_layer"), 12)
    context = _first(config, ("max_position_embeddings", "n_positions"), 1000)
    vocabulary = _first(config, ("vocab_size",), 0)
    if vocabulary <= 64:
        bases, frames = 1, 1  # single letters
    elif config.get("model_type") == "esm":
        bases, frames = 6, 6  # the Nucleotide Transformer's k-mers
    else:
        bases, frames = 4, 1  # byte pairs of DNA have four or more
    return ModelSize(parameters, vocabulary * width, layers, width, context, bases, frames)


def model_size(settings: dict[str, Any], manifest: str | Path | None = None) -> ModelSize:
    """Return the size of a model's backbone; of one from a hub by its ``manifest``, or its name where there is none.

    Files that cannot be read are no error here: the job that loads them says what is wrong.
    """
    source = settings["backbone"]
    if source.startswith("builtin:"):
        return builtin_size(settings["backbone_config"])
    try:
        if Path(source).is_dir():
            return folder_size(source)
        if manifest is not None and Path(manifest).is_file():
            return folder_size(read_manifest(manifest)[1])
    except (UserError, OSError, ValueError, LookupError, struct.error):
        pass
    return named_size(source)


def _in_safetensors(path: Path) -> int:
    """Return the number of parameters in a file; its header says shape and place of each tensor."""
    with open(path, "rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        header = json.loads(handle.read(length))
    spans = ((t["data_offsets"], t["dtype"]) for name, t in header.items() if name != "__metadata__")
    return sum((end - start) // BYTES.get(dtype, 1) for (start, end), dtype in spans)


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}  # what is wrong with it, loading it says


def _first(config: dict[str, Any], names: tuple[str, ...], default: int) -> int:
    found = (config.get(name) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), default)
