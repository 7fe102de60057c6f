"""Tables of a user (csv, tsv, parquet; gzip too), read as text and checked.

In: a path and the columns wanted. Out: a pyarrow table of text columns, or ids with a matrix of numbers.
Nothing is guessed: 'NA' is a name, '007' keeps its zeros, an empty cell is empty text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from dnatune.errors import UserError, first_ten, nearest
from dnatune.fasta import is_gzip

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
_PARQUET = {".parquet", ".pq"}
# A line longer than a block is an error in Arrow; vectors make long lines.
_BLOCK_BYTES = 1 << 24


def read_table(path: str | Path, columns: Sequence[str], role: str = "table") -> pa.Table:
    """Return the named columns of a table as text, blanks around each cell removed, missing cells empty.

    The format follows the suffix: .csv; .tsv, .tab, .txt (tabs); .parquet, .pq; text may be gzip (.gz).
    Raises UserError: file missing or unreadable, unknown suffix, ragged rows, no rows, a column missing or
    there twice.
    """
    columns = list(dict.fromkeys(columns))
    check_columns(path, columns, column_names(path, role))
    table = _read(path, columns)
    if table.num_rows == 0:
        raise UserError(f"The {role} {path} has no rows; expected one row per sequence.")
    return pa.table({name: _text(table[name]) for name in columns})


def read_numbers(path: str | Path, id_column: str, role: str = "table") -> tuple[pa.Array, np.ndarray, list[str]]:
    """Return (ids, matrix (n, columns) float32, column names) of a table of an id and numbers.

    Raises UserError as ``read_table``, and for a cell that is no finite number (file, row, id, column).
    """
    found = column_names(path, role)
    check_columns(path, [id_column], found)
    names = [name for name in found if name != id_column]
    if not names:
        raise UserError(f"The {role} {path} has only the column '{id_column}'; expected numbers beside it.")
    check_columns(path, names, found)
    table = _read(path, [id_column, *names])
    if table.num_rows == 0:
        raise UserError(f"The {role} {path} has no rows; expected one row per sequence.")
    ids = _text(table[id_column])
    matrix = np.empty((table.num_rows, len(names)), np.float32)
    for j, name in enumerate(names):
        values = pd.to_numeric(table[name].to_pandas(), errors="coerce").to_numpy(np.float64, na_value=np.nan)
        with np.errstate(over="ignore"):
            matrix[:, j] = values
        bad = np.flatnonzero(~np.isfinite(matrix[:, j]))
        if len(bad):
            raise UserError(
                f"The {role} {path} has no number in column '{name}' for id '{ids[bad[0]]}' "
                f"(row {bad[0] + 1}): found '{table[name][bad[0]].as_py()}'; every cell must be a "
                "finite number."
            )
    return ids, matrix, names


def check_columns(path: str | Path, wanted: Sequence[str], found: Sequence[str]) -> None:
    """Raise UserError unless each wanted column is in the table exactly once."""
    for name in wanted:
        if name not in found:
            if len(found) == 1 and ";" in found[0]:
                raise UserError(f"{path} is separated by semicolons; save it with commas (csv) or tabs (tsv).")
            raise UserError(
                f"{path} has no column '{name}'{nearest(name, found)}; it has: {', '.join(found)}; "
                "correct the table or data.columns in the configuration."
            )
        if list(found).count(name) > 1:
            raise UserError(f"{path} has the column '{name}' twice; rename or remove one of them.")


def select_rows(table: pa.Table, select: Mapping[str, Sequence[object]], path: str | Path) -> np.ndarray:
    """Return the mask (rows,) of the rows whose cells are among the values of every selecting column.

    Values are compared as text. Raises UserError for a value that occurs nowhere, or if no row is left.
    """
    mask = np.ones(table.num_rows, bool)
    for column, values in select.items():
        wanted = [str(v) for v in ([values] if isinstance(values, (str, int, float)) else values)]
        present = pc.unique(table[column]).to_pylist()
        for value in wanted:
            if value not in present:
                raise UserError(
                    f"data.select asks for '{value}' in column '{column}' of {path}, which never occurs there"
                    f"{nearest(value, present)}; found: {first_ten(sorted(present))}."
                )
        mask &= pc.is_in(table[column], value_set=pa.array(wanted, pa.string())).to_numpy()
    if not mask.any():
        raise UserError(f"data.select leaves no row of {path}; widen the values it lists.")
    return mask


def repeated(ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return the mask (n,) of the ids that have occurred before, the first of each excepted."""
    return pd.Series(ids.to_pandas()).duplicated().to_numpy()


def positions(ids: pa.Array | pa.ChunkedArray, among: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return the position (n,) int64 of each id in ``among`` (without repeats), -1 where it is missing."""
    if isinstance(among, pa.ChunkedArray):
        among = among.combine_chunks()
    found = pc.index_in(ids, value_set=among)
    return pc.fill_null(found, -1).to_numpy().astype(np.int64)


def column_names(path: str | Path, role: str = "table") -> list[str]:
    """Return the column names. Raises UserError: file missing, empty, unreadable, unknown suffix."""
    if not Path(path).is_file():
        raise UserError(f"The {role} {path} does not exist; correct the path.")
    if Path(path).stat().st_size == 0:
        raise UserError(f"The {role} {path} is empty; expected a header line and one row per sequence.")
    try:
        if _suffix(path) in _PARQUET:
            return pq.read_schema(path).names
        with _stream(path) as stream:
            # One row is enough; types are of no interest here.
            head = pa_csv.open_csv(stream, parse_options=_parse_options(path))
            return [name.strip() for name in head.schema.names]
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None


def _read(path: str | Path, columns: list[str]) -> pa.Table:
    try:
        if _suffix(path) in _PARQUET:
            return pq.read_table(path, columns=columns)
        with _stream(path) as stream:
            # Names are given again because blanks around them were removed.
            return pa_csv.read_csv(
                stream,
                read_options=pa_csv.ReadOptions(block_size=_BLOCK_BYTES, column_names=column_names(path), skip_rows=1),
                parse_options=_parse_options(path),
                convert_options=pa_csv.ConvertOptions(
                    include_columns=columns,
                    column_types=dict.fromkeys(columns, pa.string()),
                    strings_can_be_null=False,
                ),
            )
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None


def _text(column: pa.ChunkedArray) -> pa.Array:
    if not pa.types.is_string(column.type):
        column = pc.cast(column, pa.string())
    column = pc.utf8_trim_whitespace(pc.fill_null(column, ""))
    return column.combine_chunks()


def _suffix(path: str | Path) -> str:
    path = Path(path)
    suffix = Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if suffix not in _DELIMITERS and suffix not in _PARQUET:
        raise UserError(f"{path} has the unknown ending '{suffix}'; expected .csv, .tsv or .parquet (.csv.gz, ...).")
    return suffix


def _stream(path: str | Path) -> pa.NativeFile:
    return pa.input_stream(str(path), compression="gzip" if is_gzip(path) else None)


def _parse_options(path: str | Path) -> pa_csv.ParseOptions:
    return pa_csv.ParseOptions(delimiter=_DELIMITERS[_suffix(path)], newlines_in_values=True)


def _unreadable(path: str | Path, error: Exception) -> UserError:
    reason = str(error).strip().splitlines()[0].removeprefix("CSV parse error: ").rstrip(".")
    return UserError(f"{path} cannot be read as a table: {reason}; correct or replace the file.")
