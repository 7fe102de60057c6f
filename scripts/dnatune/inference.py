"""Probabilities of sequences: batches by length, averaged over windows and views (strands, reading frames).

One piece of code for learning curves, the scores of a fold and the naming of new sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from dnatune.hardware import autocast
from dnatune.inputs import Inputs
from dnatune.tokens import TokenTable

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


def row_weights(table: TokenTable, records: np.ndarray, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each row of ``records`` its record's position (rows,) and its share in the average (rows,).

    Views count equally, and so do the windows within a view.
    """
    count = table.n_windows[records][:, views].ravel()
    position = np.repeat(np.repeat(np.arange(len(records)), len(views)), count)
    weight = np.repeat(1.0 / (count * len(views)), count)
    return position, weight


@torch.inference_mode()
def log_probabilities(
    model: torch.nn.Module,
    inputs: Inputs,
    records: np.ndarray,
    *,
    views: Sequence[int] | np.ndarray,
    classes: int,
    probabilities: Callable[[torch.Tensor], torch.Tensor],
    precision: str,
) -> np.ndarray:
    """Return log probabilities (records, classes) float32, the logarithm of the mean over views and windows.

    ``views`` are numbers of views in the table, 0 is the forward strand at offset 0. ``probabilities`` turns logits
    (rows, classes) into probabilities; the task knows how.
    """
    table = inputs.table
    views = np.asarray(views)
    rows = table.rows_of(records, views=views)
    position, weight = row_weights(table, records, views)
    device = next(model.parameters()).device
    mean = torch.zeros(len(records), classes)
    was_training = model.training
    model.eval()
    with autocast(device.type, precision):
        for batch in batches_by_length(table.length[rows], TOKENS_PER_BATCH.get(device.type, 16384)):
            tensors = {name: t.to(device) for name, t in inputs.batch(rows[batch]).items()}
            found = probabilities(model(**tensors).logits.float()).cpu()
            mean.index_add_(
                0, torch.from_numpy(position[batch]), found * torch.from_numpy(weight[batch]).float()[:, None]
            )
    model.train(was_training)
    return mean.clamp_(min=torch.finfo(torch.float32).tiny).log_().numpy()


@torch.inference_mode()
def embeddings(model: torch.nn.Module, inputs: Inputs, rows: np.ndarray, precision: str, out: np.ndarray) -> None:
    """Fill ``out`` (table rows, hidden) with the pooled hidden states of ``rows``."""
    device = next(model.parameters()).device
    model.eval()
    with autocast(device.type, precision):
        for batch in batches_by_length(inputs.table.length[rows], TOKENS_PER_BATCH.get(device.type, 16384)):
            tensors = {name: t.to(device) for name, t in inputs.batch(rows[batch]).items()}
            out[rows[batch]] = model.embed(**tensors).float().cpu().numpy()
