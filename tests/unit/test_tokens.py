"""Token rows: every token of every sequence is in a window, every row is found again, nothing is cut in silence."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnatune import tokens
from dnatune.backbones.kmer_tokenizer import KmerTokens
from dnatune.errors import UserError
from dnatune.files import read_json
from dnatune.kmer_encoding import vocabulary
from dnatune.tokens import TokenSettings, TokenTable, window_starts, write_tokens
from dnatune.views import View, all_views

ENCODER = KmerTokens(vocabulary(6), 6, 1000)
RNG = np.random.default_rng(2)
# Lengths around every boundary: below k, one token, exactly one window (9 tokens = 54 bases), many windows.
LENGTHS = [1, 5, 6, 53, 54, 55, 60, 108, 109, 350]
SEQUENCES = ["".join(RNG.choice(list("ACGT"), n)) for n in LENGTHS] + ["N" * 30, "ACGTNNACGTACGTAN", "N"]
SETTINGS = TokenSettings(max_tokens=10, window_overlap=0.25, views=all_views(6))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Batches of four, so that rows spread over several Arrow chunks as they do for large files."""
    monkeypatch.setattr(tokens, "BATCH", 4)


@pytest.fixture
def written(tmp_path):
    """(summary, table) of SEQUENCES on disk."""
    pd.DataFrame({"id": [str(i) for i in range(len(SEQUENCES))], "sequence": SEQUENCES}).to_parquet(
        tmp_path / "r.parquet"
    )
    summary = write_tokens(tmp_path / "r.parquet", tmp_path / "tokens", ENCODER, SETTINGS)
    assert summary == read_json(tmp_path / "tokens" / "tokens.json")
    return summary, TokenTable(tmp_path / "tokens")


def cut(ids, room, overlap):
    """Return the windows of ids."""
    return [ids[start : start + room] for start in window_starts(ids.size, room, overlap)]


@given(st.integers(0, 400), st.integers(1, 60), st.floats(0, 0.9))
def test_windows_cover_all_tokens_and_end_with_the_sequence(size, room, overlap):
    ids = np.arange(size)
    parts = cut(ids, room, overlap)
    assert all(part.size <= room for part in parts)
    assert set(np.concatenate(parts)) == set(ids)
    if size > room:
        assert all(part.size == room for part in parts)
        assert parts[-1][-1] == size - 1
        assert parts[0][0] == 0
    else:
        assert len(parts) == 1
    for before, after in itertools.pairwise(parts):
        assert after[0] > before[0]
        assert before[-1] - after[0] + 1 >= room - max(1, round(room * (1 - overlap)))
        np.testing.assert_array_equal(after, np.arange(after[0], after[-1] + 1))


def test_windows_by_hand():
    parts = cut(np.arange(10), 4, 0.5)
    assert [part.tolist() for part in parts] == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]
    parts = cut(np.arange(9), 4, 0.0)
    assert [part.tolist() for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [5, 6, 7, 8]]


@given(st.integers(0, 400), st.integers(1, 60))
def test_crop_keeps_the_start(size, room):
    (part,) = cut(np.arange(size), room, None)
    np.testing.assert_array_equal(part, np.arange(min(size, room)))


def test_every_row_holds_the_ids_of_its_record_frame_and_window(written):
    _, table = written
    assert (table.records, table.frames) == (len(SEQUENCES), 6)
    for record, sequence in enumerate(SEQUENCES):
        for frame in range(6):
            parts = cut(ENCODER.encode([sequence], frame)[0], 9, 0.25)
            first = table.first_row[record, frame]
            assert table.n_windows[record, frame] == len(parts)
            for window, part in enumerate(parts):
                row = first + window
                assert (table.record[row], table.frame[row], table.window[row]) == (record, frame, window)
                assert table.ids(row).tolist() == [3, *part.tolist()]
                assert table.length[row] == part.size + 1
    assert len(table) == table.n_windows.sum()


def test_no_row_is_longer_than_asked(written):
    assert written[1].length.max() == 10


def test_rows_of_gives_the_rows_of_the_records_in_their_order(written):
    _, table = written
    wanted = np.array([9, 0, 11])
    every = np.concatenate([np.flatnonzero(table.record == r) for r in wanted])
    np.testing.assert_array_equal(table.rows_of(wanted), every)
    two = np.concatenate([np.flatnonzero((table.record == r) & np.isin(table.frame, [1, 4])) for r in wanted])
    np.testing.assert_array_equal(table.rows_of(wanted, views=[1, 4]), two)
    assert table.rows_of(np.array([], dtype=np.int64)).size == 0


def test_summary_counts_what_is_there(written):
    summary, table = written
    assert (summary["records"], summary["rows"]) == (len(SEQUENCES), len(table))
    assert summary["tokens"] == table.length.sum()
    assert (summary["longest"], summary["pad_id"], summary["context"]) == (10, 1, 1000)
    # 9 tokens fit beside <cls>: 55 bases are 9 six-mers and a left-over, "N" * 30 is 30 tokens.
    token_counts = [sum(divmod(n, 6)) for n in LENGTHS] + [30, 14, 1]
    assert summary["longer_than_one_window"] == sum(n > 9 for n in token_counts)


def test_crop_says_how_many_it_cut(tmp_path):
    pd.DataFrame({"sequence": SEQUENCES}).to_parquet(tmp_path / "r.parquet")
    summary = write_tokens(tmp_path / "r.parquet", tmp_path / "t", ENCODER, TokenSettings(10, None, all_views(1)))
    table = TokenTable(tmp_path / "t")
    assert summary["long_sequences"] == "crop"
    assert summary["longer_than_one_window"] == np.sum([sum(divmod(n, 6)) > 9 for n in LENGTHS]) + 2
    assert (table.n_windows == 1).all()
    assert table.ids(9).tolist() == [3, *ENCODER.encode([SEQUENCES[9]], 0)[0][:9].tolist()]


def test_table_in_memory_equals_the_table_on_disk(written):
    memory = TokenTable.of_sequences(SEQUENCES, ENCODER, SETTINGS)
    disk = written[1]
    np.testing.assert_array_equal(memory.n_windows, disk.n_windows)
    for row in range(len(disk)):
        np.testing.assert_array_equal(memory.ids(row), disk.ids(row))


def test_rows_of_the_reverse_strand_hold_the_reverse_complement(tmp_path):
    sequences = ["AACCGTN", "ACGTACGTACGTT"]
    pd.DataFrame({"sequence": sequences}).to_parquet(tmp_path / "r.parquet")
    settings = TokenSettings(10, 0.25, (View(0, 0), View(1, 0), View(1, 2)))
    summary = write_tokens(tmp_path / "r.parquet", tmp_path / "t", ENCODER, settings)
    table = TokenTable(tmp_path / "t")
    assert (summary["frames"], summary["strands"], summary["rows"]) == (2, 2, 6)
    assert table.views == settings.views
    ids = {token: i for i, token in enumerate(vocabulary(6))}
    expected = [
        ["AACCGT", "N"],
        ["N", "ACGGTT"],
        ["C", "G", "G", "T", "T"],  # N and A are left out
        ["ACGTAC", "GTACGT", "T"],
        ["AACGTA", "CGTACG", "T"],  # AACGTACGTACGT
        ["CGTACG", "T", "A", "C", "G", "T"],
    ]
    assert [table.ids(row).tolist()[1:] for row in range(6)] == [[ids[token] for token in row] for row in expected]
    assert table.strand.tolist() == [0, 1, 1] * 2
    assert table.frame.tolist() == [0, 0, 2] * 2
    assert table.numbers_of([View(1, 2), View(0, 0)]).tolist() == [2, 0]


def test_spans_say_which_bases_a_token_stands_for(written):
    """Every token of every forward row is spelled by the bases it points at."""
    _, table = written
    names = np.array(vocabulary(6))
    for row in range(len(table)):
        starts, widths = table.spans(row)
        sequence = SEQUENCES[table.record[row]]
        spelled = [sequence[start : start + width] for start, width in zip(starts, widths, strict=True)]
        assert spelled == ["", *names[table.ids(row)[1:]]]
        assert table.start[row] == starts[0]
    for record in range(table.records):  # each base of the first view is in a window
        covered = set()
        for row in table.rows_of(np.array([record]), views=[0]):
            covered.update(base for s, w in zip(*table.spans(row), strict=True) for base in range(s, s + w))
        assert covered == set(range(len(SEQUENCES[record])))


def test_spans_of_windows_by_hand():
    # Frame 1, windows of 3 tokens, each half of the one before: CCCCCC | N | GTACGT and N | GTACGT | A.
    table = TokenTable.of_sequences(["ACCCCCCNGTACGTA"], ENCODER, TokenSettings(4, 0.5, all_views(2)))
    rows = table.rows_of(np.array([0]), views=[1])
    found = [[part.tolist() for part in table.spans(row)] for row in rows]
    assert found == [[[1, 1, 7, 8], [0, 6, 1, 6]], [[7, 7, 8, 14], [0, 1, 6, 1]]]


def test_table_of_nothing():
    table = TokenTable.of_sequences([], ENCODER, SETTINGS)
    assert (len(table), table.records) == (0, 0)


def test_a_sequence_of_nothing_is_one_row_of_special_tokens():
    table = TokenTable.of_sequences(["", "ACGTACGT"], ENCODER, SETTINGS)
    assert table.ids(table.first_row[0, 0]).tolist() == [3]
    assert table.n_windows[0].tolist() == [1] * 6


@pytest.mark.parametrize("size", [4105, 70_000])
def test_ids_of_large_vocabularies_are_not_wrapped(size):
    class Wide:
        prefix, suffix, pad_id, vocabulary_size, frames, context = [1], [2], 0, size, 1, 50
        widths = np.zeros(size, dtype=np.int16)

        def encode(self, sequences, frame):
            return [np.array([size - 1] * 3, dtype=np.int32) for _ in sequences]

    table = TokenTable.of_sequences(["ACGT"], Wide(), TokenSettings(20, 0.25, all_views(1)))
    assert table.ids(0).tolist() == [1, size - 1, size - 1, size - 1, 2]


TOKENS = {
    "max_tokens": None,
    "long_sequences": "windows",
    "window_overlap": 0.25,
    "random_frame": None,
    "average_frames": None,
    "random_strand": False,
    "average_strands": None,
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, TokenSettings(1000, 0.25, all_views(6))),
        ({"max_tokens": 100}, TokenSettings(100, 0.25, all_views(6))),
        ({"long_sequences": "crop"}, TokenSettings(1000, None, all_views(6))),
        ({"random_frame": False}, TokenSettings(1000, 0.25, all_views(6))),
        ({"random_frame": False, "average_frames": False}, TokenSettings(1000, 0.25, all_views(1))),
        ({"random_strand": True}, TokenSettings(1000, 0.25, all_views(6, 2))),
    ],
)
def test_settings_of_the_configuration(changes, expected):
    assert TokenSettings.of({**TOKENS, **changes}, ENCODER) == expected


def test_more_tokens_than_the_context_are_refused():
    with pytest.raises(UserError, match=r"max_tokens.*1001.*1000"):
        TokenSettings.of({**TOKENS, "max_tokens": 1001}, ENCODER)
