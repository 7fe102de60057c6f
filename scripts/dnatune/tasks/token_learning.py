"""Learning a label per base from tokens that may cover several.

The target of a token are the numbers of its bases that have each label; the loss is the cross entropy with that
distribution, weighted by the number of bases. With n_tc the bases of token t that have label c, the loss

    - sum_t sum_c n_tc log p_tc / sum_t sum_c n_tc

is the cross entropy per base, averaged over the bases of a batch, where each base gets the probabilities of its
token. Special tokens and padding have no bases and count for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad

from dnatune.averaging import MeanOfBases, bases_read
from dnatune.errors import UserError
from dnatune.losses import Loss
from dnatune.per_base import PerBase
from dnatune.tasks.class_learning import ClassLearning
from dnatune.tokens import TokenTable


class TokenLearning(ClassLearning):
    """See the module. Probabilities are averaged per base, scores are log probabilities (bases, classes)."""

    def check(self, table: TokenTable, targets: PerBase, source: str) -> None:
        """Refuse a tokenizer whose tokens do not stand for all bases."""
        read = bases_read(table, np.arange(len(targets)))
        wrong = np.flatnonzero(read != targets.counts)
        if len(wrong):
            raise UserError(
                f"The tokenizer of {source} reads a sequence of {targets.counts[wrong[0]]} bases as tokens of "
                f"{read[wrong[0]]} bases; a label per base needs one that keeps every base, such as builtin:nt-mini."
            )

    def loss(self, training: Mapping[str, Any], targets: PerBase, outputs: int) -> Loss:
        """Return the loss of logits (batch, tokens, outputs) and counts as ``batch_targets`` gives them.

        ``class_weights`` are n / (classes * count) over the training bases, scikit-learn's 'balanced'; the smoothed
        share of a label is spread over all, as torch's ``cross_entropy`` does it.
        """
        counts = np.maximum(np.bincount(targets.values, minlength=outputs), 1)
        weighted = training["imbalance"] == "class_weights"
        weights = torch.as_tensor(counts.sum() / (outputs * counts) if weighted else np.ones(outputs)).float()
        smoothing = training["label_smoothing"]

        def loss(logits: torch.Tensor, bases: torch.Tensor) -> torch.Tensor:
            weight = weights.to(logits.device)
            bases = pad(bases, (0, outputs - bases.shape[-1]))
            smoothed = bases * (1 - smoothing) + bases.sum(-1, keepdim=True) * (smoothing / outputs)
            return -(smoothed * weight * logits.log_softmax(-1)).sum() / (bases * weight).sum()

        return loss

    def batch_targets(self, targets: PerBase, records: np.ndarray, table: TokenTable, rows: np.ndarray) -> torch.Tensor:
        """Return the bases with each label under each token, (batch, tokens, classes up to the batch's highest)."""
        read = []
        for record, row in zip(records, rows, strict=True):
            starts, widths = table.spans(int(row))
            read.append((targets.of(int(record))[starts[0] : starts[-1] + widths[-1]], widths))
        classes = 1 + max(int(labels.max(initial=0)) for labels, _ in read)
        found = np.zeros((len(rows), int(table.length[rows].max()), classes), dtype=np.float32)
        for counts, (labels, widths) in zip(found, read, strict=True):
            cells = np.repeat(np.arange(len(widths)), widths) * classes + labels
            counts[: len(widths)] = np.bincount(cells, minlength=len(widths) * classes).reshape(-1, classes)
        return torch.from_numpy(found)

    def collector(self, table: TokenTable, records: np.ndarray, views: np.ndarray, outputs: int) -> MeanOfBases:
        """Return what averages per base."""
        return MeanOfBases(table, records, views, outputs)

    def curve_metrics(self, scores: np.ndarray, targets: PerBase) -> dict[str, float]:
        """Return the figures over all bases."""
        return super().curve_metrics(scores, targets.values)
