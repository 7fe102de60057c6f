"""Where a backbone from a hub lies once it is downloaded, and how a job's settings come to name that folder.

Under ``backbones_folder`` a repository has one folder ``owner--name``; in it one folder per commit with the files,
and beside it one manifest per revision that was asked for (see ``hub``). Importing this is cheap: the workflow does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dnatune.errors import UserError
from dnatune.files import fingerprint, read_json

DEFAULT_BRANCH = "main"  # what a hub takes where no revision is named
FOLDER = "backbone_folder"  # the key of located settings
WITH_CODE = ".code"  # a download with Python files lies apart: other runs must not meet code they did not ask for


def on_a_hub(source: str) -> bool:
    """Say whether ``source`` is neither built in nor a folder."""
    return not source.startswith("builtin:") and not Path(source).is_dir()


def manifest_path(folder: str | Path, repository: str, revision: str | None, with_code: bool) -> Path:
    """Return where the manifest of a download stands; ``folder`` is the configuration's ``backbones_folder``."""
    asked = revision or DEFAULT_BRANCH
    name = re.sub(r"[^A-Za-z0-9._-]", "-", asked)
    if name != asked:  # refs/pr/1 is no file name, and must not become that of refs-pr-1
        name += f"-{fingerprint(asked)[:6]}"
    return Path(folder) / repository.replace("/", "--") / f"{name}{WITH_CODE if with_code else ''}.json"


def read_manifest(path: str | Path) -> tuple[dict[str, Any], Path]:
    """Return a manifest and the folder it describes. Raises UserError if a file there is missing or cut short."""
    manifest = read_json(path)
    folder = Path(path).parent / manifest["folder"]
    for file in manifest["files"]:
        found = folder / file["name"]
        size = found.stat().st_size if found.is_file() else None
        if size != file["size"]:
            raise UserError(
                f"{found} {'is missing' if size is None else f'has {size} bytes'}, expected {file['size']} bytes as "
                f"downloaded from {manifest['repository']}; remove the folder {folder} and {path}, and run "
                "`snakemake backbones` where there is internet."
            )
    return manifest, folder


def located(settings: dict[str, Any], manifest: str | Path | None) -> dict[str, Any]:
    """Return a model's settings with the folder its backbone is read from, and the commit as its revision.

    Without a manifest (a builtin backbone, or a folder of the user's) they stay as they are. Raises UserError if the
    download is not whole.
    """
    if manifest is None:
        return settings
    made, folder = read_manifest(manifest)
    return {**settings, "revision": made["commit"], FOLDER: str(folder)}


def published(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings that mean the same on another machine: hub id and commit, not the folder here."""
    return {key: value for key, value in settings.items() if key != FOLDER}
