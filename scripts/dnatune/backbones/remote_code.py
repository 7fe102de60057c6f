"""Python code that comes with a checkpoint: it runs only from the commit that the configuration names."""

from __future__ import annotations

import json
import re
from pathlib import Path

from dnatune.errors import UserError

COMMIT = re.compile(r"[0-9a-f]{40}")


def check_pin(where: str, source: str, revision: str | None) -> None:
    """Raise UserError if ``source`` is on a hub and ``revision`` is no commit; a folder is what its owner put there."""
    if not Path(source).is_dir() and not COMMIT.fullmatch(revision or ""):
        raise UserError(
            f"{where}: found {revision or 'nothing'}, but with trust_remote_code the revision must be the commit (40 "
            "hexadecimal digits) whose code you have read, because a branch or a tag can come to mean other code."
        )


def refuse_foreign_code(source: str, revision: str | None) -> None:
    """Raise UserError if the checkpoint's code lies in another repository, which ``revision`` says nothing about.

    transformers follows an ``auto_map`` entry 'owner/name--module.Class' to the other repository's main branch.
    """
    from transformers.utils import cached_file

    for name in ("config.json", "tokenizer_config.json"):
        found = cached_file(source, name, revision=revision, _raise_exceptions_for_missing_entries=False)
        for reference in _references(Path(found)) if found else []:
            owner = reference.partition("--")[0]
            if "--" in reference and owner != source:
                raise UserError(
                    f"The {name} of {source} takes code from another repository ({owner}), whose version nothing pins; "
                    "download the model, put that code beside its config.json, and take the name out of 'auto_map'."
                )


def _references(path: Path) -> list[str]:
    """Return the classes that ``auto_map`` names."""
    try:
        named = json.loads(path.read_text("utf-8")).get("auto_map") or {}
    except ValueError:
        return []  # reading the configuration proper says what is wrong with it
    values = named.values() if isinstance(named, dict) else [named]
    return [text for value in values for text in (value if isinstance(value, list) else [value]) if text]
