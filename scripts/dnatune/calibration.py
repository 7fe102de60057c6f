"""Probabilities that mean what they say: fitted on the validation part, applied to any logits.

Takes validation logits (n, classes) and class ids (n,); gives a calibrator, a plain dictionary that goes to
``calibration.json`` and back without loss, and calibrated probabilities (n, classes).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, softmax
from sklearn.isotonic import IsotonicRegression

from dnatune.scores import mean_log_loss, row_blocks

LOGGER = logging.getLogger("dnatune")

# A class needs this many validation records for a curve of its own; the others share one.
OWN_FIT_RECORDS = 10
# Below this the two methods with many parameters are not tried by "auto".
SMALL_VALIDATION = 20
# The shared curve is fitted to a histogram of the log-odds: steps of 0.02 nats, far finer than any fit can
# tell, and millions of (record, class) pairs become some thousand weighted points. The limit is wide because
# naive Bayes gives log-odds of hundreds.
ODDS_LIMIT, ODDS_STEP = 1000.0, 0.02

# Standard deviation of the prior on log T: a factor of about 1.6 up or down is nothing unusual.
LOG_TEMPERATURE_SPREAD = 0.5

Calibrator = dict[str, Any]
# From probabilities (n, classes) and labels (n,) to what changes probabilities once more.
Then = Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]


@dataclass(frozen=True)
class Method:
    """One way to calibrate: ``fit(logits, labels)`` gives what ``apply(parameters, block)`` needs."""

    fit: Callable[[np.ndarray, np.ndarray], Calibrator]
    apply: Callable[[Calibrator, np.ndarray], np.ndarray]


def fit(
    method: str,
    logits: np.ndarray,
    labels: np.ndarray,
    seed: int,
    folds: int = 5,
    groups: np.ndarray | None = None,
) -> Calibrator:
    """Fit one of ``none``, ``temperature``, ``platt``, ``isotonic`` or of ``AUTO`` on validation logits.

    ``logits`` (n, classes), ``labels`` (n,). ``auto`` takes the method with the lowest log loss (nats) in
    cross-validation within these records, the simpler one in a tie, and lists all under ``candidates``;
    ``auto_simple`` chooses among the two simplest. Records of one of the ``groups`` (n,) (identical sequences,
    clusters) are fitted or judged together.
    A part too small for the method asked for is said under ``note``, and what is used instead under
    ``method``. Raises ``ValueError`` for an unknown method or labels that are not class ids.
    """
    if method not in AUTO and method not in METHODS:
        raise ValueError(f"calibration method '{method}' is not one of {', '.join([*AUTO, *METHODS])}")
    labels = np.asarray(labels, dtype=np.int64)
    if len(labels) and labels.min() < 0:
        raise ValueError("calibration needs records of trained classes only")
    calibrator: Calibrator = {"method": method, "asked": method, "records": len(labels), "candidates": {}}
    notes = []
    if method in AUTO:
        allowed = AUTO[method]
        if len(labels) < SMALL_VALIDATION and allowed != AUTO["auto_simple"]:
            allowed = AUTO["auto_simple"]
            notes.append(
                f"{len(labels)} validation records are fewer than {SMALL_VALIDATION}, "
                "so only none and temperature were compared"
            )
        calibrator["candidates"] = _cross_validate(allowed, logits, labels, seed, folds, groups)
        losses = calibrator["candidates"]
        best = min(losses.values(), default=np.inf)
        # METHODS stands from simple to complex, so the first within rounding of the best is the simplest.
        calibrator["method"] = next((m for m in losses if losses[m] <= best + 1e-9), "none")
    if len(labels) < 2 and calibrator["method"] != "none":
        notes.append(f"{len(labels)} validation records are too few to fit {method}; none was used")
        calibrator["method"] = "none"
    calibrator |= METHODS[calibrator["method"]].fit(logits, labels)
    if notes:
        calibrator["note"] = "; ".join(notes)
        LOGGER.warning("Calibration: %s.", calibrator["note"])
    return calibrator


def apply(calibrator: Calibrator, logits: np.ndarray) -> np.ndarray:
    """Return calibrated probabilities as float64 (n, classes) whose rows add up to 1, made in row blocks."""
    method = METHODS[calibrator["method"]]
    result = np.empty(logits.shape, dtype=np.float64)
    for rows in row_blocks(logits.shape):
        result[rows] = method.apply(calibrator, logits[rows].astype(np.float64))
    return result


def held_out(
    method: str,
    logits: np.ndarray,
    labels: np.ndarray,
    seed: int,
    folds: int = 5,
    groups: np.ndarray | None = None,
    then: Then | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows (m,) and their probabilities (m, classes) by ``method`` fitted on the other parts of the records.

    Together the ``folds`` parts are all records; those of one of the ``groups`` (n,) are in one part. A single group
    gets probabilities as they are. ``then(p, labels)``, given those of the other parts, returns what is done to
    probabilities after ``method``.
    """
    part = parts_of_groups(labels, seed, folds, groups)
    for held in range(int(part.max(initial=-1)) + 1):
        inside, rows = part != held, np.flatnonzero(part == held)
        name = method if inside.any() else "none"
        fitted = {"method": name, **METHODS[name].fit(logits[inside], labels[inside])}
        p = apply(fitted, logits[rows])
        yield rows, then(apply(fitted, logits[inside]), labels[inside])(p) if then and inside.any() else p


def parts_of_groups(labels: np.ndarray, seed: int, folds: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Return the part (n,) of each record, below ``folds``, with the classes (n,) spread evenly.

    Records of one of the ``groups`` (n,) share a part; with fewer groups there are fewer parts.
    """
    group = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    first = np.unique(group, return_index=True)[1]
    # Whole groups dealt out class by class, so that every part has its share of each class with enough of them.
    shuffled = np.random.default_rng(seed).permutation(len(first))
    part_of_group = np.empty(len(first), dtype=np.int64)
    by_class = shuffled[np.argsort(labels[first[shuffled]], kind="stable")]
    part_of_group[by_class] = np.arange(len(first)) % max(1, min(folds, len(first)))
    return part_of_group[group]


def _cross_validate(
    methods: list[str], logits: np.ndarray, labels: np.ndarray, seed: int, folds: int, groups: np.ndarray | None
) -> dict[str, float]:
    """Return each method's mean log loss (nats) over records that it was not fitted on."""
    part = parts_of_groups(labels, seed, folds, groups)
    folds = int(part.max(initial=0)) + 1
    if folds < 2:
        return {}
    losses = dict.fromkeys(methods, 0.0)
    for held in range(folds):
        inside, outside = part != held, np.flatnonzero(part == held)
        fitted_on, judged_on = logits[inside], logits[outside]
        for name in methods:
            parameters = METHODS[name].fit(fitted_on, labels[inside])
            for rows in row_blocks(judged_on.shape):
                p = METHODS[name].apply(parameters, judged_on[rows].astype(np.float64))
                truth = p[np.arange(len(p)), labels[outside[rows]]]
                losses[name] -= float(np.log(np.maximum(truth, np.finfo(np.float64).eps)).sum())
    return {name: loss / len(labels) for name, loss in losses.items()}


def _fit_temperature(logits: np.ndarray, labels: np.ndarray) -> Calibrator:
    """Guo et al. 2017, eq. 9: softmax(z / T) with the T of lowest log loss, sought between 1/100 and 100.

    A weak prior, log T normal around 0, keeps T in bounds where the model makes (almost) no error on a small
    validation part: there the likelihood alone sharpens without end, and the first error on test costs all.
    """
    return {"temperature": best_temperature(lambda scale: mean_log_loss(logits * scale, labels), len(labels))}


def best_temperature(loss: Callable[[np.float32], float], records: int) -> float:
    """Return the T of lowest ``loss(1 / T)`` (mean log loss in nats of so many records) with the prior on log T."""
    found = minimize_scalar(
        lambda log_t: loss(np.float32(np.exp(-log_t))) + log_t**2 / (2 * LOG_TEMPERATURE_SPREAD**2 * records),
        bounds=(-np.log(100), np.log(100)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def log_odds(logits: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)) of softmax(logits) as float64 (n, classes), exact near 0 and near 1."""
    rows, top = np.arange(len(logits)), logits.argmax(axis=1)
    logp = logits - logits[rows, top][:, None]
    p = np.exp(logp)
    total = p.sum(axis=1, keepdims=True)
    logp -= np.log(total)
    best = logp[rows, top]
    # 1 - p of the top class is the sum of the others: a difference would be lost in rounding.
    logp[rows, top] = -np.inf
    highest = logp.max(axis=1, keepdims=True)
    rest = highest[:, 0] + np.log(np.exp(logp - highest).sum(axis=1))
    p /= -total
    p[rows, top] = 0
    logp -= np.log1p(p, out=p)
    logp[rows, top] = best - rest
    return logp


def _fit_curves(
    logits: np.ndarray, labels: np.ndarray, curve: Callable[[np.ndarray, np.ndarray, np.ndarray], list]
) -> Calibrator:
    """Fit one ``curve`` per class that has records enough, and a shared one over all classes.

    One against the rest (Zadrozny & Elkan 2002). ``curve(odds, positives, negatives)`` takes points with
    their weights and returns numbers.
    """
    classes = logits.shape[1]
    support = np.bincount(labels, minlength=classes)
    own = np.flatnonzero((support >= OWN_FIT_RECORDS) & (support < len(labels)))
    centres = np.arange(-ODDS_LIMIT, ODDS_LIMIT + ODDS_STEP / 2, ODDS_STEP)
    everything, positive = np.zeros(len(centres)), np.zeros(len(centres))
    own_odds = np.empty((len(labels), len(own)))
    for rows in row_blocks(logits.shape):
        odds = log_odds(logits[rows].astype(np.float64))
        own_odds[rows] = odds[:, own]
        place = np.rint((np.clip(odds, -ODDS_LIMIT, ODDS_LIMIT) + ODDS_LIMIT) / ODDS_STEP).astype(np.int64)
        everything += np.bincount(place.ravel(), minlength=len(centres))
        truth = place[np.arange(len(place)), labels[rows]]
        positive += np.bincount(truth, minlength=len(centres))
    used = everything > 0
    shared = curve(centres[used], positive[used], (everything - positive)[used])
    curves = {}
    for place, label in enumerate(own):
        truth = (labels == label).astype(np.float64)
        curves[str(label)] = curve(own_odds[:, place], truth, 1 - truth)
    return {"shared": shared, "own": curves, "fitted_on": len(labels)}


def _apply_curves(
    parameters: Calibrator, logits: np.ndarray, curve: Callable[[list, np.ndarray], np.ndarray]
) -> np.ndarray:
    odds = log_odds(logits)
    result = curve(parameters["shared"], odds)
    for label, own in parameters["own"].items():
        result[:, int(label)] = curve(own, odds[:, int(label)])
    total = result.sum(axis=1, keepdims=True)
    np.divide(result, total, out=result, where=total > 0)
    # The weight of one record more than was fitted on, half of it raw, half of it even: the raw half keeps
    # order within the steps of a curve, the even half keeps every class, and so the log loss, off 0.
    share = 1.0 / (parameters["fitted_on"] + 1)
    result *= 1 - share
    result += share / 2 * softmax(logits, axis=1)
    result += share / 2 / logits.shape[1]
    result /= result.sum(axis=1, keepdims=True)
    return result


def sigmoid_curve(odds: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> list[float]:
    """Return slope and offset of Platt's sigmoid (Platt 1999, with his smoothed targets), by Newton steps.

    Lin, Lin & Weng 2007: a line search keeps the steps from overshooting. The slope stays positive.
    """
    total_positive, total_negative = positives.sum(), negatives.sum()
    high, low = (total_positive + 1) / (total_positive + 2), 1 / (total_negative + 2)
    weight = positives + negatives
    target = positives * high + negatives * low
    design = np.column_stack([odds, np.ones_like(odds)])
    ridge = 1e-9 * np.eye(2)

    def loss(at: np.ndarray) -> float:
        z = design @ at
        return float(weight @ np.logaddexp(0, z) - target @ z)

    at = np.array([1.0, 0.0])
    now = loss(at)
    for _ in range(100):
        p = expit(design @ at)
        gradient = design.T @ (weight * p - target)
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design + ridge
        direction = np.linalg.solve(curvature, gradient)
        step = 1.0
        enough = 1e-4 * (gradient @ direction)
        while step > 1e-10 and (new := loss(at - step * direction)) > now - step * enough:
            step /= 2
        if step <= 1e-10:
            break
        at, gain, now = at - step * direction, now - new, new
        if gain < 1e-10 * (abs(now) + 1e-10):
            break
    return [max(float(at[0]), 1e-6), float(at[1])]


def isotonic_curve(odds: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> list[list[float]]:
    """Return the knots [log-odds, probability] of the isotonic fit (Zadrozny & Elkan 2002)."""
    weight = positives + negatives
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    model.fit(odds, positives / weight, sample_weight=weight)
    return [model.X_thresholds_.tolist(), model.y_thresholds_.tolist()]


# From simple to complex: in a tie the simpler one is taken.
METHODS: dict[str, Method] = {
    "none": Method(lambda logits, labels: {}, lambda parameters, logits: softmax(logits, axis=1)),
    "temperature": Method(
        _fit_temperature, lambda parameters, logits: softmax(logits / parameters["temperature"], axis=1)
    ),
    "platt": Method(
        lambda logits, labels: _fit_curves(logits, labels, sigmoid_curve),
        lambda parameters, logits: _apply_curves(parameters, logits, lambda c, x: expit(c[0] * x + c[1])),
    ),
    "isotonic": Method(
        lambda logits, labels: _fit_curves(logits, labels, isotonic_curve),
        lambda parameters, logits: _apply_curves(parameters, logits, lambda c, x: np.interp(x, c[0], c[1])),
    ),
}

# What is compared. An engine has fitted temperatures and weights already, and curves on top of these fit its noise.
AUTO: dict[str, list[str]] = {"auto": list(METHODS), "auto_simple": ["none", "temperature"]}
