"""Pools of experts: probabilities, what a fit minimises, what it may cost, and records judged by others' weights."""

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize
from scipy.special import log_softmax, softmax

from dnatune import pooling
from dnatune.calibration import METHODS, parts_of_groups
from dnatune.engine import agree, combine, predictor
from dnatune.errors import UserError
from dnatune.pooling import Objective, Pool, cross_fit, excess_bound, fit_pool
from dnatune.scores import Scores

RNG = np.random.default_rng(0)


def experts(n, classes, strengths, seed=0):
    """Return class ids and one table of logits for each expert, the truth raised by its strength on average."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    tables = []
    for strength in strengths:
        table = rng.normal(size=(n, classes)).astype(np.float32)
        table[np.arange(n), labels] += rng.normal(strength, abs(strength) / 2, n)
        tables.append(table)
    return labels, tables


def loss(log_p, labels):
    return -log_p[np.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_pooled_probabilities_add_up_to_one_whatever_the_logits(count):
    labels, tables = experts(60, 9, [2, 3, 1][:count])
    tables[0][:, 4] = -np.inf  # a class that the expert was not trained on
    tables[-1][5] = 0.0  # ties all over
    tables[-1][6] *= 1e4
    labels[labels == 4] = 3
    pool = fit_pool([f"e{i}" for i in range(count)], tables, labels, np.arange(60))
    log_p = pool.log_probabilities(tables)
    assert np.isfinite(log_p).all()
    np.testing.assert_allclose(np.exp(log_p.astype(float)).sum(axis=1), 1, atol=1e-5)
    assert sum(pool.weights) == pytest.approx(1)
    assert len(pool.members) == count + (count > 1)


def test_a_pool_is_the_formula_of_its_numbers():
    _, (a, b) = experts(7, 5, [2, 1])
    pool = Pool(("a", "b", "product"), (0.5, 0.3, 0.2), (2.0, 0.5, 1.5), (1.2, 0.8))
    product = log_softmax(a / 1.2, axis=1) + log_softmax(b / 0.8, axis=1)
    by_hand = 0.5 * softmax(a / 2, axis=1) + 0.3 * softmax(b / 0.5, axis=1) + 0.2 * softmax(product / 1.5, axis=1)
    np.testing.assert_allclose(np.exp(pool.log_probabilities([a, b])), by_hand, rtol=1e-4)
    assert Pool.from_json(pool.to_json()) == pool


def test_what_a_record_adds_to_the_objective_is_exact_whatever_the_spread_of_its_logits():
    rng = np.random.default_rng(2)
    table = pooling.lowered((rng.normal(size=(40, 30)) * np.geomspace(0.1, 400, 40)[:, None]).astype(np.float32))
    labels = rng.integers(0, 30, 40)
    for temperature in (0.2, 1.0, 30.0):
        z = (table * np.float32(1 / temperature)).astype(np.float64)
        log_p, own = log_softmax(z, axis=1), z[np.arange(40), labels]
        found, slope = pooling._truth(table, labels, temperature)
        np.testing.assert_allclose(found, log_p[np.arange(40), labels], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(slope, (np.exp(log_p) * z).sum(axis=1) - own, rtol=1e-5, atol=1e-5)


def test_equal_experts_give_a_pool_that_ranks_as_they_do():
    labels, (table,) = experts(80, 6, [2])
    pool = fit_pool(["a", "b"], [table, table], labels, np.arange(80))
    np.testing.assert_array_equal(pool.log_probabilities([table, table]).argsort(axis=1), table.argsort(axis=1))


def test_without_validation_records_experts_weigh_the_same():
    _, tables = experts(10, 4, [1, 2])
    nothing = np.zeros(0, dtype=np.int64)
    pool = fit_pool(["a", "b"], [table[:0] for table in tables], nothing, nothing)
    assert pool.weights == (0.5, 0.5, 0.0)
    mean = (softmax(tables[0], axis=1) + softmax(tables[1], axis=1)) / 2
    np.testing.assert_allclose(np.exp(pool.log_probabilities(tables)), mean, rtol=1e-4)
    found = cross_fit(["a", "b"], [table[:0] for table in tables], nothing, nothing, 0, 5, "engine")
    assert found.losses == {} and found.log_probabilities.shape == (0, 4)


def test_the_fit_is_the_minimum_that_scipy_finds_without_our_gradient():
    labels, tables = experts(50, 6, [2, 1])
    names, groups = ["a", "b"], np.arange(50)
    pool = fit_pool(names, tables, labels, groups)
    assert pool.alone[0] == pytest.approx(METHODS["temperature"].fit(tables[0], labels)["temperature"], rel=1e-3)
    best = names.index(pool.best)
    product = sum(log_softmax(t.astype(float) / s, axis=1) for t, s in zip(tables, pool.alone, strict=True))
    three = [*(t.astype(float) for t in tables), product]
    centre = np.full(3, 0.25)
    centre[best] = 0.5

    def objective(at):
        w, log_t = softmax(at[:3]), at[3:]
        p = sum(wi * softmax(z / np.exp(t), axis=1) for wi, z, t in zip(w, three, log_t, strict=True))
        prior = -3 / 50 * (centre @ np.log(w)) + (log_t**2).sum() / (2 * 0.7**2 * 50)
        return -np.log(p[np.arange(50), labels]).mean() + prior

    start = np.concatenate([np.log(centre), np.zeros(3)])
    found = minimize(objective, start, method="Nelder-Mead", options={"maxiter": 20000, "maxfev": 20000})
    mine = objective(np.concatenate([np.log(pool.weights), np.log(pool.temperatures)]))
    assert mine == pytest.approx(found.fun, abs=1e-5)


def test_the_gradient_is_that_of_the_value(monkeypatch):
    labels, tables = experts(40, 5, [2, 1, 0.5])
    objective = Objective([pooling.lowered(t) for t in tables], labels, 40, 1)
    for seed in range(3):
        at = np.random.default_rng(seed).normal(scale=0.5, size=6)
        error = check_grad(lambda x: objective(x)[0], lambda x: objective(x)[1], at, epsilon=1e-3)
        assert error < 2e-3
    cut = objective(at)
    monkeypatch.setattr("dnatune.pooling.row_blocks", lambda shape, cells=0: [slice(0, 7), slice(7, shape[0])])
    whole = objective(at)
    assert whole[0] == pytest.approx(cut[0], rel=1e-9)
    np.testing.assert_allclose(whole[1], cut[1], rtol=1e-6)


@pytest.mark.parametrize("n", [6, 25, 150, 1000])
@pytest.mark.parametrize("noise", [1, 3])
def test_beside_noise_a_good_expert_is_hardly_made_worse(n, noise):
    labels, tables = experts(n + 2000, 10, [6, *[0] * noise], seed=n)
    names = ["good", *(f"noise{i}" for i in range(noise))]
    known = [table[:n] for table in tables]
    pool = fit_pool(names, known, labels[:n], np.arange(n))
    assert pool.best == "good"
    alone = loss(log_softmax(known[0] / pool.alone[0], axis=1), labels[:n])
    bound = excess_bound(n, pool.alone[0])
    assert loss(pool.log_probabilities(known), labels[:n]) <= alone + bound + 1e-6
    # On new records, where nothing is proved, it is as good.
    new = [table[n:] for table in tables]
    at_best = loss(log_softmax(new[0] / pool.alone[0], axis=1), labels[n:])
    assert loss(pool.log_probabilities(new), labels[n:]) <= at_best + bound


def test_the_bound_shrinks_with_the_number_of_groups():
    bounds = [excess_bound(groups, 1.5) for groups in (5, 20, 100, 1000)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[2] < 0.06 and bounds[3] < 0.01


def test_experts_that_know_different_classes_are_better_together():
    labels, (a, b) = experts(400, 8, [4, 4])
    a[labels < 4] = RNG.normal(size=(int((labels < 4).sum()), 8))
    b[labels >= 4] = RNG.normal(size=(int((labels >= 4).sum()), 8))
    crossed = cross_fit(["a", "b"], [a, b], labels, np.arange(400), 0, 5, "engine")
    assert crossed.losses["engine"] < min(crossed.losses["a"], crossed.losses["b"]) - 0.3


def validation_scores(n=60, copies=2):
    """Return two experts' scores of groups of ``copies`` records and some of test; b is sure of everything."""
    labels, (a, b) = experts(n, 5, [1.5, 1])
    groups = np.repeat(np.arange(n // copies), copies)
    labels = labels[groups * copies]
    role = np.array(["validation"] * n)
    role[-10:] = "test"
    ids = np.array([f"r{i}" for i in range(n)])
    return {name: Scores(ids, role, labels, table, groups) for name, table in (("a", a), ("b", b * 3))}


def test_the_weights_for_a_validation_record_never_saw_its_group():
    given = validation_scores()
    first, _ = combine(given, "engine", 0, 5)
    validation = np.flatnonzero(given["a"].role == "validation")
    labels, groups = given["a"].label[validation], given["a"].group[validation]
    part = parts_of_groups(labels, 0, 5, groups)
    record = int(validation[7])
    mates = np.flatnonzero(given["a"].group == given["a"].group[record])
    assert len(mates) > 1
    # Whatever an expert says of the record's relatives, and of them alone, the record's own score stays.
    changed = given["a"].logits.copy()
    others = mates[mates != record]
    changed[others] = -changed[others] * 5
    again = {
        **given,
        "a": Scores(*(getattr(given["a"], k) for k in ("id", "role", "label")), changed, given["a"].group),
    }
    second, _ = combine(again, "engine", 0, 5)
    np.testing.assert_array_equal(first.logits[record], second.logits[record])
    # A record of another part feels it, and so does the test part.
    elsewhere = int(validation[np.flatnonzero(part != part[7])[0]])
    assert (first.logits[elsewhere] != second.logits[elsewhere]).any()
    test = np.flatnonzero(given["a"].role == "test")
    assert (first.logits[test] != second.logits[test]).any()


def test_test_and_unknown_records_take_no_part_in_the_fit():
    given = validation_scores()
    test = given["a"].role == "test"
    wrong = given["a"].label.copy()
    wrong[test] = (wrong[test] + 1) % 5
    shuffled = {k: Scores(s.id, s.role, wrong, s.logits, s.group) for k, s in given.items()}
    np.testing.assert_array_equal(combine(given, "engine", 0, 5)[0].logits, combine(shuffled, "engine", 0, 5)[0].logits)


def test_experts_of_other_records_are_refused():
    given = validation_scores()
    other = given["b"]
    given["b"] = Scores(other.id[::-1], other.role, other.label, other.logits, other.group)
    with pytest.raises(UserError, match="'a' and 'b' have different records"):
        agree(given)


def test_the_engine_names_unless_the_model_has_a_lower_loss():
    runs = [{"validation_log_loss": {"engine": 0.2, "nt": 0.3}}, {"validation_log_loss": {"engine": 0.5, "nt": 0.3}}]
    assert predictor(runs[:1], "engine", "nt") == "engine"
    assert predictor(runs, "engine", "nt") == "nt"
    assert predictor(runs, "engine", None) == "engine"
    assert predictor(runs[:1], "engine", "no expert") == "no expert"
    assert predictor([{"validation_log_loss": {}}], "engine", "nt") == "nt"
