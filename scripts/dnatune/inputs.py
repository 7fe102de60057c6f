"""What a batch of token rows looks like to a model: padded ids, or (for a probe) embeddings computed before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dnatune.tasks.base import Task
from dnatune.tokens import TokenTable


@dataclass(frozen=True)
class TokenInputs:
    """Batches of token ids, padded to the longest of the batch."""

    table: TokenTable
    pad_id: int
    width = None

    def batch(self, rows: np.ndarray | list[int]) -> dict[str, torch.Tensor]:
        """Return input_ids and attention_mask (rows, tokens)."""
        pieces = [self.table.ids(int(row)) for row in rows]
        width = max(1, *(len(piece) for piece in pieces))  # a sequence shorter than its frame has no token
        ids = np.full((len(pieces), width), self.pad_id, dtype=np.int64)
        mask = np.zeros((len(pieces), width), dtype=np.int64)
        for i, piece in enumerate(pieces):
            ids[i, : len(piece)] = piece
            mask[i, : len(piece)] = 1
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


@dataclass(frozen=True)
class EmbeddingInputs:
    """Batches of embeddings (table rows, hidden) of a frozen backbone."""

    table: TokenTable
    embeddings: np.ndarray

    @property
    def width(self) -> int:
        """Numbers per embedding."""
        return self.embeddings.shape[1]

    def batch(self, rows: np.ndarray | list[int]) -> dict[str, torch.Tensor]:
        """Return embeddings (rows, hidden) float32."""
        return {"embeddings": torch.from_numpy(self.embeddings[np.asarray(rows)].astype(np.float32))}


Inputs = TokenInputs | EmbeddingInputs


@dataclass(frozen=True)
class TrainingCollator:
    """Joins items of ``TrainingRecords`` to a batch with the task's targets as labels."""

    inputs: Inputs
    targets: Any
    task: Task

    def __call__(self, items: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        rows, records = (np.array(part) for part in zip(*items, strict=True))
        labels = self.task.learning.batch_targets(self.targets, records, self.inputs.table, rows)
        return {**self.inputs.batch(rows), "labels": torch.as_tensor(labels)}
