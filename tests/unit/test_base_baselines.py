"""What the bases around a base say: features against a count by hand, and what can be learned from them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from dnatune.base_baselines import METHODS, OCTAVES, context
from dnatune.baselines import baseline_logits
from dnatune.errors import UserError
from dnatune.per_base import PerBase

SMALL = {"flank": 2, "composition": 3}


def by_hand(sequence, position, flank, reach):
    near = []
    for at in range(position - flank, position + flank + 1):
        letter = sequence[at] if 0 <= at < len(sequence) else "."
        near += [float(letter == known) for known in "ACGT."]
    for distance in (position, len(sequence) - 1 - position):
        near += [float(place == int(2 * np.log2(distance + 1))) for place in range(OCTAVES)]
    triplets = [a + b + c for a in "ACGT" for b in "ACGT" for c in "ACGT"]
    starts = range(max(0, position - reach), min(len(sequence) - 2, position + reach + 1))
    seen = [sequence[start : start + 3] for start in starts if "N" not in sequence[start : start + 3]]
    return near + [64 * seen.count(triplet) / len(seen) - 1 if seen else 0.0 for triplet in triplets]


@pytest.mark.parametrize("sequence", ["ACGTTGCANNACGTACGGATTTACAGA", "NNNNNN", "AC", "A"])
def test_features_against_a_count_by_hand(sequence):
    for positions in (np.arange(len(sequence)), np.arange(len(sequence))[-2:], np.array([len(sequence) // 2])):
        found = context(sequence, positions, SMALL)
        expected = [by_hand(sequence, int(p), 2, 3) for p in positions]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_composition_can_be_left_out():
    assert context("ACGTACGT", np.arange(8), {"flank": 1, "composition": 0}).shape == (8, 3 * 5 + 2 * OCTAVES)


def data(seed=0, n=40):
    """Return sequences in which what follows a TATA is labelled 1 and the rest 0."""
    rng = np.random.default_rng(seed)
    sequences, labels = [], []
    for _ in range(n):
        letters = rng.choice(list("CG"), int(rng.integers(30, 80)))
        truth = np.zeros(len(letters), np.int32)
        for start in range(5, len(letters) - 8, 20):
            letters[start : start + 4] = list("TATA")
            truth[start + 4 : start + 8] = 1
        sequences.append("".join(letters))
        labels.append(truth)
    return sequences, PerBase(np.concatenate(labels), np.array([len(label) for label in labels]))


def run(name, settings=None, seed=0, classes=3):
    sequences, labels = data()
    query, truth = data(seed=1, n=5)
    return baseline_logits(name, METHODS[name], sequences, labels, query, classes, settings, seed), truth, labels


def test_majority_gives_the_frequencies_of_bases():
    logits, truth, labels = run("majority")
    assert logits.shape == (truth.counts.sum(), 3)
    counts = np.bincount(labels.values, minlength=3) + 1
    np.testing.assert_allclose(softmax(logits, axis=1), np.tile(counts / counts.sum(), (len(logits), 1)), rtol=1e-5)


def test_context_finds_what_a_motif_decides():
    settings = {"flank": 10, "epochs": 30}
    logits, truth, _ = run("context_logistic_regression", settings)
    assert logits.shape == (truth.counts.sum(), 3)
    assert (logits[:, :2].argmax(1) == truth.values).mean() > 0.97
    assert (logits.argmax(1) != 2).all()  # no training base has the third label
    again, *_ = run("context_logistic_regression", settings)
    np.testing.assert_array_equal(logits, again)


def test_context_learns_from_a_sample_of_the_bases():
    logits, truth, _ = run("context_logistic_regression", {"train_bases": 600, "flank": 10, "epochs": 60})
    assert (logits.argmax(1) == truth.values).mean() > 0.9
    other, *_ = run("context_logistic_regression", {"train_bases": 600, "flank": 10, "epochs": 60}, seed=1)
    assert not np.array_equal(logits, other)


def test_an_unknown_setting_is_refused():
    with pytest.raises(UserError, match="no setting 'window'"):
        run("context_logistic_regression", {"window": 3})
