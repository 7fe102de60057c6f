"""Files that are whole or not there: write to a temporary name beside the target, then rename."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` only if the block succeeds.

    Works for files and for folders (make the folder yourself inside the block). The suffix of
    ``path`` is kept, because writers such as numpy choose the format, or add an ending, by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        if path.is_dir():
            shutil.rmtree(path)
        partial.replace(path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        elif partial.exists():
            partial.unlink()


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON; NaN and infinity become null, numpy numbers become numbers."""
    with whole(path) as partial:
        partial.write_text(json.dumps(_plain(value), indent=2, ensure_ascii=False) + "\n", "utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text("utf-8"))


def write_tsv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as tab separated values; floats keep 10 significant digits, missing is empty."""
    with whole(path) as partial:
        table.to_csv(partial, sep="\t", index=False, float_format="%.10g")


def read_tsv(path: str | Path, text: tuple[str, ...] = ("id", "class", "label")) -> pd.DataFrame:
    """Read a tab separated table; the columns in ``text`` stay text and 'NA' is a name like any other."""
    # Only numbers may be missing: a species named "NA" is a name.
    columns = pd.read_csv(path, sep="\t", nrows=0).columns
    missing = {column: ["", "NaN", "nan"] for column in columns if column not in text}
    return pd.read_csv(path, sep="\t", dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=missing)


def copy_folder(source: str | Path, target: str | Path) -> None:
    """Copy a folder, whole or not at all."""
    with whole(target) as partial:
        shutil.copytree(source, partial)


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """Return a short hash (12 hexadecimal digits) of a JSON-like value, independent of key order."""
    text = json.dumps(_plain(value), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:12]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, np.ndarray)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
