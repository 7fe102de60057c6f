"""What is said of calibration: all folds' error by other arithmetic, and how much of it is chance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dnatune import report_words
from dnatune.calibration_error import error_of, errors_by_chance, pooled_errors
from dnatune.report_words import Estimate


def fold(rng, number, n, distort=1.0):
    """Outcomes of sequences whose answers are right with probability top ** distort."""
    top = rng.beta(6, 1.5, n)
    right = rng.random(n) < top**distort
    return pd.DataFrame({"fold": number, "label": 1, "predicted": np.where(right, 1, 0), "top": top})


def by_hand(top, right):
    total = 0.0
    for low in np.arange(15) / 15:
        inside = (top > low) & (top <= low + 1 / 15)
        if inside.any():
            total += inside.sum() * abs(top[inside].mean() - right[inside].mean())
    return total / len(top)


def test_all_folds_together_are_one_set_of_sequences():
    rng = np.random.default_rng(0)
    table = pd.concat([fold(rng, k, 150 + k) for k in range(4)])
    found = pooled_errors({"m": table}, 0).set_index("metric")
    right = (table["label"] == table["predicted"]).to_numpy()
    assert found.loc["ece_pooled", "mean"] == pytest.approx(by_hand(table["top"].to_numpy(), right))
    assert (found["folds"] == 4).all() and set(found["stage"]) == {"calibrated"} and set(found["split"]) == {"test"}
    # Fewer sequences, more of it is chance.
    assert found.loc["ece_by_chance", "mean"] > 1.5 * found.loc["ece_pooled_by_chance", "mean"]
    assert pooled_errors({}, 0).empty


def test_chance_by_hand():
    assert errors_by_chance(np.ones(50), 0).max() == 0
    # One answer of 0.5 is off by 0.5 either way; two are both right, both wrong or even: 0.25 on average.
    assert errors_by_chance(np.array([0.5]), 0).tolist() == [0.5] * 500
    assert errors_by_chance(np.array([0.5, 0.5]), 0).mean() == pytest.approx(0.25, abs=0.03)


def test_a_perfect_model_lies_within_chance_and_an_overconfident_one_above():
    inside, above = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        perfect, proud = fold(rng, 0, 400), fold(rng, 0, 400, distort=1.8)
        found = pooled_errors({"perfect": perfect, "proud": proud}, seed).set_index(["model", "metric"])
        high = found.loc[(slice(None), "ece_pooled_by_chance"), "ci_high"].droplevel("metric")
        error = found.loc[(slice(None), "ece_pooled"), "mean"].droplevel("metric")
        inside.append(error["perfect"] <= high["perfect"])
        above.append(error["proud"] > high["proud"])
    assert np.mean(inside) >= 0.85 and np.mean(above) >= 0.85


def test_what_perfect_models_have_on_average_is_what_chance_is_said_to_be():
    rng = np.random.default_rng(3)
    top = rng.beta(6, 1.5, 300)
    seen = [error_of(top, np.random.default_rng([9, k]).random(300) < top) for k in range(300)]
    assert errors_by_chance(top, 0).mean() == pytest.approx(np.mean(seen), rel=0.05)


def test_chance_in_words():
    def said(pooled):
        parts = {"pooled": Estimate(pooled), "by_chance": Estimate(0.012, 0.007, 0.019)}
        return report_words.certainty_sentence(Estimate(0.1), Estimate(0.04), Estimate(0.5), **parts).text

    assert "of all folds together it is 1.5, where perfect probabilities would show 0.7 to 1.9" in said(0.015)
    # The mean over folds, 4 points, is mostly chance.
    assert "nearly at their word" in said(0.015) and "must be read with care" in said(0.06)
    assert "nothing says that they are wrong" in said(0.015) and "a little off" in said(0.025)
    assert "chance of few sequences" in said(0.025) and "chance of few sequences" not in said(0.2)
    assert "must not be trusted" in said(0.2) and "off by more than chance explains" in said(0.2)
