"""Miniatures of real backbones in the format of the real ones, tiny data, and complete model settings."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

BPE_SIZE = 120
SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def nt_vocabulary() -> list[str]:
    """Return the Nucleotide Transformer's 4,105 tokens, written out independently of the library."""
    kmers = ["".join(p) for p in itertools.product("ATCG", repeat=6)]
    return ["<unk>", "<pad>", "<mask>", "<cls>", *kmers, "A", "T", "C", "G", "N"]


def write_nt_tokenizer(folder: Path, eos: str | None = None) -> Path:
    """Write vocab.txt and tokenizer_config.json as the Nucleotide Transformer has them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(nt_vocabulary()))
    named = {"cls_token": "<cls>", "eos_token": eos, "mask_token": "<mask>", "pad_token": "<pad>"}
    settings = {"tokenizer_class": "EsmTokenizer", **named, "unk_token": "<unk>", "model_max_length": 1000}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def nt_config(**changes: Any) -> Any:
    """Return the configuration of nucleotide-transformer v1, made small."""
    from transformers import EsmConfig

    settings = {
        "vocab_size": 4105,
        "intermediate_size": 64,
        "max_position_embeddings": 1002,
        "pad_token_id": 1,
        "mask_token_id": 2,
        "position_embedding_type": "absolute",
        "token_dropout": True,
        "emb_layer_norm_before": False,
        "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "use_cache": False,
        "tie_word_embeddings": False,
    }
    return EsmConfig(**{**settings, **SIZES, **changes})


def write_nt(folder: Path, **changes: Any) -> Path:
    """Save a randomly initialised Nucleotide Transformer checkpoint (EsmForMaskedLM)."""
    import torch
    from transformers import EsmForMaskedLM

    torch.manual_seed(5)
    EsmForMaskedLM(nt_config(**changes)).save_pretrained(folder)
    return write_nt_tokenizer(folder)


def write_bpe_tokenizer(folder: Path) -> Path:
    """Train a small byte-pair tokenizer on random DNA; ids as in Mistral-DNA and DNABERT-2."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=BPE_SIZE, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([s for s, _ in families(4, 10, 200)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = dict(zip(("unk_token", "cls_token", "sep_token", "pad_token", "mask_token"), special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    return folder


def write_generic(folder: Path, kind: str, vocabulary_size: int = BPE_SIZE, width: int = 32) -> Path:
    """Save a language model of ``kind`` (bert, gpt2, mixtral) and hidden size ``width`` with a byte-pair tokenizer."""
    import torch
    import transformers as t

    torch.manual_seed(5)
    ids = {"vocab_size": vocabulary_size, "pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 2}
    small = {**SIZES, "hidden_size": width, "intermediate_size": 64, "max_position_embeddings": 128}
    model = {
        "bert": lambda: t.BertForMaskedLM(t.BertConfig(**ids, **small)),
        "gpt2": lambda: t.GPT2LMHeadModel(t.GPT2Config(**ids, n_embd=width, n_layer=1, n_head=2, n_positions=128)),
        "mixtral": lambda: t.MixtralForCausalLM(
            t.MixtralConfig(**ids, **small, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=1)
        ),
    }[kind]()
    model.save_pretrained(folder)
    return write_bpe_tokenizer(folder)


def families(classes: int, members: int, length: int, seed: int = 0) -> list[tuple[str, int]]:
    """Return (sequence, class) pairs: members differ from their ancestor in about 5 % of the bases."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("ACGT"))
    found = []
    for class_id in range(classes):
        ancestor = rng.choice(letters, length)
        for _ in range(members):
            changed = np.where(rng.random(length) < 0.05, rng.choice(letters, length), ancestor)
            found.append(("".join(changed), class_id))
    return found


def model_settings(training: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Return a model's complete settings, as the workflow passes them on: a tiny nt-mini unless changed."""
    from dnatune import config

    model = {"backbone": "builtin:nt-mini", **changes}
    if model["backbone"].startswith("builtin:"):
        model.setdefault("backbone_config", SIZES)
    quick = {"epochs": 3, "batch_size": 8, "learning_rate": 3e-3, "precision": "fp32"}
    model["training"] = {**quick, **(training or {})}
    whole = {"name": "t", "data": {"sequences": "s.fasta", "labels": "l.csv"}, "models": {"m": model}}
    return config.resolve(whole)["models"]["m"]
