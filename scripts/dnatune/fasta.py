"""FASTA files, plain or gzip, read as a stream and cleaned to the letters A, C, G, T, N.

In: the path of a FASTA file. Out: (id, sequence) pairs, and a tally of what the cleaning changed.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from Bio.SeqIO.FastaIO import SimpleFastaParser

from dnatune.errors import UserError

IUPAC = b"RYSWKMBDHV"
GAPS = b"-. \t\r\n\v\f"
PROTEIN_ONLY = b"EFILPQZJOX*"
_TO_DNA = bytes.maketrans(b"U" + IUPAC, b"T" + b"N" * len(IUPAC))
_ALLOWED = b"ACGTNU" + IUPAC + GAPS
_PROTEIN_RECORDS = 100
_ARCHIVES = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "bzip2-compressed",
    b"\xfd7zXZ": "xz-compressed",
    b"\x28\xb5\x2f\xfd": "zstd-compressed",
}


class Letters(NamedTuple):
    """What cleaning found in one sequence besides plain upper-case A, C, G, T, N."""

    lower_case: bool = False
    u: int = 0
    gaps: int = 0
    iupac: str = ""


_PLAIN = Letters()


@dataclass
class Tally:
    """The sum of ``Letters`` over the records of a file; ``bases`` counts letters after cleaning."""

    records: int = 0
    bases: int = 0
    lower_case_records: int = 0
    u_letters: int = 0
    gap_letters: int = 0
    iupac_letters: Counter[str] = field(default_factory=Counter)

    def add(self, letters: Letters) -> None:
        self.lower_case_records += letters.lower_case
        self.u_letters += letters.u
        self.gap_letters += letters.gaps
        self.iupac_letters.update(letters.iupac)


def is_gzip(path: str | Path) -> bool:
    """Say whether a file is gzip, by its first two bytes and not by its name."""
    with open(path, "rb") as handle:
        return handle.read(2) == b"\x1f\x8b"


def read_fasta(path: str | Path) -> Iterator[tuple[str, str]]:
    """Yield (id, sequence as written) of each record; the id is the first word of the header.

    Raises UserError: file missing, empty, not text, not a FASTA, truncated or corrupt gzip, empty id.
    """
    if not Path(path).is_file():
        raise UserError(f"The FASTA file {path} does not exist; correct the path.")
    count = 0
    try:
        with _open_text(path) as handle:
            for title, sequence in SimpleFastaParser(chain([_first_header(path, handle)], handle)):
                count += 1
                words = title.split(None, 1)
                if not words:
                    raise UserError(f"Record {count} of {path} has no id: write a name directly after its '>'.")
                yield words[0], sequence
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not a text file (byte 0x{error.object[error.start]:02x} after record {count}); "
            "expected a FASTA in ASCII or UTF-8, save it as such."
        ) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{path} is a truncated or corrupt gzip file (after record {count}: {error}); copy or download it again."
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None


def clean(sequence: str, record: str = "", path: str | Path = "") -> tuple[str, Letters]:
    """Return the sequence in A, C, G, T, N, and what was changed.

    Upper case; U to T; gaps and blanks removed; the ten other IUPAC letters to N. Raises UserError naming
    ``path``, ``record`` and the letter if anything else occurs, which is protein or no sequence at all.
    """
    try:
        raw = sequence.encode("ascii")
    except UnicodeEncodeError:
        raw = sequence.encode("ascii", "replace")
        _refuse(next(c for c in sequence if ord(c) > 127), False, record, path)
    upper = raw.upper()
    rest = upper.translate(None, b"ACGTN")
    lower = upper != raw
    if not rest:
        return (upper.decode("ascii"), Letters(lower_case=True)) if lower else (sequence, _PLAIN)
    wrong = rest.translate(None, _ALLOWED)
    if wrong:
        # A letter that only proteins have says more than the first wrong one.
        protein = wrong.translate(None, bytes(set(range(256)) - set(PROTEIN_ONLY)))
        _refuse(chr((protein or wrong)[0]), bool(protein), record, path)
    letters = rest.translate(None, GAPS)
    iupac = letters.translate(None, b"U")
    counts = Letters(lower, len(letters) - len(iupac), len(rest) - len(letters), iupac.decode("ascii"))
    return upper.translate(_TO_DNA, GAPS).decode("ascii"), counts


def read_clean(path: str | Path, tally: Tally | None = None) -> Iterator[tuple[str, str]]:
    """Yield (id, cleaned sequence) of each record and count into ``tally``.

    Raises what ``read_fasta`` and ``clean`` raise, and UserError if more than half of the letters of the
    first 100 records are IUPAC letters other than A, C, G, T, U, N: a protein that happens to be legal.
    """
    tally = Tally() if tally is None else tally
    start = (tally.records, tally.bases, tally.iupac_letters.total())
    for record, raw in read_fasta(path):
        sequence, letters = clean(raw, record, path)
        if letters is not _PLAIN:
            tally.add(letters)
        tally.records += 1
        tally.bases += len(sequence)
        if tally.records - start[0] == _PROTEIN_RECORDS:
            _check_nucleotides(path, tally, start)
        yield record, sequence
    if tally.records - start[0] < _PROTEIN_RECORDS:
        _check_nucleotides(path, tally, start)


def _check_nucleotides(path: str | Path, tally: Tally, start: tuple[int, int, int]) -> None:
    bases, iupac = tally.bases - start[1], tally.iupac_letters.total() - start[2]
    if iupac > 0.5 * bases:
        raise UserError(
            f"{path} looks like protein: {iupac} of the first {bases} letters are none of A, C, G, T, U, N; "
            "give nucleotide sequences."
        )


def _refuse(letter: str, protein: bool, record: str, path: str | Path) -> None:
    what = "looks like protein" if protein else "is not a nucleotide sequence"
    raise UserError(
        f"Record '{record}' of {path} {what}: it has the letter '{letter}'; expected A, C, G, T, U, N, IUPAC "
        "letters and gaps only."
    )


def _open_text(path: str | Path) -> io.TextIOWrapper:
    # utf-8-sig drops the byte order mark that Windows editors put in front.
    if is_gzip(path):
        return io.TextIOWrapper(io.BufferedReader(gzip.open(path, "rb"), 1 << 20), encoding="utf-8-sig")
    return open(path, encoding="utf-8-sig", buffering=1 << 20)


def _first_header(path: str | Path, handle: io.TextIOWrapper) -> str:
    """Return the first line that is not blank; the caller goes on reading after it."""
    with open(path, "rb") as raw:
        magic = raw.read(6)
    for start, name in _ARCHIVES.items():
        if magic.startswith(start):
            raise UserError(f"{path} is {name}; unpack it, or compress it with gzip.")
    # A bounded read: a binary file may hold no line end for gigabytes.
    while line := handle.readline(1 << 20):
        if line.strip():
            if line.lstrip().startswith(">"):
                return line.lstrip()
            raise UserError(
                f"{path} is not a FASTA file: it begins with '{_shown(line)}', expected '>' and a name; "
                "give a FASTA file, plain or gzip."
            )
    raise UserError(f"{path} is empty; expected a FASTA file with at least one record.")


def _shown(line: str) -> str:
    text = "".join(c if c.isprintable() else "?" for c in line.strip())
    return text[:20] + ("..." if len(text) > 20 else "")
