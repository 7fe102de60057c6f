"""Labels that are class names: numbered by name, targets are class ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dnatune.errors import UserError, first_ten, nearest
from dnatune.labels import class_balance, imbalance, label_map
from dnatune.tasks.base import Described, Labels, LabelSource


class ClassLabels(Labels):
    """See the module."""

    def check(self, source: LabelSource, ids: pa.Array, texts: pa.Array, lengths: np.ndarray) -> None:
        """Refuse labels that are not in a given label map."""
        if self.options.get("labels"):
            refuse_unknown(source, ids, texts, self.options["labels"])

    def describe(self, texts: pa.ChunkedArray, known: np.ndarray, sequence: np.ndarray) -> Described:
        """Number the trained classes by name, or as the given label map does; count all."""
        labels = texts.to_pandas()
        mapping = label_map(labels[known].unique(), self.options.get("labels"))
        balance = class_balance(labels.to_numpy(), known, sequence, mapping["label2id"])
        return Described(mapping, balance, imbalance(balance))

    def targets(self, texts: pa.ChunkedArray, known: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Return class ids (n,), -1 for records of classes that are not trained."""
        found = pc.fill_null(pc.index_in(texts, pa.array(names, texts.type)), -1)
        ids = found.to_numpy().astype(np.int64)
        ids[~known] = -1
        if (ids[known] < 0).any():
            missing = sorted(set(texts.filter(pa.array(known & (ids < 0))).to_pylist()))
            raise UserError(
                f"The label map has no entry for {first_ten(missing)}, but there are known records of it; "
                "run the labels step again."
            )
        return ids

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Return the class ids."""
        return targets


def refuse_unknown(source: LabelSource, ids: pa.Array, labels: pa.Array, given: Sequence[str]) -> None:
    """Raise UserError for the first of ``labels`` (n,) that is not among the names of a given label map."""
    wrong = np.flatnonzero(~pc.is_in(labels, value_set=pa.array(list(given), labels.type)).to_numpy(False))
    if len(wrong):
        found, name = (column[int(wrong[0])].as_py() for column in (labels, ids))
        raise UserError(
            f"{source.file}: the label '{found}' of id '{name}' (column '{source.column}') is not in "
            f"data.label_map{nearest(found, list(given))}; add it there or correct the table."
        )
