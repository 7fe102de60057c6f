"""Settings of a baseline chosen on validation: by the log loss that scikit-learn measures, from a stated grid."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.metrics import log_loss

from dnatune.baseline_tuning import tune
from dnatune.baselines import METHODS, baseline_logits
from dnatune.config import resolve
from dnatune.errors import UserError
from dnatune.report_tables import tuned
from dnatune.tasks import TASKS, task
from miniatures import families

RECORDS = families(3, 16, 90, seed=4)
SEQUENCES, LABELS = [s for s, _ in RECORDS], np.array([label for _, label in RECORDS])
ORDER = np.random.default_rng(0).permutation(len(RECORDS))
TRAIN, VALIDATION = ORDER[:30], ORDER[30:]


def part(rows):
    return [SEQUENCES[row] for row in rows], LABELS[rows]


def test_the_setting_with_the_lowest_log_loss_at_its_best_temperature_is_chosen():
    method = replace(METHODS["naive_bayes"], grid={"k": (2, 5), "alpha": (0.01, 10.0)})
    (train, labels), (validation, truth) = part(TRAIN), part(VALIDATION)
    chosen, rows = tune("naive_bayes", method, train, labels, validation, truth, 3, {"k": 3}, seed=0)
    assert [(row["k"], row["alpha"]) for row in rows] == [(3, 0.01), (2, 0.01), (2, 10.0), (5, 0.01), (5, 10.0)]
    for row in rows:
        settings = {"k": row["k"], "alpha": row["alpha"]}
        logits = baseline_logits("naive_bayes", method, train, labels, validation, 3, settings).astype(float)

        def loss(log_t, logits=logits):
            prior = log_t**2 / (2 * 0.5**2 * len(truth))  # that of the calibration
            return log_loss(truth, softmax(logits / np.exp(log_t), axis=1), labels=range(3)) + prior

        best = minimize_scalar(loss, bounds=(-4.6, 4.6), method="bounded").x
        wanted = log_loss(truth, softmax(logits / np.exp(best), axis=1), labels=range(3))
        assert row["log_loss"] == pytest.approx(wanted, abs=1e-3)
    lowest = min(rows, key=lambda row: row["log_loss"])
    assert (chosen["k"], chosen["alpha"]) == (lowest["k"], lowest["alpha"])


def test_without_a_grid_or_validation_nothing_is_tried():
    (train, labels), nothing = part(TRAIN), np.zeros(0, dtype=np.int64)
    assert tune("majority", METHODS["majority"], train, labels, train, labels, 3, {}, seed=0) == ({}, [])
    found = tune("naive_bayes", METHODS["naive_bayes"], train, labels, [], nothing, 3, {"k": 4}, seed=0)
    assert found == ({"k": 4, "alpha": 0.01}, [])


def test_tasks_say_which_methods_have_a_grid():
    for name in TASKS:
        kind = task(name)
        assert list(kind.tuned) == [method for method in kind.baselines if kind.baseline(method).grid]
    for method in METHODS.values():
        assert set(method.grid) <= set(method.defaults)


def test_the_key_is_refused_where_it_has_no_effect():
    config = {
        "name": "x",
        "data": {"sequences": "s.fa", "labels": "l.csv"},
        "models": {"m": {"backbone": "builtin:nt-mini"}},
    }
    with pytest.raises(UserError, match=r"baselines.tune' has no effect: with task: multiclass.*naive_bayes"):
        resolve({**config, "baselines": {"tune": True, "methods": ["majority"]}})
    with pytest.raises(UserError, match="with task: regression it chooses settings of no method"):
        resolve({**config, "task": "regression", "baselines": {"tune": True}})


def test_the_report_says_what_was_chosen():
    tried = [{"k": 6, "alpha": 0.1, "log_loss": 1.0}, {"k": 8, "alpha": 0.01, "log_loss": 0.5}]
    runs = [{"model": "naive_bayes", "settings": {"k": k, "alpha": 0.01}, "tried": tried} for k in (8, 8, 6)]
    words = "naive_bayes, 2 settings tried: k 8, alpha 0.01 (2 of 3 folds); k 6, alpha 0.01 (1 of 3 folds)"
    assert tuned([*runs, {"model": "majority", "settings": {}, "tried": []}]) == [words]
