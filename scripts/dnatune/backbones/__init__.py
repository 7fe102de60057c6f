"""Backbones: one entry each says how to load its tokenizer and model and what its quirks are.

``find_backbone`` is the one place that looks at a backbone's name. Importing this package is cheap: torch and
transformers are imported by the functions that need them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dnatune.backbones.nt_mini_sizes import check_sizes
from dnatune.errors import UserError, nearest
from dnatune.files import fingerprint

BUILTIN = ("nt-mini",)
HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def check_backbone(key: str, model: dict[str, Any]) -> None:
    """Raise UserError if ``model['backbone']`` can be nothing that loads; needs no download and no torch."""
    source = model["backbone"]
    where = f"Configuration key '{key}.backbone'"
    builtin = source.startswith("builtin:")
    known = [f"builtin:{name}" for name in BUILTIN]
    if builtin and source not in known:
        raise UserError(f"{where}: unknown backbone '{source}'{nearest(source, known)}; built in: {', '.join(known)}.")
    if builtin:
        check_sizes(f"{key}.backbone_config", model["backbone_config"])
        if model["backbone_config"].get("overlapping") and model["pooling"] == "architecture":
            raise UserError(
                f"Configuration key '{key}.pooling': architecture is not there with overlapping k-mers; expected mean, "
                "cls, last or null."
            )
    else:
        if Path(source).is_dir():
            _check_folder(where, Path(source))
        elif source.startswith((".", "/", "~")):
            raise UserError(f"{where}: the folder {source} does not exist; expected a saved transformers model.")
        elif not HUB_ID.match(source):
            raise UserError(
                f"{where}: unknown backbone '{source}'{nearest(f'builtin:{source}', known)}; expected {known[0]}, "
                "a hub id 'owner/name', or a folder with a saved model."
            )
        if model["backbone_config"]:
            raise UserError(
                f"Configuration key '{key}.backbone_config' is for builtin backbones only; {source} has its own."
            )
    if model["trust_remote_code"] and model["pooling"] != "architecture":
        raise UserError(
            f"Configuration key '{key}.pooling': a backbone with code of its own needs pooling: architecture, "
            "because only its own classifier can be saved to load again."
        )
    if model["trust_remote_code"] and not model["revision"] and not Path(source).is_dir():
        raise UserError(
            f"Configuration key '{key}.trust_remote_code': code from a hub needs a pinned 'revision' (a commit)."
        )


def _check_folder(where: str, folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise UserError(f"{where}: the folder {folder} has no config.json; expected a saved transformers model.")
    if not any((folder / name).is_file() for name in WEIGHT_FILES):
        raise UserError(
            f"{where}: the folder {folder} has no weights; expected e.g. {WEIGHT_FILES[0]} beside config.json."
        )


def folder_version(source: str) -> str | None:
    """Return what a local backbone folder holds (names, sizes, times), or None if ``source`` is no folder.

    Among the settings of a model it makes Snakemake train again when other weights are put there.
    """
    if not Path(source).is_dir():
        return None
    found = sorted(path for path in Path(source).iterdir() if path.is_file())
    return fingerprint([[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in found])


def find_backbone(source: str, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """Return the entry (a ``dnatune.backbones.base.Backbone``) that loads ``source``.

    Raises UserError if the checkpoint's configuration cannot be read.
    """
    if source.startswith("builtin:"):
        from dnatune.backbones.nt_mini import NtMini

        return NtMini(source, None, False)
    from dnatune.backbones.generic import GenericBackbone
    from dnatune.backbones.nucleotide_transformer import NucleotideTransformer

    for entry in (NucleotideTransformer, GenericBackbone):
        backbone = entry(source, revision, trust_remote_code)
        if backbone.serves():
            return backbone
    raise UserError(f"No backbone entry can load {source}.")
