"""Several experts as one: a pool of their probabilities, fitted on validation records.

Takes the experts' logits (n, classes); gives a ``Pool``, a handful of numbers that goes to JSON and back, and the log
probabilities that it says (n, classes).

The form is a linear opinion pool (Stone 1961) of tempered experts, with one member more, their product:

    p(c) = sum_j w_j softmax(z_j / T_j)[c],    z_product = sum_j log softmax(z_j / S_j)

Each expert j has a weight w_j and a temperature T_j; S_j is the temperature it would have alone (Guo et al. 2017). The
sum forgives an expert that is lost, the product rewards what all of them agree on. Of the forms tried, by cross-fitted
log loss on 128 to 180 validation records in each fold of two barcode sets, this was the best over both: better than
either kind of pool alone, than weights that depend on the sequence, and than temperatures fitted before the weights
(docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, logsumexp

from dnatune import calibration
from dnatune.calibration import parts_of_groups
from dnatune.scores import row_blocks

# The prior on the weights counts like this many validation groups; half of it says the best single expert.
PRIOR_GROUPS, PRIOR_OF_BEST = 3.0, 0.5
# Standard deviation of log T around 0, an expert's own probabilities; one validation group weighs as much.
LOG_TEMPERATURE_SPREAD = 0.7
LOG_TEMPERATURE_BOUND = float(np.log(100))
# A logit further below the best of its row counts as this far, so that minus infinity does no harm.
LOWEST = -1e4
# A logit, over its temperature, below this adds nothing to a sum that is 1 or more; its exponential would be a
# denormal number, which takes a processor many times as long.
FAINT = np.float32(-80)
# Cells of a block that stays in a core's cache through all that is done with it.
CACHED_CELLS = 60_000
# No model can be called this: names have no blanks.
PRODUCT = "product of all"
# Fewer groups cannot tell experts apart: then all weigh the same.
FEWEST_GROUPS = 2


@dataclass(frozen=True)
class Pool:
    """``weights`` (they add up to 1) and ``temperatures`` of the ``members``: the experts, then their product.

    ``alone`` are the experts' temperatures without the others, ``best`` the one with the lowest log loss among the
    ``records`` (of so many ``groups``) that all was fitted on; empty where there were too few.
    """

    members: tuple[str, ...]
    weights: tuple[float, ...]
    temperatures: tuple[float, ...]
    alone: tuple[float, ...]
    best: str = ""
    records: int = 0
    groups: int = 0

    @property
    def experts(self) -> tuple[str, ...]:
        """The names of the experts, in the order of their logits."""
        return self.members[: len(self.alone)]

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Pool:
        """Return the pool of ``to_json``."""
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()})

    def log_probabilities(self, logits: Sequence[np.ndarray]) -> np.ndarray:
        """Return log probabilities, float32 (n, classes), from the logits (n, classes) of each expert."""
        result = np.empty(logits[0].shape, dtype=np.float32)
        for rows in row_blocks(result.shape, cells=CACHED_CELLS):
            parts = _members([lowered(expert[rows]) for expert in logits], self.alone)
            said = []
            for part, temperature, weight in zip(parts, self.temperatures, self.weights, strict=True):
                if weight > 0:
                    z = part.astype(np.float64) / temperature  # 0 is the highest of each row
                    said.append(z + (np.log(weight) - np.log(np.exp(z).sum(axis=1, keepdims=True))))
            highest = np.maximum.reduce(said)
            total = sum(np.exp(each - highest) for each in said)
            result[rows] = np.maximum(highest + np.log(total), LOWEST)
        return result


def lowered(logits: np.ndarray) -> np.ndarray:
    """Return logits with 0 as the highest of each row and ``LOWEST`` at least, float32 (n, classes)."""
    highest = logits.max(axis=1, keepdims=True)
    return np.maximum(logits - np.where(np.isfinite(highest), highest, 0), LOWEST).astype(np.float32)


def _members(tables: list[np.ndarray], alone: Sequence[float]) -> list[np.ndarray]:
    """Return the tables of all members: those of the experts, and their product where there are two or more."""
    if len(tables) < 2:
        return tables
    product = np.zeros(tables[0].shape, dtype=np.float32)
    for table, temperature in zip(tables, alone, strict=True):
        for rows in row_blocks(table.shape):
            product[rows] += log_softmax(table[rows] / np.float32(temperature), axis=1)
    return [*tables, lowered(product)]


def fit_pool(experts: Sequence[str], logits: Sequence[np.ndarray], labels: np.ndarray, groups: np.ndarray) -> Pool:
    """Fit weights and temperatures on validation logits (n, classes) of each expert and class ids (n,).

    Minimises the mean log loss (nats) with, for G distinct ``groups`` (n,), priors that fade as G grows: on the
    weights a Dirichlet of ``PRIOR_GROUPS`` pseudo-records, half of them the best single expert's and half shared by all
    other members; on each log temperature a normal round 0. By L-BFGS with analytic gradients, from the centre
    of the priors; the tables are walked in blocks of rows. ``excess_bound`` says how much worse than its best expert
    the pool can be on these records. Fewer than ``FEWEST_GROUPS`` groups are not fitted: the experts get equal
    weights and temperature 1.
    """
    count, distinct = len(experts), len(np.unique(groups))
    members = (*experts, PRODUCT) if count > 1 else tuple(experts)
    if distinct < FEWEST_GROUPS:
        equal = [1 / count] * count + [0.0] * (len(members) - count)
        ones = [1.0] * len(members)
        return Pool(members, tuple(equal), tuple(ones), tuple(ones[:count]), "", len(labels), distinct)
    tables = [lowered(table) for table in logits]
    alone = [_alone(table, labels) for table in tables]
    losses = [-_truth(table, labels, t)[0].mean() for table, t in zip(tables, alone, strict=True)]
    best = int(np.argmin(losses))
    objective = Objective(_members(tables, alone), labels, distinct, best)
    bounds = [(None, None)] * len(members) + [(-LOG_TEMPERATURE_BOUND, LOG_TEMPERATURE_BOUND)] * len(members)
    found = minimize(objective, objective.start, jac=True, method="L-BFGS-B", bounds=bounds).x
    weights = np.exp(log_softmax(found[: len(members)]))
    return Pool(
        members,
        tuple(weights.tolist()),
        tuple(np.exp(found[len(members) :]).tolist()),
        tuple(alone),
        experts[best],
        len(labels),
        distinct,
    )


def excess_bound(groups: int, temperature: float) -> float:
    """Return by how much (nats) the pool's mean log loss may exceed the best expert's at its own temperature.

    Of the records that both were fitted on. The optimum is no worse than the pool that gives the best expert the
    weight 1 - d, d = K / (2 (G + K)), with G groups and K = ``PRIOR_GROUPS``, and every other member temperature 1;
    the difference of their Dirichlet terms is K / G times the divergence of the weights from the prior's centre,
    -log(4 d (1 - d)) / 2. It goes to 0 like log(G) / G.
    """
    d = PRIOR_GROUPS / (2 * (groups + PRIOR_GROUPS))
    divergence = -np.log(4 * d * (1 - d)) / 2
    of_temperature = np.log(temperature) ** 2 / (2 * groups * LOG_TEMPERATURE_SPREAD**2)
    return float(-np.log1p(-d) + PRIOR_GROUPS / groups * divergence + of_temperature)


class Objective:
    """What ``fit_pool`` minimises: mean log loss plus priors, and its gradient.

    A point is the logits of the weights (members,) and then the log temperatures (members,).
    """

    def __init__(self, tables: Sequence[np.ndarray], labels: np.ndarray, groups: int, best: int) -> None:
        self.tables, self.labels, self.groups = tables, labels, groups
        members = len(tables)
        self.centre = np.full(members, (1 - PRIOR_OF_BEST) / max(1, members - 1))
        self.centre[best] = PRIOR_OF_BEST if members > 1 else 1.0
        self.start = np.concatenate([np.log(self.centre), np.zeros(members)])

    def __call__(self, at: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the value in nats, and the gradient (2 x members,)."""
        members = len(self.tables)
        log_w, log_t = log_softmax(at[:members]), at[members:]
        said = [_truth(table, self.labels, np.exp(t)) for table, t in zip(self.tables, log_t, strict=True)]
        log_p = np.stack([log_p for log_p, _ in said], axis=1) + log_w
        slope = np.stack([slope for _, slope in said], axis=1)
        total = logsumexp(log_p, axis=1)
        share = np.exp(log_p - total[:, None])
        w, prior = np.exp(log_w), PRIOR_GROUPS / self.groups
        spread = self.groups * LOG_TEMPERATURE_SPREAD**2
        value = -total.mean() - prior * (self.centre @ log_w) + (log_t @ log_t) / (2 * spread)
        of_weights = w - share.mean(axis=0) + prior * (w - self.centre)
        of_temperatures = -(share * slope).mean(axis=0) + log_t / spread
        return float(value), np.concatenate([of_weights, of_temperatures])


def _alone(table: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature that calibration would give this expert: the same likelihood and prior."""
    found = minimize_scalar(
        lambda log_t: (
            -_truth(table, labels, np.exp(log_t))[0].mean()
            + log_t**2 / (2 * calibration.LOG_TEMPERATURE_SPREAD**2 * len(labels))
        ),
        bounds=(-LOG_TEMPERATURE_BOUND, LOG_TEMPERATURE_BOUND),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def _truth(table: np.ndarray, labels: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Return log softmax(table / T) of each record's own class (n,), and its derivative by log T (n,).

    ``table`` has 0 as the highest of each row. The derivative is minus (z_y - E z) / T.
    """
    log_p, slope = np.empty(len(labels)), np.empty(len(labels))
    for rows in row_blocks(table.shape, cells=CACHED_CELLS):
        z = table[rows] * np.float32(1 / temperature)
        own = z[np.arange(len(z)), labels[rows]].astype(np.float64)
        e = np.exp(np.maximum(z, FAINT, out=z))
        total = e.sum(axis=1, dtype=np.float64)
        log_p[rows] = own - np.log(total)
        e *= z
        slope[rows] = e.sum(axis=1, dtype=np.float64) / total - own
    return log_p, slope


@dataclass(frozen=True)
class CrossFitted:
    """``log_probabilities`` (n, classes) of the pool, each record's from a fit that never saw its group, and the
    mean ``losses`` (nats) of pool and experts, the experts at temperatures fitted in the same way."""

    log_probabilities: np.ndarray
    losses: dict[str, float]


def cross_fit(
    experts: Sequence[str],
    logits: Sequence[np.ndarray],
    labels: np.ndarray,
    groups: np.ndarray,
    seed: int,
    folds: int,
    name: str,
) -> CrossFitted:
    """Pool validation records out of fold: in turn, each part of the ``groups`` (n,) is left out of the fit.

    These are the scores on which calibration, sets and thresholds may be fitted: those of the pool fitted on all
    validation records know their labels already. ``name`` is the pool's among the losses. Fewer than two
    groups are pooled with equal weights, which have seen no label either.
    """
    part = parts_of_groups(labels, seed, folds, groups)
    result = np.empty(logits[0].shape, dtype=np.float32)
    sums = dict.fromkeys((name, *experts), 0.0)
    for held in range(int(part.max(initial=-1)) + 1):
        inside, outside = part != held, np.flatnonzero(part == held)
        pool = fit_pool(experts, [table[inside] for table in logits], labels[inside], groups[inside])
        judged = [table[outside] for table in logits]
        result[outside] = pool.log_probabilities(judged)
        sums[name] -= float(result[outside, labels[outside]].sum(dtype=np.float64))
        for expert, table, temperature in zip(experts, judged, pool.alone, strict=True):
            sums[expert] -= float(_truth(lowered(table), labels[outside], temperature)[0].sum())
    return CrossFitted(result, {key: value / len(labels) for key, value in sums.items()} if len(labels) else {})
