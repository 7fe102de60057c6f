"""Baselines that were trained once and name new sequences later: a folder each, arrays and text, no pickle.

In: all known sequences and their class ids. Out: ``expert.json`` with the method and its settings, and what the
method learned: arrays in ``model.npz``, or, for a method that looks sequences up, ``references.fasta``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from dnatune import files
from dnatune.baselines import Logits, Method, NaiveBayes, SoftmaxRegression, softmax_regression, unit_rows
from dnatune.errors import UserError
from dnatune.kmers import kmer_matrix

Answer = Callable[[Sequence[str]], Logits]
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Form:
    """How a method is kept: ``arrays(sequences, labels, classes, settings, seed)`` by name, and ``answer(arrays,
    settings)``, which gives logits (queries, classes) of new sequences."""

    arrays: Callable[..., dict[str, np.ndarray]]
    answer: Callable[[Mapping[str, np.ndarray], Settings], Answer]


def _regression_arrays(
    sequences: Sequence[str], labels: np.ndarray, classes: int, settings: Settings, seed: int
) -> dict[str, np.ndarray]:
    table = unit_rows(kmer_matrix(sequences, settings["k"]))
    return vars(softmax_regression(table, labels, classes, settings, seed))


def _regression_answer(arrays: Mapping[str, np.ndarray], settings: Settings) -> Answer:
    model = SoftmaxRegression(arrays["weights"], arrays["offset"], arrays["support"])
    return lambda queries: model(unit_rows(kmer_matrix(queries, settings["k"])))


def _bayes_arrays(
    sequences: Sequence[str], labels: np.ndarray, classes: int, settings: Settings, seed: int
) -> dict[str, np.ndarray]:
    model = NaiveBayes.fitted(kmer_matrix(sequences, settings["k"]), labels, classes, float(settings["alpha"]))
    parts = {name: getattr(model.weights, name) for name in ("data", "indices", "indptr")}
    return {**parts, "rest": model.rest, "support": model.support}


def _bayes_answer(arrays: Mapping[str, np.ndarray], settings: Settings) -> Answer:
    shape = (4 ** settings["k"], len(arrays["support"]))
    weights = sparse.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
    model = NaiveBayes(weights, arrays["rest"], arrays["support"])
    return lambda queries: model(kmer_matrix(queries, settings["k"]))


# Any other method keeps its training sequences and is asked as in a fold.
FORMS = {
    "logistic_regression": Form(_regression_arrays, _regression_answer),
    "naive_bayes": Form(_bayes_arrays, _bayes_answer),
}


def save_expert(
    folder: Path,
    name: str,
    method: Method,
    sequences: Sequence[str],
    labels: np.ndarray,
    names: Sequence[str],
    settings: Settings,
    seed: int,
) -> None:
    """Train one baseline on all ``sequences`` and their class ids (n,), and keep it in ``folder``.

    Missing settings take the method's defaults. Raises ``UserError`` for a method that does not read sequences.
    """
    if method.reads != "sequence":
        raise UserError(f"{name} needs more than the sequence, which is all there is of a new one; take it out.")
    merged = {key: settings.get(key, default) for key, default in method.defaults.items()}
    folder.mkdir(parents=True)
    files.write_json(folder / "expert.json", {"method": name, "settings": merged, "seed": seed, "outputs": len(names)})
    if name in FORMS:
        with files.whole(folder / "model.npz") as partial:
            np.savez(partial, **FORMS[name].arrays(sequences, labels, len(names), merged, seed))
    else:
        with files.whole(folder / "references.fasta") as partial, open(partial, "w", encoding="utf-8") as lines:
            for row, (label, sequence) in enumerate(zip(labels, sequences, strict=True)):
                lines.write(f">{row} {label} {names[label]}\n{sequence}\n")


def load_expert(folder: Path, method: Callable[[str], Method], threads: int = 1) -> Answer:
    """Return what gives logits, float32 (queries, classes), of new sequences; ``method`` finds one by name."""
    about = files.read_json(folder / "expert.json")
    name, settings = about["method"], about["settings"]
    if name in FORMS:
        with np.load(folder / "model.npz", allow_pickle=False) as stored:
            return FORMS[name].answer(dict(stored), settings)
    sequences, labels = references(folder / "references.fasta")
    ask = method(name).logits
    return lambda queries: ask(sequences, labels, queries, about["outputs"], settings, about["seed"], threads)


def references(path: Path) -> tuple[list[str], np.ndarray]:
    """Return the sequences of a ``references.fasta`` and their class ids (n,), the second word of each header."""
    sequences, labels = [], []
    with open(path, encoding="utf-8") as lines:
        for header in lines:
            labels.append(int(header.split()[1]))
            sequences.append(next(lines).strip())
    return sequences, np.array(labels, dtype=np.int64)
