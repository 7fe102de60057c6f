"""The classical opponents: what k-mers, alignment and the class frequencies alone can do on a fold.

Each method takes the training part and a query part; gives logits (queries, classes) whose softmax are its
probabilities. Nothing else of the fold is seen, so all methods are scored like the models.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import logsumexp

from dnatune.errors import UserError
from dnatune.kmer_search import K, kmer_top_hit_logits
from dnatune.kmers import kmer_matrix
from dnatune.scores import EVIDENCE, PRODUCT_CELLS, row_blocks
from dnatune.top_hit import blast_top_hit_logits, sintax_logits, top_hit_logits

Logits = np.ndarray
# A class that the training part lacks gets this much less than the lowest logit of its row.
ABSENT = np.float32(10.0)
# Dense features multiply ten times faster than sparse ones; above this size they stay sparse.
DENSE_BYTES = 1 << 30


@dataclass(frozen=True)
class Method:
    """``logits(train, labels, query, classes, settings, seed, threads)``; ``reads`` names the record column
    that ``train`` and ``query`` come from, ``defaults`` its settings, ``grid`` the settings tried where it is tuned.
    ``evidence(logits)`` gives ``scores.EVIDENCE`` where it costs nothing."""

    logits: Callable[..., Logits]
    reads: str
    defaults: Mapping[str, Any]
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    evidence: Callable[[Logits], np.ndarray] | None = None


def baseline_logits(
    name: str,
    method: Method,
    train: Sequence[str] | np.ndarray,
    labels: Any,
    query: Sequence[str] | np.ndarray,
    classes: int,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    threads: int = 1,
) -> Logits:
    """Train one baseline on ``train`` and the task's targets ``labels``, return float32 scores (rows, outputs).

    ``train`` and ``query`` are sequences, or vectors (n, size) for ``vector_logistic_regression``; missing
    settings take the method's defaults. Classes without training records get a low logit. Raises
    ``UserError`` for an unknown setting.
    """
    merged = merged_settings(name, method, settings or {})
    return method.logits(train, labels, query, classes, merged, seed, threads)


def merged_settings(name: str, method: Method, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of a method. Raises ``UserError`` for one that it does not have."""
    for key in settings:
        if key not in method.defaults:
            known = ", ".join(method.defaults) or "no settings"
            raise UserError(f"baselines.{name} has no setting '{key}', expected {known}.")
    return {**method.defaults, **settings}


def _majority(train: Any, labels: np.ndarray, query: Any, classes: int, *_: Any) -> Logits:
    """Every record gets the training part's class frequencies, with one record added to each class."""
    frequencies = np.log(np.bincount(labels, minlength=classes) + 1.0)
    return np.tile((frequencies - frequencies.max()).astype(np.float32), (len(query), 1))


def _naive_bayes(
    train: Any, labels: np.ndarray, query: Any, classes: int, settings: Mapping[str, Any], *_: Any
) -> Logits:
    """k-mers that are there or not, multinomial naive Bayes with additive smoothing."""
    k = settings["k"]
    return naive_bayes_logits(kmer_matrix(train, k), labels, kmer_matrix(query, k), classes, float(settings["alpha"]))


def naive_bayes_logits(
    train: sparse.csr_matrix, labels: np.ndarray, query: sparse.csr_matrix, classes: int, alpha: float
) -> Logits:
    """Return multinomial naive Bayes log joint probabilities, shifted to a maximum of 0 in each row.

    See ``NaiveBayes``.
    """
    return NaiveBayes.fitted(train, labels, classes, alpha)(query)


@dataclass(frozen=True)
class NaiveBayes:
    """Multinomial naive Bayes as sparse as its counts; called with a table (rows, features) it gives logits.

    log(count + alpha) = log(alpha) + log1p(count / alpha), and the second term is 0 where a class lacks a
    k-mer: so the model stays as sparse as the counts, however many k-mers and classes there are. Equal to
    scikit-learn's MultinomialNB. ``weights`` (features, classes) hold the second term, ``rest`` (classes,) what each
    k-mer of a query takes off, ``support`` (classes,) the training records. Classes without any get a low logit.
    """

    weights: sparse.csr_matrix
    rest: np.ndarray
    support: np.ndarray

    @classmethod
    def fitted(cls, train: sparse.csr_matrix, labels: np.ndarray, classes: int, alpha: float) -> NaiveBayes:
        """Train on a table (records, features) and class ids (records,)."""
        rows = np.arange(len(labels))
        members = sparse.csr_matrix((np.ones(len(labels)), (labels, rows)), shape=(classes, len(labels)))
        counts = (members @ train).tocsr().astype(np.float64)
        totals = np.asarray(counts.sum(axis=1)).ravel() + alpha * train.shape[1]
        counts.data = np.log1p(counts.data / alpha)
        rest = np.log(totals) - np.log(alpha)
        return cls(counts.T.tocsr(), rest, np.bincount(labels, minlength=classes))

    def __call__(self, query: sparse.csr_matrix) -> Logits:
        """Return log joint probabilities of each row, shifted to a maximum of 0."""
        sizes = np.asarray(query.sum(axis=1)).ravel()
        with np.errstate(divide="ignore"):
            prior = np.log(self.support / self.support.sum())
        logits = np.empty((query.shape[0], len(self.support)), dtype=np.float32)
        for rows in row_blocks(logits.shape, cells=PRODUCT_CELLS):
            joint = (query[rows] @ self.weights).toarray()
            joint -= sizes[rows, None] * self.rest - prior
            joint -= joint.max(axis=1, keepdims=True)
            logits[rows] = joint
        return _lower_absent(logits, self.support)


def _logistic_regression(
    train: Any, labels: np.ndarray, query: Any, classes: int, settings: Mapping[str, Any], seed: int, *_: Any
) -> Logits:
    """Softmax regression on k-mers that are there or not, each record scaled to length 1."""
    k = settings["k"]
    return softmax_regression_logits(
        unit_rows(kmer_matrix(train, k)), labels, unit_rows(kmer_matrix(query, k)), classes, settings, seed
    )


def _vector_logistic_regression(
    train: Any, labels: np.ndarray, query: Any, classes: int, settings: Mapping[str, Any], seed: int, *_: Any
) -> Logits:
    """The same softmax regression on the user's vectors, standardised on the training part."""
    parts = standardised(train, query)
    return softmax_regression_logits(parts[0], labels, parts[1], classes, settings, seed)


def softmax_regression_logits(
    train: Any, labels: np.ndarray, query: Any, classes: int, settings: Mapping[str, Any], seed: int
) -> Logits:
    """Train softmax regression and return its logits; see ``linear_model``."""
    return softmax_regression(train, labels, classes, settings, seed)(query)


@dataclass(frozen=True)
class SoftmaxRegression:
    """A trained softmax regression; called with a feature table (rows, features) it gives logits (rows, classes).

    ``weights`` (features, outputs) and ``offset`` (outputs,) are empty where one class is all there is, have one
    output for two classes, else one for each class of the training part; ``support`` (classes,) its records.
    """

    weights: np.ndarray
    offset: np.ndarray
    support: np.ndarray

    def __call__(self, query: Any) -> Logits:
        """Return the logits; classes without training records get a low one."""
        logits = np.zeros((query.shape[0], len(self.support)), dtype=np.float32)
        present = np.flatnonzero(self.support)
        if len(present) == 2:
            logits[:, present[1]] = (query @ self.weights + self.offset)[:, 0]
        elif len(present) > 2:
            for rows in row_blocks(logits.shape, cells=PRODUCT_CELLS):
                logits[rows, present] = query[rows] @ self.weights + self.offset
        return _lower_absent(logits, self.support)


def softmax_regression(
    train: Any, labels: np.ndarray, classes: int, settings: Mapping[str, Any], seed: int
) -> SoftmaxRegression:
    """Train as ``softmax_regression_logits`` does; return what gives logits (rows, classes) of a feature table."""
    support = np.bincount(labels, minlength=classes)
    weights, offset = np.zeros((train.shape[1], 0), np.float32), np.zeros(0, np.float32)
    if np.count_nonzero(support) > 1:
        weights, offset = linear_model(train, labels, settings, seed)
    return SoftmaxRegression(weights, offset, support)


def linear_model(train: Any, targets: np.ndarray, settings: Mapping[str, Any], seed: int) -> tuple[np.ndarray, ...]:
    """Train a linear model by Adam in mini-batches; return weights (features, outputs) and offset (outputs,).

    This is scikit-learn's MLPClassifier without a hidden layer: the model is that of LogisticRegression (softmax
    of class ids, a sigmoid for each column of 0 and 1), but its memory and time also bear thousands of classes,
    where L-BFGS keeps ten float64 copies of the weights. The number of records in a batch grows with the data so
    that an epoch has at most 16 steps. Two classes, or one column, have one output.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    if sparse.issparse(train) and 4 * train.shape[0] * train.shape[1] <= DENSE_BYTES:
        train = train.toarray()
    model = MLPClassifier(
        hidden_layer_sizes=(),
        solver="adam",
        learning_rate_init=float(settings["learning_rate"]),
        alpha=float(settings["l2"]),
        max_iter=int(settings["epochs"]),
        batch_size=min(train.shape[0], max(int(settings["batch_size"]), train.shape[0] // 16)),
        n_iter_no_change=int(settings["epochs"]),
        random_state=seed,
    )
    with warnings.catch_warnings():
        # A fixed number of epochs is meant: stopping there is no failure to converge.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train, targets)
    return model.coefs_[0].astype(np.float32), model.intercepts_[0].astype(np.float32)


def standardised(train: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors standardised on ``train``, float32.

    Divided by the root of their size besides, so that rows have about length 1, as those of k-mers.
    """
    centre, spread = train.mean(axis=0), train.std(axis=0)
    scale = np.where(spread > 0, spread, 1) * np.sqrt(train.shape[1])
    return ((train - centre) / scale).astype(np.float32), ((query - centre) / scale).astype(np.float32)


def _vsearch_top_hit(
    train: Any, labels: np.ndarray, query: Any, classes: int, settings: Mapping[str, Any], *rest: int
) -> Logits:
    """The best identity per class that vsearch finds."""
    _, threads = rest
    return top_hit_logits(train, labels, query, classes, float(settings["min_identity"]), threads)


def _kmer_top_hit(
    train: Any, labels: np.ndarray, query: Any, classes: int, settings: Mapping[str, Any], *rest: int
) -> Logits:
    """The best identity per class, estimated from shared k-mers."""
    _, threads = rest
    identity, k = float(settings["min_identity"]), int(settings["k"])
    return kmer_top_hit_logits(train, labels, query, classes, identity, k, threads)


def _blast_top_hit(
    train: Any, labels: np.ndarray, query: Any, classes: int, settings: Mapping[str, Any], *rest: int
) -> Logits:
    """The best similarity per class that BLAST finds."""
    _, threads = rest
    return blast_top_hit_logits(train, labels, query, classes, float(settings["min_similarity"]), threads)


def _sintax(train: Any, labels: np.ndarray, query: Any, classes: int, _: Any, *rest: int) -> Logits:
    """The class that most samples of a query's k-mers agree on."""
    return sintax_logits(train, labels, query, classes, *rest)


def energy_evidence(logits: Logits) -> np.ndarray:
    """Return evidence (n, 4) of logits that no softmax has been through: their energy alone."""
    evidence = np.full((len(logits), len(EVIDENCE)), np.nan, dtype=np.float32)
    evidence[:, 0] = logsumexp(logits, axis=1)
    return evidence


def identity_evidence(logits: Logits) -> np.ndarray:
    """Return evidence (n, 4) of the top hit: 1 - identity is the distance to the nearest sequence of a class."""
    evidence = np.full((len(logits), len(EVIDENCE)), np.nan, dtype=np.float32)
    highest = logits.max(axis=1)
    evidence[:, 1] = evidence[:, 2] = 1 - highest / 100
    # Where nothing is similar enough, all classes have the same.
    hit = highest > logits.min(axis=1)
    evidence[hit, 3] = logits[hit].argmax(axis=1)
    return evidence


def unit_rows(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Scale each row of ``matrix`` to length 1, in place, and return it."""
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    matrix.data /= np.repeat(np.where(lengths > 0, lengths, 1), np.diff(matrix.indptr)).astype(np.float32)
    return matrix


def _lower_absent(logits: Logits, support: np.ndarray) -> Logits:
    if (support == 0).any():
        lowest = logits[:, support > 0].min(axis=1, keepdims=True)
        logits[:, support == 0] = lowest - ABSENT
    return logits


# Learning rate, penalty and epochs were chosen on the validation parts (5 folds) of 2,238 COI barcodes of
# 107 annelid species, by log loss.
REGRESSION = {"learning_rate": 0.05, "l2": 1e-6, "epochs": 30, "batch_size": 200}

METHODS: dict[str, Method] = {
    "majority": Method(_majority, "sequence", {}),
    "naive_bayes": Method(
        _naive_bayes, "sequence", {"k": 8, "alpha": 0.01}, {"k": (6, 8, 10), "alpha": (0.001, 0.01, 0.1)}
    ),
    "logistic_regression": Method(
        _logistic_regression,
        "sequence",
        {"k": 6, **REGRESSION},
        {"k": (5, 6, 7), "l2": (1e-6, 1e-5, 1e-4)},
        energy_evidence,
    ),
    "vsearch_top_hit": Method(_vsearch_top_hit, "sequence", {"min_identity": 0.7}, evidence=identity_evidence),
    "kmer_top_hit": Method(_kmer_top_hit, "sequence", {"min_identity": 0.7, "k": K}, evidence=identity_evidence),
    "blast_top_hit": Method(_blast_top_hit, "sequence", {"min_similarity": 0.7}, evidence=identity_evidence),
    "sintax": Method(_sintax, "sequence", {}),
    "vector_logistic_regression": Method(
        _vector_logistic_regression, "vector", REGRESSION, {"l2": (1e-6, 1e-5, 1e-4, 1e-3)}, energy_evidence
    ),
}
