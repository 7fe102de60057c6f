"""Scores of sequences: batches by length, averaged over windows and views (strands, reading frames).

One piece of code for learning curves, the scores of a fold and the naming of new sequences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch

from dnatune.averaging import MeanOfSequences
from dnatune.hardware import autocast
from dnatune.inputs import Inputs
from dnatune.tasks.base import Task

if TYPE_CHECKING:
    from dnatune.vectors import Witness

ROWS_PER_BATCH = 256
TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 65536}


def batches_by_length(lengths: np.ndarray, tokens: int) -> Iterator[np.ndarray]:
    """Yield positions in batches of similar length with at most ``tokens`` tokens, padding included."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and stop - start < ROWS_PER_BATCH:
            if int(lengths[order[stop]]) * (stop + 1 - start) > tokens:
                break
            stop += 1
        yield order[start:stop]
        start = stop


@torch.inference_mode()
def score_records(
    model: torch.nn.Module,
    inputs: Inputs,
    records: np.ndarray,
    *,
    views: Sequence[int] | np.ndarray,
    outputs: int,
    task: Task,
    precision: str,
    witness: Witness | None = None,
) -> np.ndarray:
    """Return scores float32: (records, outputs), or (bases of all records, outputs) for a task per base.

    ``views`` are numbers of views in the table, 0 is the forward strand at offset 0. Scores come from the mean over
    views and windows of what the task makes of the logits: probabilities for classes, whose scores are log
    probabilities. A ``witness`` made for the same records and views listens.
    """
    table = inputs.table
    views = np.asarray(views)
    rows = table.rows_of(records, views=views)
    mean = task.learning.collector(table, records, views, outputs) or MeanOfSequences(table, records, views, outputs)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with autocast(device.type, precision), witness.listening(model) if witness else nullcontext():
        for batch in batches_by_length(table.length[rows], TOKENS_PER_BATCH.get(device.type, 16384)):
            tensors = {name: t.to(device) for name, t in inputs.batch(rows[batch]).items()}
            mean.add(batch, rows[batch], task.learning.activate(model(**tensors).logits.float()).cpu())
            if witness:
                witness.take(batch, rows[batch])
    model.train(was_training)
    return task.learning.scores(mean.result()).numpy()


@torch.inference_mode()
def embeddings(model: torch.nn.Module, inputs: Inputs, rows: np.ndarray, precision: str, out: np.ndarray) -> None:
    """Fill ``out`` (rows, hidden) with the pooled hidden states of the table's ``rows``."""
    device = next(model.parameters()).device
    model.eval()
    with autocast(device.type, precision):
        for batch in batches_by_length(inputs.table.length[rows], TOKENS_PER_BATCH.get(device.type, 16384)):
            tensors = {name: t.to(device) for name, t in inputs.batch(rows[batch]).items()}
            out[batch] = model.embed(**tensors).float().cpu().numpy()
