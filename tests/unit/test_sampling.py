"""The order of training: every record once per epoch, similar lengths together, a function of seed and epoch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnatune.backbones.kmer_tokenizer import KmerTokens
from dnatune.kmer_encoding import vocabulary
from dnatune.sampling import LengthGroupedBatches, TrainingRecords, balancing_weights, stratified_sample
from dnatune.tokens import TokenSettings, TokenTable
from dnatune.views import all_views

RNG = np.random.default_rng(4)
LENGTHS = RNG.integers(10, 500, 1003)


def batches(seed=0, epoch=0, lengths=LENGTHS, size=8, weights=None):
    sampler = LengthGroupedBatches(lengths, size, seed, weights)
    sampler.set_epoch(epoch)
    return list(sampler)


@given(st.integers(1, 300), st.integers(1, 20), st.integers(0, 5))
def test_every_record_exactly_once_per_epoch(n, size, epoch):
    lengths = RNG.integers(1, 50, n)
    found = batches(epoch=epoch, lengths=lengths, size=size)
    assert sorted(i for batch in found for i in batch) == list(range(n))
    assert len(found) == len(LengthGroupedBatches(lengths, size, 0))
    assert max(map(len, found)) <= size


def test_same_seed_and_epoch_same_batches():
    assert batches(1, 2) == batches(1, 2)
    assert batches(1, 2) != batches(1, 3)
    assert batches(1, 2) != batches(2, 2)


def test_batches_are_of_similar_length_but_in_random_order():
    def padding(order):
        return sum(LENGTHS[b].max() * len(b) for b in order) / LENGTHS.sum()

    shuffled = RNG.permutation(len(LENGTHS))
    plain = padding([shuffled[i : i + 8] for i in range(0, len(LENGTHS), 8)])
    found = batches()
    assert plain > 1.5
    assert padding(found) < 1.1
    longest = [LENGTHS[b].max() for b in found]
    assert abs(np.corrcoef(np.arange(len(longest)), longest)[0, 1]) < 0.3


def test_balanced_sampling_draws_every_class_equally_often():
    class_ids = np.repeat([0, 1, 2, 3], [900, 80, 20, 3])
    drawn = np.concatenate(
        [class_ids[b] for epoch in range(20) for b in batches(0, epoch, weights=balancing_weights(class_ids))]
    )
    shares = np.bincount(drawn) / len(drawn)
    assert len(drawn) == 20 * len(class_ids)
    np.testing.assert_allclose(shares, 0.25, atol=0.02)


def test_balancing_weights_where_a_class_is_missing_in_this_fold():
    with np.errstate(all="raise"):
        weights = balancing_weights(np.array([0, 0, 0, 2]))
    np.testing.assert_allclose(weights / weights.sum(), [1 / 6, 1 / 6, 1 / 6, 1 / 2])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=300), st.integers(1, 200), st.integers(0, 3))
def test_a_stratified_sample_has_the_shares_of_the_whole(labels, size, seed):
    labels = np.array(labels)
    picked = stratified_sample(labels, size, seed)
    assert len(set(picked)) == len(picked) == min(size, len(labels))
    assert (np.diff(picked) > 0).all()
    expected = np.bincount(labels, minlength=5) * len(picked) / len(labels)
    assert np.abs(np.bincount(labels[picked], minlength=5) - expected).max() < 1 + 1e-9


def test_a_stratified_sample_is_fixed_by_its_seed():
    labels = RNG.integers(0, 5, 400)
    np.testing.assert_array_equal(stratified_sample(labels, 50, 1), stratified_sample(labels, 50, 1))
    assert (stratified_sample(labels, 50, 1) != stratified_sample(labels, 50, 2)).any()


@pytest.fixture(scope="module")
def table():
    sequences = ["".join(RNG.choice(list("ACGT"), n)) for n in (60, 200, 61, 400)]
    return TokenTable.of_sequences(
        sequences, KmerTokens(vocabulary(6), 6, 1000), TokenSettings(20, 0.25, all_views(6, 2))
    )


def drawn(table, epochs, views=range(6), seed=0):
    records = TrainingRecords(table, np.array([3, 0, 1]), np.array([7, 8, 9]), np.array(views), seed)
    for epoch in epochs:
        records.set_epoch(epoch)
        yield [records[i] for i in range(3)]


def test_items_are_rows_of_their_record_with_its_label(table):
    for items in drawn(table, range(30)):
        assert [(table.record[row], label) for row, label in items] == [(3, 7), (0, 8), (1, 9)]


def test_all_frames_and_windows_come_up(table):
    rows = np.array([items[0][0] for items in drawn(table, range(400))])
    assert set(table.frame[rows]) == set(range(6))
    assert set(table.strand[rows]) == {0}
    assert set(rows) == set(table.rows_of(np.array([3]), views=range(6)))


def test_without_random_frame_only_windows_change(table):
    rows = np.array([items for items in drawn(table, range(40), views=[0])])[:, :, 0]
    assert (table.frame[rows] == 0).all()
    assert set(rows[:, 0]) == set(table.rows_of(np.array([3]), views=[0]))


@pytest.mark.parametrize(("frames", "views"), [(5, (0, 5)), (6, (0, 6)), (1, (0, 1)), (5, tuple(range(10)))])
def test_strands_and_frames_come_up_equally_often(frames, views):
    sequences = ["".join(RNG.choice(list("ACGT"), 60)) for _ in range(3000)]
    settings = TokenSettings(100, 0.25, all_views(frames, 2))
    table = TokenTable.of_sequences(sequences, KmerTokens(vocabulary(5), 5, 1000), settings)
    records = TrainingRecords(table, np.arange(3000), np.zeros(3000, dtype=int), np.array(views), 0)
    found = np.bincount(records.rows - table.first_row[:, 0], minlength=len(table.views))
    assert (found[[i for i in range(len(found)) if i not in views]] == 0).all()
    np.testing.assert_allclose(found[list(views)] / 3000, 1 / len(views), atol=0.04)


def test_the_windows_drawn_do_not_depend_on_whether_frames_are(table):
    """Recorded before there were strands: seed 0, epoch 1, record 3 with its windows at frame 0."""
    rng = np.random.default_rng([0, 1, 1])
    rng.integers(6, size=3)  # the frames, whether they are used or not
    window = (rng.random(3) * table.n_windows[[3, 0, 1], 0]).astype(int)
    items = next(drawn(table, [1], views=[0]))
    assert [row for row, _ in items] == (table.first_row[[3, 0, 1], 0] + window).tolist()


def test_rows_are_a_function_of_seed_and_epoch(table):
    assert list(drawn(table, range(5))) == list(drawn(table, range(5)))
    assert next(drawn(table, [4])) == list(drawn(table, range(5)))[-1]
    assert list(drawn(table, range(5))) != list(drawn(table, range(5), seed=1))
