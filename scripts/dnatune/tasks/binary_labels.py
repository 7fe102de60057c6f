"""Labels of which there are two: the one looked for is the second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from dnatune.errors import UserError, first_ten
from dnatune.tasks.base import Described
from dnatune.tasks.class_labels import ClassLabels


class BinaryLabels(ClassLabels):
    """See the module."""

    def describe(self, texts: pa.ChunkedArray, known: np.ndarray, sequence: np.ndarray) -> Described:
        """Number the two names, the positive one second."""
        found = super().describe(texts, known, sequence)
        names = list(found.label_map["label2id"])
        if len(names) != 2:
            raise UserError(
                f"Configuration key 'task': binary needs two names, found {len(names)} ({first_ten(names)}); "
                "use task: multiclass."
            )
        positive = self.positive(names)
        ordered = [name for name in names if name != positive] + [positive]
        label2id = {name: i for i, name in enumerate(ordered)}
        found.label_map.update(label2id=label2id, id2label={str(i): name for name, i in label2id.items()})
        found.balance["class_id"] = [label2id.get(label, -1) for label in found.balance["label"]]
        found.summary["positive"] = positive
        return found

    def positive(self, names: Sequence[str]) -> str:
        """Return the name looked for: the one of the configuration, else the last in the label map's order."""
        positive = self.options.get("positive")
        if positive is not None and str(positive) not in names:
            raise UserError(
                f"Configuration key 'binary.positive': found '{positive}', expected one of {', '.join(names)}."
            )
        return names[-1] if positive is None else str(positive)
