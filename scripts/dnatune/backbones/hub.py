"""Download a backbone from a hub: the files that are needed, of one commit, verified, whole or not at all.

In: repository and revision. Out: a folder named by the commit, and a manifest beside it (see ``local_copies``):
repository, revision asked for, commit, and name, size and SHA-256 of every file.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo, RepoSibling
from huggingface_hub.utils import WeakFileLock

from dnatune.backbones import WEIGHT_FILES
from dnatune.backbones.local_copies import DEFAULT_BRANCH, WITH_CODE
from dnatune.errors import UserError
from dnatune.files import read_json, sha256, write_json

LOGGER = logging.getLogger("dnatune")
# Configuration, tokenizer and licence; ``model`` and ``tiktoken`` are vocabularies.
SMALL_FILES = (".json", ".txt", ".model", ".tiktoken", ".jinja")
INDEX = ".index.json"
# The manifest once more, inside the folder: from it a manifest that was lost is made again.
RECORD = "dnatune-download.json"


def fetch(
    repository: str, revision: str | None, with_code: bool, manifest: str | Path, endpoint: str | None = None
) -> dict[str, Any]:
    """Write ``manifest`` and, unless it lies there already, the folder it describes; return the manifest.

    What was once found for a branch or a tag stays: it is not asked for again. Python files come only ``with_code``.
    ``endpoint`` is the address of the hub, by default that of the variable HF_ENDPOINT.
    Safe where several processes ask for the same at once. Raises UserError if the hub cannot be reached, does not
    have or give what is asked for, or if a file is not what the hub says it is.
    """
    manifest = Path(manifest)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    asked = revision or DEFAULT_BRANCH
    with WeakFileLock(manifest.parent / ".lock"):
        made = _kept(manifest.parent, asked, with_code)
        if made is None:
            made = _download(_Hub(repository, endpoint or constants.ENDPOINT), asked, with_code, manifest.parent)
        else:
            LOGGER.info("%s lies here already", manifest.parent / made["folder"])
        write_json(manifest, {**made, "revision": asked})
    return made


@dataclass(frozen=True)
class _Hub:
    """A repository and the address of the hub it is on."""

    repository: str
    endpoint: str

    def about(self, revision: str) -> ModelInfo:
        """Return commit and files of a revision."""
        with self.told(revision):
            return HfApi(endpoint=self.endpoint).model_info(self.repository, revision=revision, files_metadata=True)

    def get(self, commit: str, names: list[str], there: dict[str, RepoSibling], into: Path) -> None:
        """Bring files into a folder and compare each with what the hub says of it."""
        with self.told(commit):
            snapshot_download(
                self.repository,
                revision=commit,
                local_dir=into,
                cache_dir=into / ".cache",  # for notes alone; the user's own cache stays as it is
                endpoint=self.endpoint,
                allow_patterns=[glob.escape(name) for name in names],
            )
        for name in names:
            sibling = there[name]
            digest = sibling.lfs.sha256 if sibling.lfs else None
            try:
                _check(into / name, sibling.size, digest, "run again", sibling.blob_id)
            except UserError:
                (into / name).unlink(missing_ok=True)
                raise

    @contextmanager
    def told(self, revision: str) -> Iterator[None]:
        """Turn what can go wrong with a hub into one sentence."""
        repository, hub = self.repository, self.endpoint
        instead = (
            "call `snakemake backbones` with this configuration on a machine with internet that sees the same folder "
            "(a login node), or copy the model's folder here and write its path as backbone"
        )
        try:
            yield
        except OfflineModeIsEnabled:
            raise UserError(
                f"The backbone {repository} has to be downloaded, but HF_HUB_OFFLINE is set; unset it, or {instead}."
            ) from None
        except GatedRepoError:
            raise UserError(
                f"The hub {hub} gives {repository} to those who accepted its terms; accept them on its page and log "
                "in with `hf auth login`."
            ) from None
        except RevisionNotFoundError:
            raise UserError(f"The repository {repository} on {hub} has no revision '{revision}'.") from None
        except RepositoryNotFoundError:
            raise UserError(
                f"There is no folder {repository}, and the hub {hub} has no repository of that name (or it is private: "
                "log in with `hf auth login`); check models.<name>.backbone."
            ) from None
        except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError) as reason:
            raise UserError(
                f"The backbone {repository} cannot be downloaded from {hub} ({first_line(reason)}); {instead}."
            ) from reason


def _kept(parent: Path, asked: str, with_code: bool) -> dict[str, Any] | None:
    """Return the manifest of an earlier download of the revision, its files checked to the last byte."""
    for record in sorted(parent.glob(f"[0-9a-f]*/{RECORD}")):
        made = read_json(record)
        if asked in (made["commit"], made["revision"]) and made["with_code"] == with_code:
            return _checked(record)
    return None


def _checked(record: Path) -> dict[str, Any]:
    made, remedy = read_json(record), f"remove the folder {record.parent} and run again"
    for file in made["files"]:
        _check(record.parent / file["name"], file["size"], file["sha256"], remedy)
    return made


def _download(hub: _Hub, asked: str, with_code: bool, parent: Path) -> dict[str, Any]:
    repository, info = hub.repository, hub.about(asked)
    commit, there = info.sha, {sibling.rfilename: sibling for sibling in info.siblings or []}
    name = f"{commit}{WITH_CODE if with_code else ''}"
    if (parent / name).is_dir():  # downloaded before under another revision's name
        return _checked(parent / name / RECORD)
    # Files that arrived before a kill are kept for the next attempt.
    partial = parent / f".partial-{name}"
    index, single = _weights(repository, commit, list(there))
    small = [file for file in there if _is_small(file) or (with_code and file.endswith(".py"))]
    hub.get(commit, [*small, *index], there, partial)
    shards = single or _shards(partial / index[0], there, repository)
    LOGGER.info("%s at %s: %d files of weights", repository, commit, len(shards))
    hub.get(commit, shards, there, partial)
    if with_code:
        _own_code(partial, repository)
    wanted = sorted({*small, *index, *shards})
    files = [{"name": n, "size": (partial / n).stat().st_size, "sha256": sha256(partial / n)} for n in wanted]
    made = {"repository": repository, "revision": asked, "commit": commit, "folder": name, "with_code": with_code}
    made |= {"endpoint": hub.endpoint, "files": files}
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    write_json(partial / RECORD, made)
    partial.rename(parent / name)
    return made


def _weights(repository: str, commit: str, there: list[str]) -> tuple[list[str], list[str]]:
    """Return the index of the weights, or else their one file: safetensors before .bin, as transformers looks."""
    for name in WEIGHT_FILES:
        if name in there:
            return ([name], []) if name.endswith(INDEX) else ([], [name])
    raise UserError(
        f"The repository {repository} (commit {commit}) has no weights that transformers reads; expected one of "
        f"{', '.join(WEIGHT_FILES)}."
    )


def _is_small(name: str) -> bool:
    wanted = name.endswith(SMALL_FILES) or name.startswith("LICENSE")
    return "/" not in name and wanted and not name.endswith(INDEX)


def _shards(index: Path, there: dict[str, Any], repository: str) -> list[str]:
    """Return the files that an index names. Raises UserError if the repository lacks one."""
    try:
        named = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError):
        raise UserError(f"The {index.name} of {repository} is no index of weights; get the model elsewhere.") from None
    missing = [name for name in named if name not in there]
    if missing:
        raise UserError(
            f"The repository {repository} lacks {missing[0]}, which its {index.name} names; get the model elsewhere."
        )
    return named


def _check(path: Path, size: int | None, digest: str | None, remedy: str, blob: str | None = None) -> None:
    """Raise UserError unless a file has the size, and the SHA-256 or (small files) git's own name for its content."""
    found = path.stat().st_size if path.is_file() else None
    if found is None or (size is not None and found != size):
        words = "is missing" if found is None else f"has {found} bytes"
        raise UserError(f"{path} {words}, expected {size} bytes; it did not arrive whole or was changed: {remedy}.")
    same = sha256(path) == digest if digest else blob is None or git_blob(path) == blob
    if not same:
        raise UserError(f"{path} is not the file that the hub has (its hash differs); it was changed: {remedy}.")


def git_blob(path: Path) -> str:
    """Return git's name of a file's content: SHA-1 of 'blob', the size, a zero byte and the content."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _own_code(folder: Path, repository: str) -> None:
    """Let ``auto_map`` find code of the repository itself in the folder, not by its name on the hub."""
    for path in (folder / "config.json", folder / "tokenizer_config.json"):
        text = path.read_text("utf-8") if path.is_file() else ""
        if f'"{repository}--' in text:
            path.write_text(text.replace(f'"{repository}--', '"'), "utf-8")


def first_line(reason: BaseException) -> str:
    """Return the first line of an exception's text, without a full stop."""
    lines = str(reason).strip().splitlines()
    return f"{type(reason).__name__}: {lines[0].rstrip('. ')}" if lines else type(reason).__name__
