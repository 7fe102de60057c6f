"""How many sequences and bases a FASTA file has, guessed from its size and its first records: cheap at any size."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

LOOKED_AT = 256 * 1024  # bytes of the file


@dataclass(frozen=True)
class DataSize:
    """``sequences``, ``bases`` of all together, and the ``longest`` sequence among the first ones, in bases."""

    sequences: int
    bases: int
    longest: int

    @property
    def mean(self) -> float:
        """Bases of a sequence on average."""
        return self.bases / max(1, self.sequences)


def data_size(path: str | Path) -> DataSize:
    """Return the size of a FASTA file (plain or gzip), scaled up from its beginning."""
    path = Path(path)
    state = path.stat()
    return _data_size(path, state.st_size, state.st_mtime_ns)


@lru_cache
def _data_size(path: Path, size: int, _: int) -> DataSize:
    with open(path, "rb") as handle:
        read = handle.read(LOOKED_AT)
    text = _unpacked(read) if read[:2] == b"\x1f\x8b" else read
    records = text.split(b"\n>")
    if len(read) < size and len(records) > 1:
        records.pop()  # cut short
    lengths = [sum(map(len, record.split(b"\n")[1:])) for record in records]
    seen = sum(map(len, records)) + 2 * len(records)
    whole = size * len(text) / max(1, len(read))
    scale = max(1.0, whole / max(1, seen)) if len(read) < size else 1.0
    return DataSize(round(len(records) * scale), round(sum(lengths) * scale), max(lengths))


def _unpacked(packed: bytes) -> bytes:
    """Return as much as the beginning of a gzip file holds; bgzip is many such pieces, one behind the other."""
    found = []
    while packed:
        piece = zlib.decompressobj(wbits=31)
        try:
            found.append(piece.decompress(packed))
        except zlib.error:
            break
        packed = piece.unused_data
    return b"".join(found)
