"""Which weights learn: all (full), adapters and the head (lora, qlora, ia3), or a head on frozen embeddings (probe).

Each way knows how to prepare a model, what to save of it, and how to make a plain transformers model again. What is
true of each way stands in ``tuning_kinds``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel, set_seed
from transformers.modeling_outputs import SequenceClassifierOutput

from dnatune import quantisation
from dnatune.adapters import peft_library
from dnatune.backbones import find_backbone, local_copies
from dnatune.backbones.base import Backbone, head_modules
from dnatune.backbones.modeling_heads import make_head
from dnatune.errors import UserError
from dnatune.hardware import DTYPES, choose_base_precision, choose_precision
from dnatune.tuning_kinds import kind_of

LOGGER = logging.getLogger("dnatune")


class LinearHead(nn.Module):
    """The head of a probe: dropout and one linear layer on embeddings (batch, hidden)."""

    def __init__(self, classifier: nn.Module, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = classifier

    def forward(self, embeddings: torch.Tensor) -> SequenceClassifierOutput:
        """Return logits (batch, classes)."""
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(embeddings)))


@dataclass(frozen=True)
class Tuning:
    """How one kind of tuning builds what is trained, saves it, and makes a plain model of it again."""

    build: Any
    save: Any
    restore: Any


def backbone_of(settings: dict[str, Any]) -> Backbone:
    """Return the backbone entry that a model's settings name, read from the folder it was downloaded to if any."""
    folder = settings.get(local_copies.FOLDER)
    source, revision = (folder, None) if folder else (settings["backbone"], settings["revision"])
    backbone = find_backbone(source, revision, settings["trust_remote_code"])
    return backbone.with_config(settings["backbone_config"]) if settings["backbone_config"] else backbone


def base_model(settings: dict[str, Any], labels: dict[str, int], seed: int) -> PreTrainedModel:
    """Return the backbone with a fresh head; the same seed gives the same numbers in every job of a run."""
    set_seed(seed)
    backbone = backbone_of(settings)
    pooling = settings["pooling"] or backbone.pooling
    model = backbone.model(labels, pooling, settings["head_dropout"], settings.get("head"))
    if local_copies.FOLDER in settings:  # what is saved names the published model, not the folder on this machine
        for config in (model.config, getattr(model.config, "backbone", model.config)):
            config.name_or_path = settings["backbone"]
    return model


def frozen_model(settings: dict[str, Any], labels: dict[str, int], seed: int) -> PreTrainedModel:
    """Return ``base_model`` in the memory that a frozen backbone needs: 4 bits, half precision, or as it is.

    Raises UserError for a ``base_precision`` that the hardware or ``training.precision`` does not allow.
    """
    model = base_model(settings, labels, seed)
    precision = choose_precision(settings["training"]["precision"])
    dtype = DTYPES[choose_base_precision(settings["base_precision"], precision)]
    if kind_of(settings).quantised:
        quantisation.quantise(model, settings["qlora"], DTYPES[precision])
    for _, _, layer in quantisation.linear_layers(model):
        layer.weight.data = layer.weight.data.to(dtype)
    for parameter in getattr(model, model.base_model_prefix).parameters():
        # The stacked experts of a mixture. Below bf16 hardware they compute outside of autocast, in float32.
        if parameter.ndim == 3 and dtype == torch.bfloat16:
            parameter.data = parameter.data.to(dtype)
    return model


def _build_full(settings: dict[str, Any], labels: dict[str, int], seed: int, width: int | None) -> nn.Module:
    return base_model(settings, labels, seed)


def _save_full(model: nn.Module, folder: Path) -> None:
    # Under the names of the modules, not those of older checkpoints: they are read back as a state dict.
    model.save_pretrained(folder, save_original_format=False)


def _restore_full(base: PreTrainedModel, folder: Path, settings: dict[str, Any]) -> PreTrainedModel:
    base.load_state_dict(load_weights(folder), strict=True)
    return base


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of a saved model's safetensors files, sharded or not."""
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(path))
    return tensors


def _build_adapter(settings: dict[str, Any], labels: dict[str, int], seed: int, width: int | None) -> nn.Module:
    model, section = frozen_model(settings, labels, seed), kind_of(settings).adapter
    targets = settings[section]["targets"] or backbone_of(settings).lora_targets()
    inputs = settings[section].get("feedforward", [])
    names = [name for name, _ in model.named_modules()]
    for key, target in [*(("targets", name) for name in targets), *(("feedforward", name) for name in inputs)]:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            raise UserError(
                f"Configuration key '{section}.{key}': no layer of {settings['backbone']} is named '{target}'; "
                f"its linear layers are {', '.join(_linear_names(model))}."
            )
    # Without the head in the adapter, prediction later would use a random one.
    config = ADAPTERS[section](settings[section], targets, modules_to_save=head_modules(model))
    adapted = peft_library().get_peft_model(model, config)
    if local_copies.FOLDER in settings:
        config.base_model_name_or_path, config.revision = settings["backbone"], settings["revision"]
    return adapted


def _lora(lora: dict[str, Any], targets: list[str], **options: Any) -> Any:
    """Return peft's settings of low-rank matrices beside layers (Hu et al. 2021)."""
    scale = {"r": lora["r"], "lora_alpha": lora["alpha"], "lora_dropout": lora["dropout"]}
    return peft_library().LoraConfig(target_modules=targets, **scale, **options)


def _ia3(ia3: dict[str, Any], targets: list[str], **options: Any) -> Any:
    """Return peft's settings of a factor for each output of layers, and each input of others (Liu et al. 2022)."""
    inputs = ia3["feedforward"]
    return peft_library().IA3Config(target_modules=[*targets, *inputs], feedforward_modules=inputs, **options)


ADAPTERS = {"lora": _lora, "ia3": _ia3}


def _linear_names(model: nn.Module) -> list[str]:
    kinds = ("Linear", "Linear4bit", "Conv1D")
    return sorted({name.rsplit(".", 1)[-1] for name, m in model.named_modules() if type(m).__name__ in kinds})


def _restore_adapter(base: PreTrainedModel, folder: Path, settings: dict[str, Any]) -> PreTrainedModel:
    if kind_of(settings).quantised:
        # What was trained and judged is the adapter on the rounded weights, not on those of the checkpoint.
        quantisation.round_to_four_bits(base, settings["qlora"])
    return peft_library().PeftModel.from_pretrained(base, str(folder)).merge_and_unload()


def _build_probe(settings: dict[str, Any], labels: dict[str, int], seed: int, width: int | None) -> nn.Module:
    # The backbone has done its work: its embeddings, ``width`` numbers per row, are all a head needs.
    set_seed(seed)
    dropout = settings["head_dropout"]
    return LinearHead(make_head(width, len(labels), settings.get("head"), dropout), dropout)


def _save_probe(model: nn.Module, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in model.classifier.state_dict().items()}, folder / "head.safetensors")


def _restore_probe(base: PreTrainedModel, folder: Path, settings: dict[str, Any]) -> PreTrainedModel:
    base.classifier.load_state_dict(load_file(folder / "head.safetensors"))
    return base


TUNINGS = {
    "full": Tuning(_build_full, _save_full, _restore_full),
    "lora": Tuning(_build_adapter, _save_full, _restore_adapter),
    "qlora": Tuning(_build_adapter, _save_full, _restore_adapter),
    "ia3": Tuning(_build_adapter, _save_full, _restore_adapter),
    "probe": Tuning(_build_probe, _save_probe, _restore_probe),
}


def build(settings: dict[str, Any], labels: dict[str, int], seed: int, width: int | None = None) -> nn.Module:
    """Return what is trained; ``width`` is the size of the embeddings of a probe.

    Raises UserError if a layer that should get an adapter is not there.
    """
    model = TUNINGS[settings["tuning"]].build(settings, labels, seed, width)
    trainable, total = parameter_counts(model)
    LOGGER.info("%s of %s parameters are trained (%.2f %%)", f"{trainable:,}", f"{total:,}", 100 * trainable / total)
    return model


def parameter_counts(model: nn.Module) -> tuple[int, int]:
    """Return how many numbers are trained and how many there are; those in 4 bits count like others."""
    counts = [(quantisation.count(p), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trained in counts if trained), sum(n for n, _ in counts)


def save(model: nn.Module, folder: Path, tuning: str) -> None:
    """Save what was trained: all weights, adapter and head, or the head."""
    TUNINGS[tuning].save(model, folder)


def restore(folder: Path, settings: dict[str, Any], labels: dict[str, int], seed: int) -> PreTrainedModel:
    """Return a plain transformers model with the weights that ``save`` wrote (adapters merged)."""
    return TUNINGS[settings["tuning"]].restore(base_model(settings, labels, seed), folder, settings)


def restore_adapter(folder: Path, settings: dict[str, Any], labels: dict[str, int], seed: int) -> nn.Module:
    """Return the frozen backbone as it was in training (4 bits for qlora) with the saved adapter and head beside it.

    For adapters alone; takes a quarter (4 bits) or half of the memory of ``restore``.
    """
    return peft_library().PeftModel.from_pretrained(frozen_model(settings, labels, seed), str(folder))
