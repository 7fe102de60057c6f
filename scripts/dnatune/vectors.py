"""What a classifier of sequences shows beside its answer: the energy of its logits and the vector that its head reads.

In: a model and token rows, as in ``inference``. Out: an energy and a vector per record, means over windows and views.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dnatune import distributed
from dnatune.averaging import MeanOfSequences
from dnatune.backbones.modeling_ensemble import EnsembleForSequenceClassification
from dnatune.backbones.modeling_pooled import PooledForSequenceClassification
from dnatune.fold_data import FoldData
from dnatune.inference import score_records
from dnatune.inputs import Inputs
from dnatune.scores import EVIDENCE
from dnatune.tasks.base import Task
from dnatune.tokens import TokenTable
from dnatune.tuning import LinearHead
from dnatune.vector_distances import nearest_distances


class Witness:
    """Listens to a model while it scores: logsumexp of its logits, and what goes into its linear head.

    The members of an ensemble are listened to one by one: the energy is their mean, the vector has their vectors of
    length 1 side by side, so that a cosine of two vectors is the mean of the members' cosines.
    """

    def __init__(self, table: TokenTable, records: np.ndarray, views: np.ndarray) -> None:
        self._of = (table, records, views)
        self._energy = MeanOfSequences(*self._of, 1)
        self._vectors: list[MeanOfSequences] = []
        self._logits: list[torch.Tensor] = []
        self._read: list[torch.Tensor] = []

    @contextmanager
    def listening(self, model: torch.nn.Module) -> Iterator[None]:
        """Listen to the model within the block."""
        members = list(model.members) if isinstance(model, EnsembleForSequenceClassification) else [model]
        hooks = [m.register_forward_hook(lambda _, __, out: self._logits.append(out.logits)) for m in members]
        hooks += [head.register_forward_pre_hook(lambda _, args: self._read.append(args[0])) for head in heads(model)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def take(self, places: np.ndarray, rows: np.ndarray) -> None:
        """Take in what the model showed of the token ``rows``, which stand at ``places`` of all rows."""
        energy = torch.stack([logits.float().logsumexp(-1) for logits in self._logits]).mean(0)
        self._energy.add(places, rows, energy[:, None].cpu())
        if not self._vectors:
            self._vectors = [MeanOfSequences(*self._of, read.shape[1]) for read in self._read]
        for mean, read in zip(self._vectors, self._read, strict=True):
            mean.add(places, rows, read.float().cpu())
        self._logits.clear()
        self._read.clear()

    def result(self) -> np.ndarray:
        """Return (records, 1 + size) float32: the energy, then the vector; size is 0 where no head reads a vector."""
        vectors = [mean.result() for mean in self._vectors]
        if len(vectors) > 1:
            vectors = [torch.nn.functional.normalize(each) for each in vectors]
        return torch.cat([self._energy.result(), *vectors], dim=1).numpy()


def heads(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the modules that read the pooled vector; none where the architecture's own head is used."""
    kinds = (PooledForSequenceClassification, LinearHead)
    return [module.classifier for module in model.modules() if isinstance(module, kinds)]


@dataclass(frozen=True)
class Reader:
    """A model with all that scoring needs: inputs, numbers of the views, classes, task and precision."""

    model: torch.nn.Module
    inputs: Inputs
    views: np.ndarray
    outputs: int
    task: Task
    precision: str

    def read(self, records: np.ndarray) -> np.ndarray:
        """Return (records, outputs + 1 + size) float32: scores, energy, vector. All processes of a job share it."""
        return distributed.by_shares(records, self._read)

    def _read(self, records: np.ndarray) -> np.ndarray:
        witness = Witness(self.inputs.table, records, self.views)
        settings: dict[str, Any] = {"views": self.views, "outputs": self.outputs, "task": self.task}
        scores = score_records(self.model, self.inputs, records, precision=self.precision, witness=witness, **settings)
        return np.concatenate([scores, witness.result()], axis=1)

    def vectors(self, records: np.ndarray) -> np.ndarray:
        """Return the vectors alone, (records, size)."""
        return self.read(records)[:, self.outputs + 1 :]


def distinct(table: TokenTable, records: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return those of ``records`` (n,) that do not repeat the tokens and the label (n,) of one before them."""
    seen: dict[tuple[int, bytes], int] = {}
    for record, label in zip(records.tolist(), labels.tolist(), strict=True):
        rows = table.rows_of(np.array([record]), views=[0])
        seen.setdefault((label, b"".join(table.ids(int(row)).tobytes() for row in rows)), record)
    return np.fromiter(seen.values(), dtype=np.int64, count=len(seen))


def scores_with_evidence(reader: Reader, fold: FoldData, distances: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores (n, classes) of a fold's rows ``scored`` and their evidence (n, 4), see ``scores.EVIDENCE``.

    Distances are to the fold's training records, which are read once more for it; without ``distances``, or where
    there is no pooled vector, they are NaN.
    """
    read = reader.read(fold.scored)
    scores = read[:, : reader.outputs]
    evidence = np.full((len(read), len(EVIDENCE)), np.nan, dtype=np.float32)
    evidence[:, 0] = read[:, reader.outputs]
    vectors = read[:, reader.outputs + 1 :]
    if distances and vectors.shape[1]:
        train = distinct(reader.inputs.table, fold.train, fold.labels[fold.train])
        evidence[:, 1:3] = nearest_distances(vectors, reader.vectors(train), fold.labels[train], scores.argmax(axis=1))
    return scores, evidence
