"""Miniatures of published models with the configuration class, vocabulary and files that the real ones have."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as t

from miniatures import SIZES, write_bpe_tokenizer, write_nt

SMALL = {**SIZES, "intermediate_size": 64}
# The 16 first tokens of Mistral-DNA.
MISTRAL_TOKENS = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", *"ACGT", "AA", "TT", "TG", "CA", "CC", "TA", "GG"]


def write_json(path: Path, content: Any) -> None:
    """Write a file of a checkpoint."""
    path.write_text(json.dumps(content))


def byte_pairs(first: list[str], size: int) -> tuple[dict[str, int], list[list[str]]]:
    """Return vocabulary and merges: ``first`` (special tokens, letters, pairs of letters), then pairs drawn at random.

    The real tables are long and not ours to copy; a table of that size with other pairs is read the same way.
    """
    rng = np.random.default_rng(3)
    merges = [list(token) for token in first if len(token) == 2]
    parts = [token for token in first if set(token) <= set("ACGT")]
    known = dict.fromkeys(first)
    while len(known) < size:
        left, right = (parts[i] for i in rng.integers(0, len(parts), 2))
        if left + right not in known:
            merges.append([left, right])
            known[left + right] = None
            if len(left + right) < 5:
                parts.append(left + right)
    return {token: i for i, token in enumerate(known)}, merges


def special(token: str, number: int) -> dict[str, Any]:
    """Return the entry of a special token in tokenizer.json."""
    return {
        "id": number,
        "content": token,
        "special": True,
        **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False),
    }


def cls_and_sep(cls: int, sep: int) -> dict[str, Any]:
    """Return the template [CLS] sequence [SEP] of tokenizer.json."""
    named = {"[CLS]": cls, "[SEP]": sep}
    pieces = [{"SpecialToken": {"id": name, "type_id": 0}} for name in named]
    single = [pieces[0], {"Sequence": {"id": "A", "type_id": 0}}, pieces[1]]
    tokens = {name: {"id": name, "ids": [i], "tokens": [name]} for name, i in named.items()}
    return {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": tokens}


def write_mistral_dna(folder: Path) -> Path:
    """Mistral-DNA-v1-1M-hg38: Mixtral, 4,096 byte pairs, no bos or eos, truncation and padding left switched on."""
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 8}
    config = t.MixtralConfig(
        **sizes, vocab_size=4096, num_key_value_heads=8, head_dim=8, num_local_experts=8, num_experts_per_tok=1,
        max_position_embeddings=256, rope_theta=1e6, bos_token_id=1, eos_token_id=2, pad_token_id=3,
        router_aux_loss_coef=0.02, sliding_window=None, tie_word_embeddings=False,
    )  # fmt: skip
    t.MixtralForCausalLM(config).save_pretrained(folder)
    vocabulary, merges = byte_pairs(MISTRAL_TOKENS, 4096)
    tokenizer = {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 10, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_id": 3,
                    "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [special(token, i) for i, token in enumerate(MISTRAL_TOKENS[:5])],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": cls_and_sep(1, 2),
        "decoder": None,
        "model": {"type": "BPE", "unk_token": "[UNK]", "fuse_unk": False, "vocab": vocabulary, "merges": merges},
    }  # fmt: skip
    write_json(folder / "tokenizer.json", tokenizer)
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "cls", "sep", "pad", "mask")}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names})
    return folder


def write_mistral_codon(folder: Path) -> Path:
    """Mistral-Codon-v1-1M: its padding token [EOS] gets id 69, and its table ends at 68."""
    torch.manual_seed(5)
    config = t.MixtralConfig(
        **SMALL, vocab_size=69, num_key_value_heads=2, num_local_experts=8, num_experts_per_tok=1, pad_token_id=3,
        max_position_embeddings=256, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip
    t.MixtralForCausalLM(config).save_pretrained(folder)
    published = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**published, "pad_token_id": 69})
    codons = ["".join(p) for p in itertools.product("ATGC", repeat=3)]
    names = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special(token, 64 + i) for i, token in enumerate(names)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": cls_and_sep(65, 66),
        "decoder": None,
        "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {w: i for i, w in enumerate(codons + names)}},
    }
    write_json(folder / "tokenizer.json", tokenizer)
    named = {"cls_token": "[CLS]", "mask_token": "[MASK]", "pad_token": "[EOS]", "sep_token": "[SEP]"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **named, "unk_token": "[UNK]"}
    write_json(folder / "tokenizer_config.json", settings)
    return folder


def gpt2(vocabulary_size: int, **ids: int) -> t.GPT2LMHeadModel:
    """Return plant-dnagpt's architecture in small."""
    return t.GPT2LMHeadModel(
        t.GPT2Config(vocab_size=vocabulary_size, n_embd=32, n_layer=1, n_head=2, n_positions=1024, **ids)
    )


def write_plant_dnagpt(folder: Path) -> Path:
    """plant-dnagpt-BPE: GPT-2, 8,000 byte pairs, <|endoftext|> 8000, [PAD] 8001."""
    gpt2(8002, bos_token_id=8000, eos_token_id=8000).save_pretrained(folder)
    vocabulary, merges = byte_pairs(["A", "C", "G", "N", "T", "AA", "TT", "TG"], 8000)
    write_json(folder / "vocab.json", vocabulary)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges))
    end, pad = "<|endoftext|>", "[PAD]"
    write_json(folder / "added_tokens.json", {end: 8000, pad: 8001})
    added = {
        str(i): {k: v for k, v in special(token, i).items() if k != "id"} for i, token in ((8000, end), (8001, pad))
    }
    added["8000"]["normalized"] = True
    settings = {
        "add_bos_token": False, "add_prefix_space": False, "added_tokens_decoder": added, "bos_token": end,
        "eos_token": end, "unk_token": end, "pad_token": pad, "padding_side": "right", "model_max_length": 512,
        "tokenizer_class": "GPT2Tokenizer", "errors": "replace",
    }  # fmt: skip
    write_json(folder / "tokenizer_config.json", settings)
    return folder


def write_esm_tokenizer(folder: Path, tokens: list[str], eos: str | None) -> Path:
    """Write the vocab.txt of plant-dnabert's and plant-dnagpt's k-mer and single-base variants."""
    (folder / "vocab.txt").write_text("\n".join(["<unk>", "<pad>", "<mask>", "<cls>", *tokens, "<eos>", "<bos>"]))
    names = {f"{name}_token": f"<{name}>" for name in ("cls", "mask", "pad", "unk")}
    settings = {"tokenizer_class": "EsmTokenizer", **names, "eos_token": eos, "model_max_length": 512}
    write_json(folder / "tokenizer_config.json", settings)
    return folder


def write_plant_dnabert_6mer(folder: Path) -> Path:
    """plant-dnabert-6mer: BERT, 4,107 tokens; its configuration says padding is 0, its tokenizer 1."""
    t.BertForMaskedLM(t.BertConfig(**SMALL, vocab_size=4107, pad_token_id=0)).save_pretrained(folder)
    kmers = ["".join(p) for p in itertools.product("ATCG", repeat=6)]
    return write_esm_tokenizer(folder, [*kmers, *"ATCGN"], None)


def write_plant_dnagpt_6mer(folder: Path) -> Path:
    """plant-dnagpt-6mer: GPT-2, 4,107 tokens, an <eos> that lies inside the table."""
    gpt2(4107, bos_token_id=4106, eos_token_id=4105).save_pretrained(folder)
    kmers = ["".join(p) for p in itertools.product("ATCG", repeat=6)]
    return write_esm_tokenizer(folder, [*kmers, *"ATCGN"], "<eos>")


def write_plant_dnagpt_singlebase(folder: Path) -> Path:
    """plant-dnagpt-singlebase: GPT-2, 11 tokens, an <eos> that lies inside the table."""
    gpt2(11, bos_token_id=10, eos_token_id=9).save_pretrained(folder)
    return write_esm_tokenizer(folder, list("ATCGN"), "<eos>")


def write_barcodebert(folder: Path, k: int = 4) -> Path:
    """BarcodeBERT: a token classifier over 4**k k-mers, saved without a tokenizer that loads."""
    config = t.BertConfig(**SMALL, vocab_size=2 + 4**k, num_labels=4**k, output_hidden_states=True)
    t.BertForTokenClassification(config).save_pretrained(folder)
    settings = {"tokenizer_class": "KmerTokenizer", "auto_map": {"AutoTokenizer": ["tokenizer.KmerTokenizer", None]}}
    write_json(folder / "tokenizer_config.json", settings)
    return folder


def write_moderngena(folder: Path) -> Path:
    """ModernGENA: ModernBERT with byte pairs; global attention in every third layer."""
    ids = {"bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2, "pad_token_id": 3}
    sizes = {**SMALL, "num_hidden_layers": 3, "local_attention": 16, "max_position_embeddings": 1024}
    t.ModernBertForMaskedLM(t.ModernBertConfig(**sizes, **ids, vocab_size=120)).save_pretrained(folder)
    return write_bpe_tokenizer(folder)


def write_gena_bert(folder: Path) -> Path:
    """gena-lm-bert-base: BERT with the layer norms before the attention, under names of their own."""
    from safetensors.torch import load_file, save_file

    config = t.BertConfig(**SMALL, vocab_size=120, pad_token_id=3, pre_layer_norm=True, last_layer_norm=False)
    t.BertForMaskedLM(config).save_pretrained(folder)
    renamed = {
        name.replace("attention.output.LayerNorm", "pre_attention_ln").replace(
            "output.LayerNorm", "post_attention_ln"
        ): w
        for name, w in load_file(folder / "model.safetensors").items()
    }
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    return write_bpe_tokenizer(folder)


WRITERS = {
    "nucleotide-transformer": write_nt,
    "mistral-dna": write_mistral_dna,
    "plant-dnagpt": write_plant_dnagpt,
    "plant-dnagpt-singlebase": write_plant_dnagpt_singlebase,
    "plant-dnabert-6mer": write_plant_dnabert_6mer,
    "barcodebert": write_barcodebert,
    "moderngena": write_moderngena,
}


def write_entry(folder: Path, name: str) -> Path:
    """Save the miniature of a published model, with random weights."""
    torch.manual_seed(5)
    return WRITERS[name](folder)
