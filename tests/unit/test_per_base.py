"""Values per base: any choice of records, in any order, has the values of just these records."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dnatune.per_base import PerBase, as_bytes

RECORDS = st.lists(st.lists(st.integers(0, 9), max_size=7), min_size=1, max_size=12)


def made(records):
    values = np.array([value for record in records for value in record], dtype=np.int64)
    return PerBase(values, np.array([len(record) for record in records], dtype=np.int64))


@given(RECORDS, st.data())
def test_chosen_records_are_those_of_a_list_of_lists(records, data):
    chosen = data.draw(st.lists(st.integers(0, len(records) - 1), max_size=15))
    part = made(records)[np.array(chosen, dtype=np.int64)]
    assert len(part) == len(chosen)
    assert [part.of(i).tolist() for i in range(len(chosen))] == [records[i] for i in chosen]
    assert part.values.tolist() == [value for i in chosen for value in records[i]]


@given(RECORDS, st.data())
def test_a_choice_of_a_choice(records, data):
    first = data.draw(st.permutations(range(len(records))))
    second = data.draw(st.lists(st.integers(0, len(records) - 1), max_size=8))
    twice = made(records)[np.array(first)][np.array(second, dtype=np.int64)]
    once = made(records)[np.array([first[i] for i in second], dtype=np.int64)]
    assert as_bytes(twice) == as_bytes(once)


@given(RECORDS)
def test_positions_of_all_records_are_all_positions(records):
    whole = made(records)
    assert whole.positions(np.arange(len(records))).tolist() == list(range(len(whole.values)))
    assert [whole.starts[i] for i in range(len(records))] == [sum(map(len, records[:i])) for i in range(len(records))]


@given(RECORDS, RECORDS)
def test_the_fingerprint_is_that_of_values_and_lengths(one, two):
    assert (as_bytes(made(one)) == as_bytes(made(two))) == (one == two)


def test_a_choice_by_truth_values():
    whole = made([[1, 2], [3], [], [4, 5, 6]])
    part = whole[np.flatnonzero([True, False, True, True])]
    assert (part.values.tolist(), part.counts.tolist()) == ([1, 2, 4, 5, 6], [2, 0, 3])


def test_the_fingerprint_of_an_array_does_not_depend_on_its_layout():
    table = np.arange(6).reshape(2, 3)
    assert as_bytes(table) == as_bytes(np.asfortranarray(table)) != as_bytes(table[::-1])
