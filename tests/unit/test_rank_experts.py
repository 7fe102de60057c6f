"""Experts calibrated at every rank as members of an engine: honest on validation, the same numbers when saved."""

import numpy as np
import pytest
from scipy.special import log_softmax

from dnatune.calibration import parts_of_groups
from dnatune.engine import combine, final_pool
from dnatune.pooling import PRODUCT
from dnatune.rank_experts import BY_RANK, apply, expert_of, fit, with_ranks
from dnatune.scores import Scores
from dnatune.tasks import task
from dnatune.tasks.base import EvaluationSettings
from dnatune.taxonomy import Taxonomy

GENUS = np.array([0, 0, 0, 1, 1, 1])
TREE = Taxonomy(("species", "genus"), (("A", "B"),), (GENUS,))


def drawn(n, seed, within=1.0, between=6.0):
    """Logits that know the genus well and, far too sure of it, guess the species."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, n)
    logits = rng.normal(0, 3, (n, 6))
    logits[np.arange(n), labels] += within
    logits += between * (GENUS[None, :] == GENUS[labels][:, None])
    return logits.astype(np.float32), labels


def loss(log_p, labels):
    return -log_p[np.arange(len(labels)), labels].mean()


def test_a_temperature_for_each_step_is_better_than_one_for_all():
    logits, labels = drawn(400, 0)
    fitted = fit(TREE, logits, labels)
    new, truth = drawn(4000, 1)
    found = apply(TREE, fitted, new).astype(np.float64)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-5)
    plain = log_softmax(new / fitted["temperature"], axis=1)
    assert loss(found, truth) < loss(plain, truth) - 0.05
    # The genus is the surer of the two: species within it are the ones that are cooled down.
    assert fitted["temperature"] * fitted["temperatures"][0] > fitted["temperature"] * fitted["temperatures"][1]


def test_by_hand():
    # Genus 0.8 and 0.2; within the first species 0.7, 0.2, 0.1. Temperature 2 within genera, 1 above.
    p = np.array([[0.56, 0.16, 0.08, 0.1, 0.06, 0.04]])
    found = np.exp(apply(TREE, {"temperature": 1.0, "temperatures": [2.0, 1.0]}, np.log(p).astype(np.float32)))
    inside = np.sqrt([0.7, 0.2, 0.1]) / np.sqrt([0.7, 0.2, 0.1]).sum()
    other = np.sqrt([0.5, 0.3, 0.2]) / np.sqrt([0.5, 0.3, 0.2]).sum()
    np.testing.assert_allclose(found[0], [*(0.8 * inside), *(0.2 * other)], rtol=1e-5)


def test_validation_records_are_judged_by_fits_without_their_group():
    logits, labels = drawn(120, 2)
    groups = np.repeat(np.arange(60), 2)
    rows = np.arange(120)
    tables, steps = with_ranks(TREE, {"a": logits}, rows, labels, groups, 0, 5)
    assert list(tables) == ["a", "a" + BY_RANK] and tables["a"] is logits
    assert expert_of("a" + BY_RANK) == "a" == expert_of("a")
    whole = apply(TREE, steps["a" + BY_RANK], logits)
    assert np.abs(tables["a" + BY_RANK] - whole).max() > 1e-4
    part = parts_of_groups(labels, 0, 5, groups)
    assert (part[::2] == part[1::2]).all()
    for held in range(5):
        inside, outside = part != held, part == held
        fitted = fit(TREE, logits[inside], labels[inside])
        np.testing.assert_allclose(tables["a" + BY_RANK][outside], apply(TREE, fitted, logits[outside]), atol=1e-6)


def test_without_ranks_or_groups_the_experts_are_all():
    logits, labels = drawn(6, 3)
    assert with_ranks(None, {"a": logits}, np.arange(6), labels, np.arange(6), 0, 5)[1] == {}
    assert with_ranks(TREE, {"a": logits}, np.arange(6), labels, np.zeros(6, int), 0, 5)[1] == {}


def experts():
    first, labels = drawn(150, 4)
    second = first + np.random.default_rng(5).normal(0, 2, first.shape).astype(np.float32)
    role = np.array(["validation"] * 100 + ["test"] * 50)
    ids = np.arange(150).astype(str)
    return {name: Scores(ids, role, labels, table, np.arange(150)) for name, table in (("a", first), ("b", second))}


def test_the_engine_asks_every_expert_both_ways_and_is_better_for_it():
    plain, _ = combine(experts(), "engine", 0, 5)
    ranked, about = combine(experts(), "engine", 0, 5, TREE)
    assert list(about["pool"]["members"]) == ["a", "b", "a by rank", "b by rank", PRODUCT]
    assert list(about["by_rank"]) == ["a by rank", "b by rank"]
    test = plain.role == "test"
    assert loss(ranked.logits[test], ranked.label[test]) < loss(plain.logits[test], plain.label[test])
    by_hand = about["validation_log_loss"]["engine"]
    assert loss(ranked.logits[~test], ranked.label[~test]) == pytest.approx(by_hand, abs=1e-6)


def test_a_finished_engine_is_not_calibrated_by_rank_once_more():
    final = final_pool([experts()], "engine", 0, 5, TREE)
    assert list(final.by_rank) == ["a by rank", "b by rank"]
    judging = task("multiclass", {"ranks": ["genus"]}).judging
    calibrator = judging.calibrate(final.validation, EvaluationSettings("auto_simple", taxonomy=TREE))
    assert calibrator["ranks"]["temperatures"] == [1, 1]
    other = judging.calibrate(final.validation, EvaluationSettings("auto", taxonomy=TREE))
    assert other["ranks"]["temperatures"] != [1, 1]
