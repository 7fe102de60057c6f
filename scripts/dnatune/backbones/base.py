"""What every backbone entry gives: an encoder, a model with a fresh head, LoRA targets, pooling, context.

An entry overrides what is special about its backbone; everything else is the Auto classes' way.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from dnatune.backbones.modeling_heads import make_head
from dnatune.backbones.modeling_pooled import (
    PooledConfig,
    PooledForSequenceClassification,
    PooledForTokenClassification,
)
from dnatune.errors import UserError
from dnatune.tokens import Encoder

transformers_logging.disable_progress_bar()

# Module names as the architectures of transformers 5 spell them.
LORA_TARGETS = {
    "bert": ("query", "key", "value"),
    "big_bird": ("query", "key", "value"),
    "esm": ("query", "key", "value"),
    "gpt2": ("c_attn",),
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mistral": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mixtral": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "modernbert": ("Wqkv", "Wo"),
    "roberta": ("query", "key", "value"),
}
# Weights of other heads, which a checkpoint may carry and a classifier has no use for.
OTHER_HEADS = ("lm_head.", "cls.", "score.", "classifier.", "contact_head.", "pooler.", "head.", "decoder.")
# A constant that transformers before 4.30 stored with GPT-2.
OLD_BUFFERS = (".attn.masked_bias",)


class Backbone:
    """A pretrained (or builtin) model that hidden states come from."""

    pooling = "mean"

    def __init__(self, source: str, revision: str | None, trust_remote_code: bool) -> None:
        self.source = source
        self.options: dict[str, Any] = {"revision": revision} if revision else {}
        # Code from a hub runs only when the configuration says so, for this model, at a pinned revision.
        self.options["trust_remote_code"] = trust_remote_code

    @cached_property
    def config(self) -> Any:
        """The checkpoint's own configuration. Raises UserError if it cannot be read or does not fit itself."""
        try:
            config = AutoConfig.from_pretrained(self.source, **self.options)
        except (OSError, ValueError, KeyError) as reason:
            if "trust_remote_code" in str(reason):
                raise UserError(
                    f"The backbone {self.source} needs Python code of its own, which runs only with "
                    "trust_remote_code: true and a pinned revision; read that code first."
                ) from reason
            raise UserError(f"The backbone {self.source} cannot be loaded: {first_sentence(reason)}") from reason
        pad, size = getattr(config, "pad_token_id", None), getattr(config, "vocab_size", None)
        if isinstance(pad, int) and isinstance(size, int) and pad >= size:
            raise UserError(
                f"The config.json of {self.source} has pad_token_id {pad}, outside its embedding table of {size}; "
                "give it the id of the tokenizer's padding token."
            )
        return config

    def file(self, name: str) -> Path | None:
        """Return the path of one of the checkpoint's files, downloaded if need be, or None if it has no such file."""
        revision = self.options.get("revision")
        found = cached_file(self.source, name, revision=revision, _raise_exceptions_for_missing_entries=False)
        return Path(found) if found else None

    def serves(self) -> bool:
        """Say whether this entry knows how to load the checkpoint."""
        return True

    def encoder(self) -> Encoder:
        """Return the object that turns cleaned sequences into ids."""
        raise NotImplementedError

    def saved_tokenizer(self) -> Any:
        """Return the tokenizer that is saved with a model, loadable by AutoTokenizer alone."""
        raise NotImplementedError

    def lora_targets(self) -> list[str]:
        """Return the names of the layers that get an adapter by default."""
        targets = LORA_TARGETS.get(self.config.model_type)
        if targets is None:
            raise UserError(
                f"No LoRA targets are known for the architecture '{self.config.model_type}' of {self.source}; "
                "name the layers in lora.targets."
            )
        return list(targets)

    def model(
        self, labels: dict[str, int], pooling: str, head_dropout: float, head: dict[str, Any] | None = None
    ) -> PreTrainedModel:
        """Return the backbone with its weights and a fresh head, by default a classifier of sequences.

        ``head`` is ``PooledConfig.head``. Raises UserError if any weight other than the head is missing in the
        checkpoint or unexpected.
        """
        head = head or {}
        names = {"label2id": labels, "id2label": {i: name for name, i in labels.items()}}
        if pooling == "architecture":
            self.config.update({**names, "pad_token_id": self.encoder().pad_id})
            self.config.problem_type = head.get("problem_type")
            per_token = head.get("per_token", False)
            auto = AutoModelForTokenClassification if per_token else AutoModelForSequenceClassification
            model, loading = self._load(auto, config=self.config)
            fresh = (*(f"{name}." for name in head_modules(model)), f"{model.base_model_prefix}.pooler.")
            self._check(loading, fresh)
            return self.adjust(model)
        without_pooler = {"add_pooling_layer": False} if self.config.model_type in ("esm", "bert") else {}
        backbone, loading = self._load(AutoModel, config=self.config, **without_pooler)
        self._check(loading, ("pooler.",))
        config = PooledConfig(
            backbone=backbone.config, pooling=pooling, head_dropout=head_dropout, head=head or None, **names
        )
        config.pad_token_id = self.encoder().pad_id
        with torch.device("meta"):  # the backbone is there already: only the head needs memory and numbers
            model = pooled_class(head)(config)
        model.backbone = backbone
        model.classifier = make_head(config.backbone.hidden_size, config.num_labels, head, head_dropout)
        return self.adjust(model)

    def adjust(self, model: PreTrainedModel) -> PreTrainedModel:
        """Apply quirks that change speed, never numbers beyond rounding."""
        return model

    def _load(self, auto_class: Any, **extra: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
        try:
            return auto_class.from_pretrained(
                self.source, output_loading_info=True, dtype=torch.float32, **self.options, **extra
            )
        except UnpicklingError as reason:
            raise UserError(
                f"The weights of {self.source} are a pickle that holds more than tensors and are not read, because "
                "reading them could run code; get the model as safetensors."
            ) from reason
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as reason:
            raise UserError(f"The backbone {self.source} cannot be loaded: {first_sentence(reason)}") from reason

    def _check(self, loading: dict[str, Any], head: tuple[str, ...]) -> None:
        missing = [k for k in loading["missing_keys"] if not k.startswith(head)]
        unexpected = [k for k in loading["unexpected_keys"] if not k.startswith(OTHER_HEADS)]
        unexpected = [k for k in unexpected if not k.endswith(OLD_BUFFERS)]
        shapes = [str(k[0] if isinstance(k, tuple) else k) for k in loading.get("mismatched_keys", [])]
        shapes = [k for k in shapes if not k.startswith(head)]
        for what, keys in (
            ("lacks", missing),
            ("has unexpected", unexpected),
            ("has other shapes for", shapes),
        ):
            if keys:
                raise UserError(
                    f"The checkpoint {self.source} does not fit the architecture '{self.config.model_type}': it {what} "
                    f"{len(keys)} weights ({', '.join(sorted(keys)[:3])}, ...); it would run with random numbers "
                    "there, so give it the config.json that belongs to its weights."
                )


def pooled_class(head: dict[str, Any]) -> type[PooledForSequenceClassification]:
    """Return the class of a pooled model with a head per sequence or per token."""
    return PooledForTokenClassification if head.get("per_token") else PooledForSequenceClassification


def head_modules(model: PreTrainedModel) -> list[str]:
    """Return the names of the top-level modules that are not the base model: the classification head."""
    return [name for name, _ in model.named_children() if name not in (model.base_model_prefix, "dropout", "drop")]


def first_sentence(reason: BaseException) -> str:
    """Return the first sentence of an exception's text on one line."""
    text = " ".join(str(reason).split())
    return text.split(". ")[0].rstrip(".") + "."
