"""Reading and cleaning FASTA: what a user's file may hold, and what is refused with one sentence."""

import gzip
import io

import pytest
from Bio import SeqIO
from hypothesis import given
from hypothesis import strategies as st

from dnatune.errors import UserError
from dnatune.fasta import Tally, clean, read_clean, read_fasta

TEXT = ">a first one\nACGT\nACG\n\n>b\nTTTT\n>c\n\n"


@pytest.fixture
def write(tmp_path):
    def make(content, name="x.fasta"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def test_plain_and_gzip_agree_with_biopython(write):
    expected = [(r.id, str(r.seq)) for r in SeqIO.parse(io.StringIO(TEXT), "fasta")]
    assert list(read_fasta(write(TEXT))) == expected
    # gzip is known by its bytes: the name says nothing here.
    assert list(read_fasta(write(gzip.compress(TEXT.encode()), "zipped.fasta"))) == expected


@pytest.mark.parametrize("start", ["\n\n", "\ufeff", "  \r\n"])
def test_blank_lines_and_byte_order_mark_before_the_first_record(write, start):
    assert next(read_fasta(write(start + TEXT))) == ("a", "ACGTACG")


def test_windows_line_ends(write):
    assert list(read_fasta(write(TEXT.replace("\n", "\r\n")))) == list(read_fasta(write(TEXT, "y.fasta")))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"id,label\na,b\n", "not a FASTA"),
        (b"PK\x03\x04abc", "zip archive"),
        (b">a\nACGT\n>\nACGT\n", "Record 2 .* has no id"),
        (b">a\nACGT\n>b\n\xff\xfe\x00\n", "not a text file"),
        (gzip.compress(TEXT.encode() * 500, mtime=0)[:-20], "truncated or corrupt gzip"),
        (gzip.compress(b"", mtime=0)[:-2], "truncated or corrupt gzip"),
    ],
)
def test_files_that_are_refused(write, content, expected):
    path = write(content)
    with pytest.raises(UserError, match=expected) as caught:
        list(read_fasta(path))
    assert str(path) in str(caught.value)


def test_missing_file():
    with pytest.raises(UserError, match=r"nowhere\.fasta does not exist"):
        list(read_fasta("nowhere.fasta"))


def test_clean_by_hand():
    sequence, letters = clean("acgu-RYn. nT")
    assert sequence == "ACGTNNNNT"
    assert letters == (True, 1, 3, "RY")


@given(st.text(alphabet="ACGTUNRYSWKMBDHVacgtunryswkmbdhv-. ", max_size=60))
def test_clean_against_a_letter_by_letter_definition(text):
    letter = {**dict.fromkeys("RYSWKMBDHVN", "N"), "U": "T", **{c: c for c in "ACGT"}}
    expected = "".join(letter.get(c.upper(), "") for c in text)
    sequence, letters = clean(text)
    assert sequence == expected
    assert letters.lower_case == (text != text.upper())
    assert letters.u == text.upper().count("U")
    assert letters.gaps == sum(text.count(c) for c in "-. ")
    assert sorted(letters.iupac) == sorted(c for c in text.upper() if c in "RYSWKMBDHV")


@pytest.mark.parametrize("text", ["ACGTE", "acgtf", "MKVLAAGIV*", "ACGTJ"])
def test_protein_letters_name_the_record_and_the_letter(text):
    with pytest.raises(UserError, match=r"Record 'p1' of x\.fa looks like protein: it has the letter '[EFJL]'"):
        clean(text, "p1", "x.fa")


@pytest.mark.parametrize("text", ["ACGT7", "ACGTé", "AC\x00GT"])
def test_garbage_letters(text):
    with pytest.raises(UserError, match="not a nucleotide sequence"):
        clean(text, "p1", "x.fa")


def test_protein_made_of_legal_letters_is_seen_even_in_a_short_file(write):
    with pytest.raises(UserError, match="looks like protein: 12 of the first 16 letters"):
        list(read_clean(write(">a\nMKVSDHRWACGTMKVS\n")))
    path = write(">a\nRYRYACGTACGT\n", "dna.fasta")
    assert list(read_clean(path)) == [("a", "NNNNACGTACGT")]


def test_tally_counts_records_and_letters(write):
    tally = Tally()
    assert list(read_clean(write(">a\nacgu\n>b\nAC-RR\n>c\nACGT\n"), tally)) == [
        ("a", "ACGT"),
        ("b", "ACNN"),
        ("c", "ACGT"),
    ]
    assert (tally.records, tally.bases, tally.lower_case_records) == (3, 12, 1)
    assert (tally.u_letters, tally.gap_letters, dict(tally.iupac_letters)) == (1, 1, {"R": 2})
