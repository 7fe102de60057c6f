import json

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from dnatune import calibration
from dnatune.files import read_json, write_json
from dnatune.scores import mean_log_loss

ALL = ("none", "temperature", "platt", "isotonic")


def overconfident(n, classes, factor, seed=0):
    """Logits that are ``factor`` times too large for the labels drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.7, (n, classes))
    cumulated = softmax(logits, axis=1).cumsum(axis=1)
    labels = (rng.random((n, 1)) > cumulated).sum(axis=1).clip(max=classes - 1)
    return (logits * factor).astype(np.float32), labels


def log_loss(p, labels):
    return -np.log(p[np.arange(len(labels)), labels]).mean()


def test_temperature_finds_the_factor_and_lowers_the_loss_on_new_records():
    logits, labels = overconfident(4000, 10, 3.0)
    new, truth = overconfident(4000, 10, 3.0, seed=1)
    fitted = calibration.fit("temperature", logits, labels, seed=0)
    assert fitted["temperature"] == pytest.approx(3.0, rel=0.05)
    assert log_loss(calibration.apply(fitted, new), truth) < mean_log_loss(new, truth) - 0.1


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic"])
def test_every_method_mends_overconfidence(method):
    logits, labels = overconfident(3000, 8, 4.0)
    new, truth = overconfident(3000, 8, 4.0, seed=1)
    fitted = calibration.fit(method, logits, labels, seed=0)
    honest = mean_log_loss(new / 4, truth)
    assert log_loss(calibration.apply(fitted, new), truth) < honest + 0.06 < mean_log_loss(new, truth) - 0.2


def test_none_is_the_softmax():
    logits, labels = overconfident(50, 4, 1.0)
    p = calibration.apply(calibration.fit("none", logits, labels, seed=0), logits)
    assert np.allclose(p, softmax(logits.astype(float), axis=1), atol=1e-15)


def test_auto_takes_the_lowest_loss_and_lists_all():
    logits, labels = overconfident(1500, 6, 5.0)
    fitted = calibration.fit("auto", logits, labels, seed=0)
    assert set(fitted["candidates"]) == set(ALL)
    assert fitted["method"] == min(fitted["candidates"], key=fitted["candidates"].get) != "none"
    assert fitted["candidates"]["none"] == pytest.approx(mean_log_loss(logits, labels), rel=1e-9)


def test_the_simple_choice_has_two_candidates_and_their_losses_are_those_of_the_whole_one():
    logits, labels = overconfident(400, 6, 5.0)
    whole, simple = (calibration.fit(method, logits, labels, seed=0) for method in ("auto", "auto_simple"))
    assert simple["candidates"] == {name: whole["candidates"][name] for name in ("none", "temperature")}
    assert simple["method"] == "temperature" and simple["temperature"] == pytest.approx(5, rel=0.2)


def test_auto_leaves_honest_probabilities_nearly_as_they_are():
    logits, labels = overconfident(2000, 6, 1.0)
    p = calibration.apply(calibration.fit("auto", logits, labels, seed=0), logits)
    assert np.abs(p - softmax(logits.astype(float), axis=1)).max() < 0.05


def test_a_tie_goes_to_the_simpler_method():
    fitted = calibration.fit("auto", np.zeros((40, 2), np.float32), np.arange(40) % 2, seed=0)
    assert fitted["method"] == "none"


@pytest.mark.parametrize("method", ALL)
def test_a_calibrator_survives_json_to_the_last_digit(method, tmp_path):
    logits, labels = overconfident(300, 5, 2.0)
    fitted = calibration.fit(method, logits, labels, seed=0)
    write_json(tmp_path / "calibration.json", fitted)
    again = read_json(tmp_path / "calibration.json")
    assert again == json.loads(json.dumps(fitted)) == fitted
    assert np.array_equal(calibration.apply(fitted, logits), calibration.apply(again, logits))


@pytest.mark.parametrize("method", [*ALL, "auto"])
@pytest.mark.parametrize("n", [0, 1, 2, 5, 19, 60])
def test_tiny_validation_with_many_classes_gives_probabilities(method, n):
    logits, labels = overconfident(n, 300, 20.0)
    fitted = calibration.fit(method, logits, labels, seed=0)
    new, _ = overconfident(40, 300, 20.0, seed=1)
    p = calibration.apply(fitted, new)
    assert p.shape == (40, 300) and np.isfinite(p).all() and (p >= 0).all()
    assert np.allclose(p.sum(axis=1), 1, atol=1e-12)
    if method == "auto":
        assert ("note" in fitted) == (n < calibration.SMALL_VALIDATION)
        assert n >= calibration.SMALL_VALIDATION or fitted["method"] in ("none", "temperature")


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_no_class_gets_so_little_that_one_error_explodes_the_loss(method):
    logits, labels = overconfident(200, 10, 200.0)
    p = calibration.apply(calibration.fit(method, logits, labels, seed=0), logits)
    assert p.min() > 1 / (2 * 201 * 10) * 0.4


def test_a_validation_part_without_errors_does_not_sharpen_without_end():
    labels = np.arange(60) % 4
    logits = (np.eye(4)[labels] * 4).astype(np.float32)
    fitted = calibration.fit("auto", logits, labels, seed=0)
    wrong = np.roll(labels, 1)
    assert log_loss(calibration.apply(fitted, logits), wrong) < 30
    assert calibration.fit("temperature", logits, labels, seed=0)["temperature"] > 0.2


def test_log_odds_are_exact_where_a_difference_would_be_lost():
    logits = np.array([[60.0, 0.0, 0.0], [0.0, -800.0, 1.0]])
    odds = calibration.log_odds(logits)
    assert odds[0, 0] == pytest.approx(60 - np.log(2), rel=1e-12)
    assert odds[1, 1] == pytest.approx(-800 - np.log1p(np.e), rel=1e-12)
    p = softmax(logits[1])
    assert odds[1, 0] == pytest.approx(np.log(p[0] / (1 - p[0])), rel=1e-9)


def test_the_sigmoid_is_that_of_logistic_regression_on_platts_targets():
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 2, 400)
    truth = (rng.random(400) < 1 / (1 + np.exp(-(0.6 * odds - 1)))).astype(float)
    slope, offset = calibration.sigmoid_curve(odds, truth, 1 - truth)
    high, low = (truth.sum() + 1) / (truth.sum() + 2), 1 / ((1 - truth).sum() + 2)
    target = np.where(truth == 1, high, low)
    model = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000)
    model.fit(np.tile(odds, 2)[:, None], np.repeat([1, 0], 400), sample_weight=np.concatenate([target, 1 - target]))
    assert slope == pytest.approx(model.coef_[0, 0], abs=1e-4)
    assert offset == pytest.approx(model.intercept_[0], abs=1e-4)


def test_same_seed_same_calibrator_and_unknown_method_is_refused():
    logits, labels = overconfident(100, 5, 2.0)
    assert calibration.fit("auto", logits, labels, 3) == calibration.fit("auto", logits, labels, 3)
    with pytest.raises(ValueError, match="beta"):
        calibration.fit("beta", logits, labels, 0)


def test_members_of_a_group_are_never_on_both_sides_of_the_inner_cross_validation(monkeypatch):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(60, 3)).astype(np.float32), rng.integers(3, size=60)
    groups = np.arange(60) // 2
    logits[:, 0] = groups  # tells who a row is
    seen = []
    whole = calibration.METHODS["none"]

    def spy(rows, truth):
        seen.append(set(rows[:, 0].tolist()))
        return whole.fit(rows, truth)

    monkeypatch.setitem(calibration.METHODS, "none", calibration.Method(spy, whole.apply))
    calibration.fit("auto", logits, labels, 0, 5, groups)
    inner = seen[:5]
    assert all(len(part) == 24 for part in inner)  # 30 groups, a fifth of them held out each time, whole
