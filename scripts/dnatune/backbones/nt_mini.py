"""``builtin:nt-mini``: the Nucleotide Transformer's architecture in small, made from its configuration.

Real 6-mer vocabulary and token rules, about 1.4 million parameters, trained from scratch with the run: nothing
is downloaded, so the example, the tests and nodes without internet have a real model.
"""

from __future__ import annotations

from typing import Any

from transformers import EsmConfig, PreTrainedModel

from dnatune.backbones.base import pooled_class
from dnatune.backbones.kmer_tokenizer import KmerTokens, rust_tokenizer
from dnatune.backbones.modeling_pooled import PooledConfig
from dnatune.backbones.nt_mini_sizes import SIZES, check_sizes
from dnatune.backbones.nucleotide_transformer import EsmBackbone
from dnatune.kmer_encoding import vocabulary

K = 6
CONTEXT = 1000


class NtMini(EsmBackbone):
    """Entry of the embedded backbone. ``overrides`` change its EsmConfig (hidden_size, num_hidden_layers, ...)."""

    def __init__(self, source: str, revision: str | None, trust_remote_code: bool) -> None:
        super().__init__(source, revision, trust_remote_code)
        self.overrides: dict[str, Any] = {}

    def with_config(self, overrides: dict[str, Any]) -> NtMini:
        """Return this entry with other sizes. Raises UserError for other keys and sizes that do not fit."""
        check_sizes("backbone_config", overrides)
        self.overrides = overrides
        return self

    @property
    def config(self) -> EsmConfig:
        """The configuration; rotary positions, because a table of positions learns nothing from short training."""
        sizes = {**SIZES, **self.overrides}
        sizes["intermediate_size"] = sizes["intermediate_size"] or 4 * sizes["hidden_size"]
        settings = {
            "vocab_size": len(vocabulary(K)),
            "max_position_embeddings": CONTEXT + 2,
            "position_embedding_type": "rotary",
            "pad_token_id": 1,
            "mask_token_id": 2,
            "token_dropout": False,
            "emb_layer_norm_before": False,
            "use_cache": False,
            "tie_word_embeddings": False,
        }
        return EsmConfig(**{**settings, **sizes})

    def encoder(self) -> KmerTokens:
        """Return the 6-mer encoder."""
        return KmerTokens(vocabulary(K), K, CONTEXT)

    def saved_tokenizer(self) -> Any:
        """Return the Rust tokenizer with the same ids."""
        return rust_tokenizer(vocabulary(K), K, CONTEXT)

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
