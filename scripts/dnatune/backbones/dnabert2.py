"""DNABERT-2-117M and DNABERT-S: byte-pair tokens, MosaicBERT.

Quirks: the config.json says ``bert``, and native BERT would leave the whole encoder random; positions come from
ALiBi, so there is no table that ends.
"""

from __future__ import annotations

from typing import Any

from dnatune.backbones.generic import GenericBackbone
from dnatune.backbones.modeling_dnabert2 import DNABert2Config
from dnatune.backbones.native import NativeBackbone


class DNABert2(NativeBackbone, GenericBackbone):
    """Entry of the MosaicBERT checkpoints, from the hub or a folder."""

    config_class = DNABert2Config
    targets = ("Wqkv",)

    def is_published(self, settings: dict[str, Any]) -> bool:
        """Say whether the settings or the named code are MosaicBERT's."""
        code = settings.get("auto_map", {}).values()
        return settings.get("model_type") == "bert" and (
            "alibi_starting_size" in settings or any("bert_layers." in str(name) for name in code)
        )

    @property
    def context(self) -> int:
        """Longest input in tokens: the size at which the published ALiBi table starts (512).

        The architecture itself has no limit, but attention costs the square; longer sequences are read in windows.
        """
        return self.config.alibi_starting_size
