"""Calibration of many labels: each label with records enough has a fit of its own, the others share one.

Takes validation log-odds (n, labels) and targets (n, labels) of 0 and 1; gives a calibrator, a plain dictionary, and
calibrated probabilities (n, labels).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit

from dnatune.calibration import (
    LOG_TEMPERATURE_SPREAD,
    SMALL_VALIDATION,
    isotonic_curve,
    parts_of_groups,
    sigmoid_curve,
)
from dnatune.errors import first_ten
from dnatune.multilabel_metrics import OWN_FIT_RECORDS, own_fits

# A model that hardly tells records apart would be stretched without end, and with it the slightly other log-odds of
# the model that is saved: a slope of 5 is as far as a fit goes.
STEEPEST = 5.0

LOGGER = logging.getLogger("dnatune")

Calibrator = dict[str, Any]


@dataclass(frozen=True)
class Curve:
    """One way to bend log-odds: ``fit(odds, positives, negatives)`` gives what ``apply(parameters, odds)`` needs."""

    fit: Callable[[np.ndarray, np.ndarray, np.ndarray], list]
    apply: Callable[[list, np.ndarray], np.ndarray]


def fit_labels(
    method: str,
    odds: np.ndarray,
    targets: np.ndarray,
    strata: np.ndarray,
    names: list[str],
    seed: int,
    folds: int = 5,
    groups: np.ndarray | None = None,
) -> Calibrator:
    """Fit one of ``none``, ``temperature``, ``platt``, ``isotonic`` or ``auto`` on validation log-odds.

    ``auto`` takes for all labels the method with the lowest log loss (nats, mean over records and labels) in
    cross-validation within these records, the simpler one in a tie; ``strata`` (n,) are spread evenly over its
    parts, records of one of the ``groups`` (n,) stay together. ``note`` says which labels share a fit.
    """
    calibrator: Calibrator = {"method": method, "asked": method, "records": len(targets), "candidates": {}}
    notes = []
    if method == "auto":
        allowed = list(CURVES) if len(targets) >= SMALL_VALIDATION else ["none", "temperature"]
        if len(targets) < SMALL_VALIDATION:
            notes.append(f"{len(targets)} validation records, so only none and temperature were compared")
        losses = _cross_validate(allowed, odds, targets, strata, seed, folds, groups)
        best = min(losses.values(), default=np.inf)
        calibrator["candidates"] = losses
        calibrator["method"] = next((m for m in losses if losses[m] <= best + 1e-9), "none")
    if not targets.any() or targets.all():
        if calibrator["method"] != "none":
            notes.append(f"the validation part has nothing to fit {method} on; none was used")
        calibrator["method"] = "none"
    calibrator |= _fit(calibrator["method"], odds, targets)
    few = [name for name, own in zip(names, own_fits(targets), strict=True) if not own]
    if few and calibrator["method"] != "none":
        which = "all labels" if len(few) == len(names) else f"{len(few)} of {len(names)} labels"
        notes.append(
            f"{which} have fewer than {OWN_FIT_RECORDS} validation records with or without them and share one fit "
            f"({first_ten(few)})"
        )
    if notes:
        calibrator["note"] = "; ".join(notes)
        LOGGER.warning("Calibration: %s.", calibrator["note"])
    return calibrator


def apply_labels(calibrator: Calibrator, odds: np.ndarray) -> np.ndarray:
    """Return calibrated probabilities as float64 (n, labels)."""
    odds = odds.astype(np.float64)
    curve = CURVES[calibrator["method"]]
    result = curve.apply(calibrator["shared"], odds)
    for label, own in calibrator["own"].items():
        result[:, int(label)] = curve.apply(own, odds[:, int(label)])
    if calibrator["method"] == "isotonic":
        # The weight of one record more than was fitted on, half of it raw, half of it even: the raw half keeps
        # order within the steps, the even half keeps the log loss finite.
        share = 1.0 / (calibrator["records"] + 1)
        result = (1 - share) * result + share / 2 * expit(odds) + share / 4
    return result


def _fit(method: str, odds: np.ndarray, targets: np.ndarray) -> Calibrator:
    odds, truth = odds.astype(np.float64), targets.astype(np.float64)
    fit = CURVES[method].fit
    own = {str(i): fit(odds[:, i], truth[:, i], 1 - truth[:, i]) for i in np.flatnonzero(own_fits(targets))}
    # Every decision together: what labels with few records share.
    points, place = np.unique(np.round(odds.ravel(), 2), return_inverse=True)
    positives = np.bincount(place, weights=truth.ravel(), minlength=len(points))
    shared = fit(points, positives, np.bincount(place, minlength=len(points)) - positives)
    return {"shared": shared, "own": own}


def _cross_validate(
    methods: list[str],
    odds: np.ndarray,
    targets: np.ndarray,
    strata: np.ndarray,
    seed: int,
    folds: int,
    groups: np.ndarray | None,
) -> dict[str, float]:
    """Return each method's mean log loss (nats) over decisions that it was not fitted on."""
    part = parts_of_groups(strata, seed, folds, groups)
    if part.max(initial=0) == 0:
        return {}
    losses = dict.fromkeys(methods, 0.0)
    for held in range(int(part.max()) + 1):
        inside, outside = part != held, part == held
        for name in methods:
            fitted = {"method": name, "records": int(inside.sum()), **_fit(name, odds[inside], targets[inside])}
            p = apply_labels(fitted, odds[outside])
            truth = np.where(targets[outside] > 0, p, 1 - p)
            losses[name] -= float(np.log(np.maximum(truth, np.finfo(np.float64).eps)).sum())
    return {name: loss / targets.size for name, loss in losses.items()}


def _temperature(odds: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> list[float]:
    """Return the T of lowest log loss of sigmoid(odds / T), with a weak prior on log T (see ``calibration``)."""
    weight = positives + negatives

    def loss(log_t: float) -> float:
        z = odds * np.exp(-log_t)
        return float(weight @ np.logaddexp(0, z) - positives @ z) + log_t**2 / (2 * LOG_TEMPERATURE_SPREAD**2)

    found = minimize_scalar(loss, bounds=(-np.log(100), np.log(100)), method="bounded", options={"xatol": 1e-4})
    return [float(np.exp(found.x))]


def _platt(odds: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> list[float]:
    """Return slope and offset of Platt's sigmoid; where the slope is cut off, the offset keeps the mean."""
    slope, offset = sigmoid_curve(odds, positives, negatives)
    if slope <= STEEPEST:
        return [slope, offset]
    weight = positives + negatives
    wanted = (positives.sum() + 1) / (weight.sum() + 2)
    reach = STEEPEST * np.abs(odds).max() + 50
    found = brentq(lambda b: np.average(expit(STEEPEST * odds + b), weights=weight) - wanted, -reach, reach)
    return [STEEPEST, float(found)]


# From simple to complex: in a tie the simpler one is taken.
CURVES: dict[str, Curve] = {
    "none": Curve(lambda odds, positives, negatives: [], lambda parameters, odds: expit(odds)),
    "temperature": Curve(_temperature, lambda parameters, odds: expit(odds / parameters[0])),
    "platt": Curve(_platt, lambda parameters, odds: expit(parameters[0] * odds + parameters[1])),
    "isotonic": Curve(isotonic_curve, lambda parameters, odds: np.interp(odds, parameters[0], parameters[1])),
}
