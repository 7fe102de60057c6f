"""``builtin:nt-mini``: the Nucleotide Transformer's architecture in small, made from its configuration.

Real 6-mer vocabulary and token rules, about 1.4 million parameters, trained from scratch with the run: nothing
is downloaded, so the example, the tests and nodes without internet have a real model. The k-mers may have another
length, and they may overlap: then there is one token per base, which looks up the k-mer around it.
"""

from __future__ import annotations

from typing import Any

from transformers import EsmConfig, PreTrainedModel

from dnatune.backbones.base import pooled_class
from dnatune.backbones.kmer_tokenizer import (
    BASE_VOCABULARY,
    BaseTokens,
    KmerTokens,
    rust_base_tokenizer,
    rust_tokenizer,
)
from dnatune.backbones.modeling_overlap import OverlapConfig
from dnatune.backbones.modeling_pooled import PooledConfig
from dnatune.backbones.nt_mini_sizes import SIZES, STEM, TOKENS, check_sizes
from dnatune.backbones.nucleotide_transformer import EsmBackbone
from dnatune.kmer_encoding import vocabulary

CONTEXT = 1000


class NtMini(EsmBackbone):
    """Entry of the embedded backbone. ``overrides`` change its EsmConfig (hidden_size, num_hidden_layers, ...)."""

    def __init__(self, source: str, revision: str | None, trust_remote_code: bool) -> None:
        super().__init__(source, revision, trust_remote_code)
        self.overrides: dict[str, Any] = {}
        self.k: int = TOKENS["k"]
        self.overlapping: bool = TOKENS["overlapping"]

    def with_config(self, overrides: dict[str, Any]) -> NtMini:
        """Return this entry with other sizes or k-mers. Raises UserError for other keys and sizes that do not fit."""
        check_sizes("backbone_config", overrides)
        self.k, self.overlapping = ({**TOKENS, **overrides}[key] for key in TOKENS)
        self.overrides = {key: value for key, value in overrides.items() if key not in TOKENS}
        return self

    @property
    def vocabulary(self) -> list[str]:
        """The tokens in the order of their ids."""
        return BASE_VOCABULARY if self.overlapping else vocabulary(self.k)

    @property
    def config(self) -> EsmConfig:
        """The configuration; rotary positions, because a table of positions learns nothing from short training."""
        sizes = {**SIZES, **STEM, **self.overrides}
        sizes["intermediate_size"] = sizes["intermediate_size"] or 4 * sizes["hidden_size"]
        settings = {
            "vocab_size": len(self.vocabulary),
            "max_position_embeddings": CONTEXT + 2,
            "position_embedding_type": "rotary",
            "pad_token_id": 1,
            "mask_token_id": 2,
            "token_dropout": False,
            "emb_layer_norm_before": False,
            "use_cache": False,
            "tie_word_embeddings": False,
        }
        if not self.overlapping:
            return EsmConfig(**{**settings, **{key: value for key, value in sizes.items() if key not in STEM}})
        kmers = {"kmer_length": self.k, "first_base_id": self.vocabulary.index("A")}
        return OverlapConfig(**{**settings, **sizes, **kmers})

    def encoder(self) -> KmerTokens | BaseTokens:
        """Return the encoder of k-mers, or of bases where k-mers overlap."""
        return BaseTokens(CONTEXT) if self.overlapping else KmerTokens(self.vocabulary, self.k, CONTEXT)

    def saved_tokenizer(self) -> Any:
        """Return the Rust tokenizer with the same ids."""
        return rust_base_tokenizer(CONTEXT) if self.overlapping else rust_tokenizer(self.vocabulary, self.k, CONTEXT)

    def model(
        self, labels: dict[str, int], pooling: str, head_dropout: float, head: dict[str, Any] | None = None
    ) -> PreTrainedModel:
        """Return the model with random weights (drawn from torch's current seed)."""
        from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

        head = head or {}
        names = {"label2id": labels, "id2label": {i: name for name, i in labels.items()}}
        if pooling == "architecture":
            config = self.config
            config.update({**names, "problem_type": head.get("problem_type")})
            per_token = head.get("per_token", False)
            auto = AutoModelForTokenClassification if per_token else AutoModelForSequenceClassification
            return self.adjust(auto.from_config(config))
        config = PooledConfig(
            backbone=self.config, pooling=pooling, head_dropout=head_dropout, head=head or None, **names
        )
        return self.adjust(pooled_class(head)(config))
