"""Entries whose architecture transformers lacks: our class reads the published weights, no foreign code runs."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from transformers import PreTrainedConfig

from dnatune.backbones import modeling_natives  # noqa: F401  (makes our classes known to the Auto classes)
from dnatune.backbones.base import Backbone, first_sentence
from dnatune.errors import UserError

# Settings of a published config.json that speak of its own classes.
FOREIGN = ("architectures", "auto_map", "dtype", "model_type", "torch_dtype", "transformers_version")


class NativeBackbone(Backbone):
    """A checkpoint that a class of ours loads natively, also where ``trust_remote_code`` would allow its own code."""

    config_class: type[PreTrainedConfig]
    targets: tuple[str, ...]

    def __init__(self, source: str, revision: str | None, trust_remote_code: bool) -> None:
        super().__init__(source, revision, False)

    @cached_property
    def published(self) -> dict[str, Any]:
        """The checkpoint's config.json. Raises UserError if it cannot be read."""
        try:
            return PreTrainedConfig.get_config_dict(self.source, revision=self.options.get("revision"))[0]
        except (OSError, ValueError) as reason:
            raise UserError(f"The backbone {self.source} cannot be loaded: {first_sentence(reason)}") from reason

    @cached_property
    def config(self) -> PreTrainedConfig:
        """The published settings under our own model type. Raises UserError if our class does not know them."""
        try:
            return self.config_class(**{k: v for k, v in self.published.items() if k not in FOREIGN})
        except (TypeError, ValueError) as reason:
            raise UserError(f"The backbone {self.source} cannot be loaded: {first_sentence(reason)}") from reason

    def serves(self) -> bool:
        """Say whether the checkpoint is of this architecture, as published or as saved by our class."""
        return self.published.get("model_type") == self.config_class.model_type or self.is_published(self.published)

    def is_published(self, settings: dict[str, Any]) -> bool:
        """Say whether a published config.json describes this architecture."""
        return False

    def lora_targets(self) -> list[str]:
        """Return the names of the layers that get an adapter by default."""
        return list(self.targets)
