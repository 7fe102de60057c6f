"""From sequences to token rows: every view (strand, reading frame) and window that training or prediction will need.

In: records.parquet (or any stream of sequences) and the backbone's encoder. Out: one Arrow file with a row per
(record, view, window), opened with ``datasets``; shared by all folds and all models with that tokenizer.
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
from dnatune.spans import token_starts
from dnatune.views import FIRST, REVERSE, View, needed_views, reverse_complement

BATCH = 2000


class Encoder(Protocol):
    """What a backbone's tokenizer must be able to do here.

    ``frames`` is the number of reading-frame offsets that give different tokens; ``widths`` (vocabulary,) the bases
    that each id stands for, 0 for special tokens (see ``dnatune.spans``).
    """

    prefix: list[int]
    suffix: list[int]
    pad_id: int
    vocabulary_size: int
    frames: int
    context: int
    widths: np.ndarray

    def encode(self, sequences: Sequence[str], frame: int) -> list[np.ndarray]:
        """Return the ids of each sequence from base ``frame`` on, without special tokens."""
        ...


@dataclass(frozen=True)
class TokenSettings:
    """Which rows are made: tokens per window, share of overlap (None crops), views (sorted, FIRST among them)."""

    max_tokens: int
    window_overlap: float | None
    views: tuple[View, ...]

    @property
    def frames(self) -> int:
        """Number of reading-frame offsets among the views."""
        return len({view.frame for view in self.views})

    @property
    def strands(self) -> int:
        """Number of strands among the views."""
        return len({view.strand for view in self.views})

    @classmethod
    def of(cls, settings: dict[str, Any], encoder: Encoder) -> TokenSettings:
        """Build from the model's ``tokens`` section, with the views that training or prediction needs.

        Raises UserError if ``max_tokens`` exceeds the backbone's context.
        """
        asked = settings["max_tokens"] or encoder.context
        if asked > encoder.context:
            raise UserError(
                f"Configuration key 'tokens.max_tokens': found {asked}, but this backbone reads at most "
                f"{encoder.context} tokens; lower it, sequences that are longer are read in windows."
            )
        overlap = settings["window_overlap"] if settings["long_sequences"] == "windows" else None
        return cls(asked, overlap, needed_views(settings, encoder.frames))


def row_schema(vocabulary_size: int) -> pa.Schema:
    """Return the columns of the token file; ids take two bytes where the vocabulary allows.

    ``start`` is the first base of the row, counted in the record as it is read on the row's strand.
    """
    ids = pa.uint16() if vocabulary_size <= 1 << 16 else pa.int32()
    return pa.schema(
        [
            ("record", pa.int32()),
            ("strand", pa.int8()),
            ("frame", pa.int8()),
            ("window", pa.int16()),
            ("start", pa.int32()),
            ("input_ids", pa.list_(ids)),
        ]
    )


def window_starts(size: int, room: int, overlap: float | None) -> list[int]:
    """Return where windows of at most ``room`` of ``size`` tokens begin; the last one ends with the sequence.

    ``overlap`` is the share of a window that the next repeats; None keeps the first window only (crop).
    """
    if size <= room or overlap is None:
        return [0]
    step = max(1, round(room * (1 - overlap)))
    return [*range(0, size - room, step), size - room]


def token_rows(
    sequences: Iterable[str], encoder: Encoder, settings: TokenSettings
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Yield Arrow batches with the rows of ``sequences``, in order of record, view, window.

    With each batch comes the number of its sequences that are longer than one window.
    """
    schema = row_schema(encoder.vocabulary_size)
    id_type = schema.field("input_ids").type.value_type
    room = settings.max_tokens - len(encoder.prefix) - len(encoder.suffix)
    prefix, suffix = (np.array(part, dtype=np.int32) for part in (encoder.prefix, encoder.suffix))
    reverse = any(view.strand == REVERSE for view in settings.views)
    stream = iter(sequences)
    first_record = 0
    while batch := list(itertools.islice(stream, BATCH)):
        strands = [batch, [reverse_complement(sequence) for sequence in batch] if reverse else []]
        by_view = [encoder.encode(strands[view.strand], view.frame) for view in settings.views]
        columns: list[list[int]] = [[] for _ in schema.names[:-1]]
        pieces: list[np.ndarray] = []
        lengths: list[int] = []
        longer = sum(ids.size > room for ids in by_view[0])
        for position in range(len(batch)):
            for view, encoded in zip(settings.views, by_view, strict=True):
                ids = encoded[position]
                starts = window_starts(ids.size, room, settings.window_overlap)
                bases = [view.frame] if len(starts) == 1 else token_starts(view.frame, encoder.widths[ids])[starts]
                for window, (start, base) in enumerate(zip(starts, bases, strict=True)):
                    row = (first_record + position, *view, window, base)
                    for column, value in zip(columns, row, strict=True):
                        column.append(value)
                    part = ids[start : start + room]
                    pieces += [prefix, part, suffix]
                    lengths.append(part.size + prefix.size + suffix.size)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        ids = pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(pieces)).cast(id_type))
        arrays = [pa.array(c, type=field.type) for c, field in zip(columns, schema, strict=False)]
        yield pa.RecordBatch.from_arrays([*arrays, ids], schema=schema), longer
        first_record += len(batch)


def write_tokens(records: str | Path, folder: str | Path, encoder: Encoder, settings: TokenSettings) -> dict[str, Any]:
    """Write ``tokens.arrow``, ``widths.npy`` and ``tokens.json`` for a records.parquet; return the summary.

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
            "strands": settings.strands,
            "long_sequences": "crop" if settings.window_overlap is None else "windows",
            "vocabulary_size": encoder.vocabulary_size,
            "pad_id": encoder.pad_id,
            "context": encoder.context,
        }
        np.save(partial / "widths.npy", encoder.widths)
        files.write_json(partial / "tokens.json", summary)
    return summary


class TokenTable:
    """Token rows with fast access by record, view and window; the ids stay in a memory-mapped file.

    ``views`` are the views in the table; a view's number is its position there, and number 0 is always FIRST.
    ``first_row`` and ``n_windows`` are (records, views).
    """

    def __init__(self, path: str | Path) -> None:
        from datasets import Dataset  # slow to import; only training and prediction need it

        self._attach(Dataset.from_file(str(Path(path) / "tokens.arrow")).data.table, np.load(Path(path) / "widths.npy"))

    @classmethod
    def of_sequences(cls, sequences: Iterable[str], encoder: Encoder, settings: TokenSettings) -> TokenTable:
        """Build a table in memory, for sequences that are never written (prediction)."""
        table = cls.__new__(cls)
        batches = [batch for batch, _ in token_rows(sequences, encoder, settings)]
        table._attach(pa.Table.from_batches(batches, schema=row_schema(encoder.vocabulary_size)), encoder.widths)
        return table

    def _attach(self, table: pa.Table, widths: np.ndarray) -> None:
        self.widths = widths
        self.record = table.column("record").to_numpy()
        self.strand = table.column("strand").to_numpy()
        self.frame = table.column("frame").to_numpy()
        self.window = table.column("window").to_numpy()
        self.start = table.column("start").to_numpy()
        chunks = table.column("input_ids").chunks
        self._values = [chunk.values.to_numpy() for chunk in chunks]
        self._offsets = [chunk.offsets.to_numpy() for chunk in chunks]
        self._chunk_start = np.cumsum([0, *(len(chunk) for chunk in chunks)])
        self.length = np.concatenate([np.diff(o) for o in self._offsets]) if chunks else np.empty(0, np.int32)
        self.records = int(self.record[-1]) + 1 if len(self.record) else 0
        # Rows are sorted by record, view, window, and every record has the same views.
        firsts = np.flatnonzero(self.window == 0)
        of_one = firsts[: len(firsts) // self.records] if self.records else firsts
        pairs = zip(self.strand[of_one].tolist(), self.frame[of_one].tolist(), strict=True)
        self.views = tuple(View(*pair) for pair in pairs) or (FIRST,)
        self.frames = len({view.frame for view in self.views})
        self.first_row = firsts.reshape(self.records, len(self.views))
        self.n_windows = np.diff(np.append(firsts, len(self.record))).reshape(self.records, len(self.views))

    def __len__(self) -> int:
        return len(self.record)

    def ids(self, row: int) -> np.ndarray:
        """Return the token ids (tokens,) of one row, special tokens included."""
        chunk = int(np.searchsorted(self._chunk_start, row, side="right")) - 1
        offsets = self._offsets[chunk]
        local = row - self._chunk_start[chunk]
        return self._values[chunk][offsets[local] : offsets[local + 1]]

    def spans(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return for each token of a row (special tokens included) its first base and its number of bases, (tokens,).

        Bases are counted in the record for rows of the forward strand; special tokens have a width of 0.
        """
        widths = self.widths[self.ids(row)]
        return token_starts(int(self.start[row]), widths), widths

    def numbers_of(self, views: Iterable[View]) -> np.ndarray:
        """Return the numbers of views in this table. Raises ValueError for one that was not made."""
        return np.array([self.views.index(view) for view in views])

    def rows_of(self, records: np.ndarray, *, views: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Return all rows of the given records (of the views with these numbers; None is all), in order."""
        chosen = np.arange(len(self.views)) if views is None else np.asarray(views)
        first = self.first_row[records][:, chosen].ravel()
        count = self.n_windows[records][:, chosen].ravel()
        ends = np.cumsum(count)
        within = np.arange(ends[-1] if ends.size else 0) - np.repeat(ends - count, count)
        return np.repeat(first, count) + within
