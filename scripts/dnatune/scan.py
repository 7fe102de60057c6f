"""The first pass over a FASTA: cleaned sequences go to a temporary file, what is small stays in memory.

In: a FASTA. Out: a parquet file of cleaned sequences, and per record an id, two lengths and a sequence code.
This is why a million sequences need well under 3 GiB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dnatune.fasta import Tally, read_clean
from dnatune.groups import digest, sequence_codes

# Row groups of the written file; the second number keeps a batch of whole genomes from filling the memory.
_BATCH_ROWS = 50_000
_BATCH_BASES = 32_000_000


@dataclass
class Scan:
    """What stays in memory: ids, lengths (n,), counts of N (n,), sequence codes (n,), the tally."""

    ids: pa.Array
    length: np.ndarray
    n_count: np.ndarray
    code: np.ndarray
    tally: Tally


def scan_fasta(path: str | Path, cleaned_path: str | Path) -> Scan:
    """First pass: stream a FASTA, write its cleaned sequences to a parquet file, keep what is small.

    Raises UserError for whatever is wrong with the file (see ``fasta``).
    """
    schema = pa.schema({"sequence": pa.string()})
    tally, ids = Tally(), []
    digests, lengths, n_counts = bytearray(), [], []
    reader = read_clean(path, tally)
    with pq.ParquetWriter(cleaned_path, schema, compression="zstd", use_dictionary=False) as writer:
        while batch := _next_batch(reader):
            names, sequences = zip(*batch, strict=True)
            ids.append(pa.array(names, pa.string()))
            digests += b"".join(map(digest, sequences))
            lengths.append(np.fromiter(map(len, sequences), np.int32, len(batch)))
            n_counts.append(np.fromiter((s.count("N") for s in sequences), np.int32, len(batch)))
            writer.write_table(pa.table({"sequence": pa.array(sequences, pa.string())}), len(batch))
    return Scan(
        pa.concat_arrays(ids),
        np.concatenate(lengths),
        np.concatenate(n_counts),
        sequence_codes(digests),
        tally,
    )


def _next_batch(reader: Iterator[tuple[str, str]]) -> list[tuple[str, str]]:
    batch, bases = [], 0
    for record in islice(reader, _BATCH_ROWS):
        batch.append(record)
        bases += len(record[1])
        if bases > _BATCH_BASES:
            break
    return batch
