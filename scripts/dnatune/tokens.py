"""From sequences to token rows: every reading frame and window that training or prediction will need, once.

In: records.parquet (or any stream of sequences) and the backbone's encoder. Out: one Arrow file with a row per
(record, frame, window), opened with ``datasets``; shared by all folds and all models with that tokenizer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dnatune import files
from dnatune.errors import UserError

BATCH = 2000


class Encoder(Protocol):
    """What a backbone's tokenizer must be able to do here."""

    prefix: list[int]
    suffix: list[int]
    pad_id: int
    vocabulary_size: int
    frames: int
    context: int

    def encode(self, sequences: Sequence[str], frame: int) -> list[np.ndarray]:
        """Return the ids of each sequence from base ``frame`` on, without special tokens."""
        ...


@dataclass(frozen=True)
class TokenSettings:
    """Which rows are made: tokens per window, share of overlap (None crops), number of frames."""

    max_tokens: int
    window_overlap: float | None
    frames: int

    @classmethod
    def of(cls, settings: dict[str, Any], encoder: Encoder) -> TokenSettings:
        """Build from the model's ``tokens`` section. All frames are made unless no step wants them (null is on).

        Raises UserError if ``max_tokens`` exceeds the backbone's context.
        """
        all_frames = settings["random_frame"] is not False or settings["average_frames"] is not False
        asked = settings["max_tokens"] or encoder.context
        if asked > encoder.context:
            raise UserError(
                f"Configuration key 'tokens.max_tokens': found {asked}, but this backbone reads at most "
                f"{encoder.context} tokens; lower it, sequences that are longer are read in windows."
            )
        overlap = settings["window_overlap"] if settings["long_sequences"] == "windows" else None
        return cls(asked, overlap, encoder.frames if all_frames else 1)


def row_schema(vocabulary_size: int) -> pa.Schema:
    """Return the columns of the token file; ids take two bytes where the vocabulary allows."""
    ids = pa.uint16() if vocabulary_size <= 1 << 16 else pa.int32()
    return pa.schema(
        [("record", pa.int32()), ("frame", pa.int8()), ("window", pa.int16()), ("input_ids", pa.list_(ids))]
    )


def windows(ids: np.ndarray, room: int, overlap: float | None) -> list[np.ndarray]:
    """Cut ids (tokens,) into windows of at most ``room`` tokens; the last one ends with the sequence.

    ``overlap`` is the share of a window that the next repeats; None keeps the first window only (crop).
    """
    if ids.size <= room:
        return [ids]
    if overlap is None:
        return [ids[:room]]
    step = max(1, round(room * (1 - overlap)))
    starts = [*range(0, ids.size - room, step), ids.size - room]
    return [ids[start : start + room] for start in starts]


def token_rows(
    sequences: Iterable[str], encoder: Encoder, settings: TokenSettings
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Yield Arrow batches with the rows of ``sequences``, in order of record, frame, window.

    With each batch comes the number of its sequences that are longer than one window.
    """
    schema = row_schema(encoder.vocabulary_size)
    id_type = schema.field("input_ids").type.value_type
    room = settings.max_tokens - len(encoder.prefix) - len(encoder.suffix)
    prefix, suffix = (np.array(part, dtype=np.int32) for part in (encoder.prefix, encoder.suffix))
    stream = iter(sequences)
    first_record = 0
    while batch := list(itertools.islice(stream, BATCH)):
        by_frame = [encoder.encode(batch, frame) for frame in range(settings.frames)]
        columns: list[list[int]] = [[], [], []]
        pieces: list[np.ndarray] = []
        lengths: list[int] = []
        longer = sum(ids.size > room for ids in by_frame[0])
        for position in range(len(batch)):
            for frame, encoded in enumerate(by_frame):
                for window, ids in enumerate(windows(encoded[position], room, settings.window_overlap)):
                    columns[0].append(first_record + position)
                    columns[1].append(frame)
                    columns[2].append(window)
                    pieces += [prefix, ids, suffix]
                    lengths.append(ids.size + prefix.size + suffix.size)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        ids = pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(pieces)).cast(id_type))
        arrays = [pa.array(c, type=field.type) for c, field in zip(columns, schema, strict=False)]
        yield pa.RecordBatch.from_arrays([*arrays, ids], schema=schema), longer
        first_record += len(batch)


def write_tokens(records: str | Path, folder: str | Path, encoder: Encoder, settings: TokenSettings) -> dict[str, Any]:
    """Write ``tokens.arrow`` and ``tokens.json`` for all sequences of a records.parquet; return the summary.

    The summary counts records, rows, tokens, and the sequences that were longer than one window.
    """
    counts = {"records": 0, "rows": 0, "tokens": 0, "longest": 0, "longer_than_one_window": 0}
    parquet = pq.ParquetFile(records)
    sequences = (
        text
        for batch in parquet.iter_batches(batch_size=BATCH, columns=["sequence"])
        for text in batch.column(0).to_pylist()
    )
    schema = row_schema(encoder.vocabulary_size)
    with files.whole(folder) as partial:
        partial.mkdir(parents=True)
        with (
            pa.OSFile(str(partial / "tokens.arrow"), "wb") as sink,
            pa.ipc.new_stream(sink, schema) as writer,
        ):
            for batch, longer in token_rows(sequences, encoder, settings):
                writer.write_batch(batch)
                lengths = batch.column("input_ids").value_lengths().to_numpy()
                counts["records"] = int(batch.column("record")[-1].as_py()) + 1
                counts["rows"] += batch.num_rows
                counts["tokens"] += int(lengths.sum())
                counts["longest"] = max(counts["longest"], int(lengths.max()))
                counts["longer_than_one_window"] += longer
        summary = {
            **counts,
            "max_tokens": settings.max_tokens,
            "frames": settings.frames,
            "long_sequences": "crop" if settings.window_overlap is None else "windows",
            "vocabulary_size": encoder.vocabulary_size,
            "pad_id": encoder.pad_id,
            "context": encoder.context,
        }
        files.write_json(partial / "tokens.json", summary)
    return summary


class TokenTable:
    """Token rows with fast access by record, frame and window; the ids stay in a memory-mapped file."""

    def __init__(self, path: str | Path) -> None:
        from datasets import Dataset  # slow to import; only training and prediction need it

        self._attach(Dataset.from_file(str(Path(path) / "tokens.arrow")).data.table)

    @classmethod
    def of_sequences(cls, sequences: Iterable[str], encoder: Encoder, settings: TokenSettings) -> TokenTable:
        """Build a table in memory, for sequences that are never written (prediction)."""
        table = cls.__new__(cls)
        batches = [batch for batch, _ in token_rows(sequences, encoder, settings)]
        table._attach(pa.Table.from_batches(batches, schema=row_schema(encoder.vocabulary_size)))
        return table

    def _attach(self, table: pa.Table) -> None:
        self.record = table.column("record").to_numpy()
        self.frame = table.column("frame").to_numpy()
        self.window = table.column("window").to_numpy()
        chunks = table.column("input_ids").chunks
        self._values = [chunk.values.to_numpy() for chunk in chunks]
        self._offsets = [chunk.offsets.to_numpy() for chunk in chunks]
        self._chunk_start = np.cumsum([0, *(len(chunk) for chunk in chunks)])
        self.length = np.concatenate([np.diff(o) for o in self._offsets]) if chunks else np.empty(0, np.int32)
        self.records = int(self.record[-1]) + 1 if len(self.record) else 0
        self.frames = int(self.frame.max()) + 1 if len(self.frame) else 1
        # Rows are sorted by record, frame, window: the first row of each (record, frame) is found once.
        firsts = np.flatnonzero(self.window == 0)
        self.first_row = firsts.reshape(self.records, self.frames)
        self.n_windows = np.diff(np.append(firsts, len(self.record))).reshape(self.records, self.frames)

    def __len__(self) -> int:
        return len(self.record)

    def ids(self, row: int) -> np.ndarray:
        """Return the token ids (tokens,) of one row, special tokens included."""
        chunk = int(np.searchsorted(self._chunk_start, row, side="right")) - 1
        offsets = self._offsets[chunk]
        local = row - self._chunk_start[chunk]
        return self._values[chunk][offsets[local] : offsets[local + 1]]

    def rows_of(self, records: np.ndarray, frames: int | None = None) -> np.ndarray:
        """Return all rows of the given records (their first ``frames`` frames; None is all), in order."""
        frames = self.frames if frames is None else min(frames, self.frames)
        first = self.first_row[records, :frames].ravel()
        count = self.n_windows[records, :frames].ravel()
        ends = np.cumsum(count)
        within = np.arange(ends[-1] if ends.size else 0) - np.repeat(ends - count, count)
        return np.repeat(first, count) + within
