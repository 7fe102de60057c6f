"""Which strands and frames are read in training and at prediction, for every combination of the four keys."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnatune.views import View, needed_views, prediction_views, reverse_complement, training_views

FORWARD = [View(0, frame) for frame in range(3)]
BOTH = [*FORWARD, *(View(1, frame) for frame in range(3))]
FIRST = [View(0, 0)]
FIRST_OF_BOTH = [View(0, 0), View(1, 0)]


def tokens(random_frame=None, average_frames=None, random_strand=False, average_strands=None):
    return {
        "random_frame": random_frame,
        "average_frames": average_frames,
        "random_strand": random_strand,
        "average_strands": average_strands,
    }


@pytest.mark.parametrize(
    ("random_frame", "random_strand", "expected"),
    [
        (None, False, FORWARD),
        (True, False, FORWARD),
        (True, True, BOTH),
        (False, False, FIRST),
        (False, True, FIRST_OF_BOTH),
    ],
)
def test_training_draws_from(random_frame, random_strand, expected):
    assert list(training_views(tokens(random_frame, random_strand=random_strand), 3)) == expected


@pytest.mark.parametrize(
    ("average_frames", "random_strand", "average_strands", "expected"),
    [
        (None, False, None, FORWARD),
        (None, True, None, BOTH),
        (None, True, False, FORWARD),
        (None, False, True, BOTH),
        (False, False, None, FIRST),
        (False, True, None, FIRST_OF_BOTH),
        (False, True, False, FIRST),
        (False, False, True, FIRST_OF_BOTH),
    ],
)
def test_prediction_averages_over(average_frames, random_strand, average_strands, expected):
    found = prediction_views(tokens(None, average_frames, random_strand, average_strands), 3)
    assert list(found) == expected


def test_only_the_views_that_a_step_reads_are_made():
    for values in itertools.product([None, True, False], [None, True, False], [True, False], [None, True, False]):
        settings = tokens(*values)
        found = needed_views(settings, 3)
        assert set(found) == {*training_views(settings, 3), *prediction_views(settings, 3)}
        assert found[0] == View(0, 0)
        assert list(found) == sorted(set(found))


def test_frames_of_training_and_strands_of_prediction_do_not_multiply():
    found = needed_views(tokens(True, False, False, True), 3)
    assert list(found) == [*FORWARD, View(1, 0)]


def test_models_saved_before_there_were_strands_read_forward():
    assert list(prediction_views({"random_frame": None, "average_frames": None}, 3)) == FORWARD


def test_reverse_complement_by_hand():
    assert reverse_complement("AACGTN") == "NACGTT"
    assert reverse_complement("") == ""


@given(st.text(alphabet="ACGTN", max_size=50))
def test_reverse_complement_twice_is_the_sequence(sequence):
    assert reverse_complement(reverse_complement(sequence)) == sequence
