"""Small checkpoints of the architectures that transformers lacks, in the format in which the real ones are published.

Tensor names, shapes, config.json and files are written out here, independently of the library's classes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from miniatures import BPE_SIZE, write_bpe_tokenizer

HIDDEN, LAYERS, HEADS, WIDE = 32, 2, 2, 48
SIZES = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": WIDE,
    "initializer_range": 0.02,
}

Shapes = dict[str, tuple[int, ...]]


def linear(name: str, out: int, into: int, bias: bool = True) -> Shapes:
    """Return the tensors of a linear layer."""
    return {f"{name}.weight": (out, into), **({f"{name}.bias": (out,)} if bias else {})}


def norm(name: str, bias: bool = True) -> Shapes:
    """Return the tensors of a normalisation."""
    return {f"{name}.weight": (HIDDEN,), **({f"{name}.bias": (HIDDEN,)} if bias else {})}


def weights_of(shapes: Shapes, seed: int = 3) -> dict[str, Any]:
    """Return random weights: scales around one for normalisations, small numbers for all others."""
    import torch

    torch.manual_seed(seed)
    small = {name: 0.2 * torch.randn(shape) for name, shape in shapes.items()}
    return {
        name: 1 + value
        if name.endswith(("ln.weight", "LayerNorm.weight", "layernorm.weight", "after.weight"))
        else value
        for name, value in small.items()
    }


def save(folder: Path, weights: dict[str, Any], form: str) -> Path:
    """Write the weights as ``safetensors`` or ``bin``, whole or (``sharded-...``) in two files with an index."""
    import torch
    from safetensors.torch import save_file

    kind = form.removeprefix("sharded-")
    stem, write = {
        "safetensors": ("model", lambda part, path: save_file(part, path, {"format": "pt"})),
        "bin": ("pytorch_model", torch.save),
    }[kind]
    if kind == form:
        write(weights, folder / f"{stem}.{kind}")
        return folder
    names = sorted(weights)
    where = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"{stem}-{number:05d}-of-00002.{kind}"
        write({name: weights[name] for name in part}, folder / file)
        where.update(dict.fromkeys(part, file))
    index = {"metadata": {"total_size": sum(w.nbytes for w in weights.values())}, "weight_map": where}
    (folder / f"{stem}.{kind}.index.json").write_text(json.dumps(index))
    return folder


def aido_shapes(normalization: str, bias: bool) -> Shapes:
    """Return the tensors of RNABertForMaskedLM (AIDO.DNA)."""
    both = normalization == "LayerNorm"
    found = {"bert.embeddings.word_embeddings.weight": (16, HIDDEN)}
    for i in range(LAYERS):
        at = f"bert.encoder.layer.{i}"
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            found |= linear(f"{at}.{name}", HIDDEN, HIDDEN, bias)
        found |= linear(f"{at}.mlp.up_proj", WIDE, HIDDEN, bias) | linear(f"{at}.mlp.gate_proj", WIDE, HIDDEN, bias)
        found |= linear(f"{at}.mlp.down_proj", HIDDEN, WIDE, bias)
        found |= norm(f"{at}.attention.ln", both) | norm(f"{at}.ln", both)
    found |= norm("bert.encoder.ln", both) | linear("cls.predictions.transform.dense", HIDDEN, HIDDEN)
    found |= norm("cls.predictions.transform.LayerNorm") | linear("cls.predictions.decoder", 16, HIDDEN)
    return {**found, "cls.predictions.bias": (16,)}


def write_aido(
    folder: Path, form: str = "sharded-bin", normalization: str = "LayerNorm", bias: bool = True, **changes: Any
) -> Path:
    """Save a miniature of AIDO.DNA: weights and config.json, no tokenizer and no code."""
    config = {
        "architectures": ["RNABertForMaskedLM"],
        "model_type": "rnabert",
        **SIZES,
        "add_linear_bias": bias,
        "attention_probs_dropout_prob": 0.0,
        "hidden_act": "swiglu",
        "hidden_dropout_prob": 0.0,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 256,
        "normalization_type": normalization,
        "pad_token_id": 0,
        "position_embedding_type": "rope",
        "rotary_percent": 1.0,
        "seq_len_interpolation_factor": None,
        "torch_dtype": "float32",
        "transformers_version": "4.38.0",
        "type_vocab_size": 2,
        "use_cache": True,
        "vocab_size": 16,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return save(folder, weights_of(aido_shapes(normalization, bias)), form)


def nt_v2_vocabulary() -> list[str]:
    """Return the 4,107 tokens of the Nucleotide Transformer v2."""
    kmers = ["".join(p) for p in itertools.product("ATCG", repeat=6)]
    return ["<unk>", "<pad>", "<mask>", "<cls>", "<eos>", "<bos>", *kmers, "A", "T", "C", "G", "N"]


def nt_v2_shapes() -> Shapes:
    """Return the tensors of the published EsmForMaskedLM (Nucleotide Transformer v2), also those it never reads."""
    found = {"esm.embeddings.word_embeddings.weight": (4107, HIDDEN)}
    found |= {"esm.embeddings.position_embeddings.weight": (2050, HIDDEN)}
    for i in range(LAYERS):
        at = f"esm.encoder.layer.{i}"
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            found |= linear(f"{at}.{name}", HIDDEN, HIDDEN)
        found |= {f"{at}.attention.self.rotary_embeddings.inv_freq": (HIDDEN // HEADS // 2,)}
        found |= linear(f"{at}.intermediate.dense", 2 * WIDE, HIDDEN, False)
        found |= linear(f"{at}.output.dense", HIDDEN, WIDE, False)
        found |= norm(f"{at}.attention.LayerNorm") | norm(f"{at}.LayerNorm")
    found |= norm("esm.encoder.emb_layer_norm_after") | linear("esm.contact_head.regression", 1, LAYERS * HEADS)
    found |= linear("lm_head.dense", HIDDEN, HIDDEN) | norm("lm_head.layer_norm")
    return {**found, "lm_head.decoder.weight": (4107, HIDDEN), "lm_head.bias": (4107,)}


def write_nt_v2(folder: Path, form: str = "safetensors", **changes: Any) -> Path:
    """Save a miniature of the Nucleotide Transformer v2; its code is named in config.json and cannot be run."""
    code = ("AutoModel", "AutoModelForMaskedLM", "AutoModelForSequenceClassification")
    config = {
        "add_bias_fnn": False,
        "architectures": ["EsmForMaskedLM"],
        "attention_probs_dropout_prob": 0.0,
        "auto_map": {
            "AutoConfig": "esm_config.EsmConfig",
            **{name: f"modeling_esm.{name.replace('Auto', 'Esm')}" for name in code},
        },
        "emb_layer_norm_before": False,
        "esmfold_config": None,
        "hidden_dropout_prob": 0.0,
        "is_folding_model": False,
        "layer_norm_eps": 1e-12,
        "mask_token_id": 2,
        "max_position_embeddings": 2050,
        "model_type": "esm",
        **SIZES,
        "pad_token_id": 1,
        "position_embedding_type": "rotary",
        "tie_word_embeddings": False,
        "token_dropout": False,
        "torch_dtype": "float32",
        "transformers_version": "4.32.0.dev0",
        "use_cache": False,
        "vocab_list": None,
        "vocab_size": 4107,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    (folder / "vocab.txt").write_text("\n".join(nt_v2_vocabulary()))
    named = {"cls_token": "<cls>", "eos_token": None, "mask_token": "<mask>", "pad_token": "<pad>"}
    settings = {"tokenizer_class": "EsmTokenizer", **named, "unk_token": "<unk>", "model_max_length": 2048}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    write_hostile_code(folder, "esm_config", "modeling_esm")
    return save(folder, weights_of(nt_v2_shapes()), form)


def dnabert2_shapes() -> Shapes:
    """Return the tensors of the published BertForMaskedLM (DNABERT-2): no pooler."""
    at = "bert.embeddings"
    found = {f"{at}.word_embeddings.weight": (BPE_SIZE, HIDDEN), f"{at}.token_type_embeddings.weight": (2, HIDDEN)}
    found |= norm(f"{at}.LayerNorm")
    for i in range(LAYERS):
        at = f"bert.encoder.layer.{i}"
        found |= linear(f"{at}.attention.self.Wqkv", 3 * HIDDEN, HIDDEN)
        found |= linear(f"{at}.attention.output.dense", HIDDEN, HIDDEN) | norm(f"{at}.attention.output.LayerNorm")
        found |= linear(f"{at}.mlp.gated_layers", 2 * WIDE, HIDDEN, False) | linear(f"{at}.mlp.wo", HIDDEN, WIDE)
        found |= norm(f"{at}.mlp.layernorm")
    found |= linear("cls.predictions.transform.dense", HIDDEN, HIDDEN)
    return found | norm("cls.predictions.transform.LayerNorm") | linear("cls.predictions.decoder", BPE_SIZE, HIDDEN)


def write_dnabert2(folder: Path, form: str = "bin", **changes: Any) -> Path:
    """Save a miniature of DNABERT-2; its code is named in config.json and cannot be run."""
    code = {"AutoModel": "BertModel", "AutoModelForSequenceClassification": "BertForSequenceClassification"}
    config = {
        "alibi_starting_size": 512,
        "architectures": ["BertForMaskedLM"],
        "attention_probs_dropout_prob": 0.0,
        "auto_map": {
            "AutoConfig": "configuration_bert.BertConfig",
            **{auto: f"bert_layers.{name}" for auto, name in code.items()},
        },
        "classifier_dropout": None,
        "gradient_checkpointing": False,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "model_type": "bert",
        **SIZES,
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
        "transformers_version": "4.28.0",
        "type_vocab_size": 2,
        "use_cache": True,
        "vocab_size": BPE_SIZE,
    }
    write_bpe_tokenizer(folder)
    settings = {name: value for name, value in {**config, **changes}.items() if value != "absent"}
    (folder / "config.json").write_text(json.dumps(settings))
    write_hostile_code(folder, "configuration_bert", "bert_layers")
    return save(folder, weights_of(dnabert2_shapes()), form)


def write_hostile_code(folder: Path, *modules: str) -> None:
    """Write modules that leave a trace when they are run."""
    for name in modules:
        (folder / f"{name}.py").write_text(
            f"open({str(folder / 'was_run')!r}, 'w').close()\nraise ImportError('run')\n"
        )


WRITERS: dict[str, Callable[..., Path]] = {
    "aido": write_aido,
    "aido_rms": lambda folder, form="safetensors", **changes: write_aido(folder, form, "RMSNorm", False, **changes),
    "nt_v2": write_nt_v2,
    "dnabert2": write_dnabert2,
}
