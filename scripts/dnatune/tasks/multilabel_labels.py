"""Labels of which a record may have several: texts with a separator, targets (records, labels) of 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dnatune.errors import UserError, nearest
from dnatune.groups import distinct_per_class
from dnatune.labels import label_map
from dnatune.tasks.base import Described, Labels, LabelSource


class MultilabelLabels(Labels):
    """See the module."""

    def names_in(self, text: str) -> list[str]:
        """Return the distinct labels of one text, in its order; blanks around them do not count."""
        return list(dict.fromkeys(name for part in text.split(self.options["separator"]) if (name := part.strip())))

    def canonical(self, texts: pa.Array) -> pa.Array:
        """Return the texts with sorted labels: the same labels in another order are the same."""
        encoded = texts.dictionary_encode()
        separator = self.options["separator"]
        written = [separator.join(sorted(self.names_in(text))) for text in encoded.dictionary.to_pylist()]
        return pa.array(written, pa.string()).take(encoded.indices)

    def check(self, source: LabelSource, ids: pa.Array, texts: pa.Array, lengths: np.ndarray) -> None:
        """Refuse a separator that never occurs and labels that are not in a given label map."""
        given, separator = self.options["labels"], self.options["separator"]
        distinct = [text for text in pc.unique(texts).to_pylist() if text.strip()]
        if not distinct:
            raise UserError(f"{source.file}: column '{source.column}' has no label at all; name the column of labels.")

        def first(text: str) -> str:
            return ids[pc.index(texts, text).as_py()].as_py()

        # Without a separator in any cell each record has one label at most: believed only of labels that are known.
        unsplit = not any(separator in text for text in distinct)
        for text in distinct:
            for name in self.names_in(text):
                if unsplit and name not in (given or ()):
                    raise UserError(
                        f"{source.file}: the separator '{separator}' (multilabel.separator) occurs in no cell of "
                        f"column '{source.column}', such as '{name}' of id '{first(text)}'; give the right separator, "
                        "or name all labels in data.label_map if no record has more than one."
                    )
                if given and name not in given:
                    raise UserError(
                        f"{source.file}: the label '{name}' of id '{first(text)}' (column '{source.column}') is not in "
                        f"data.label_map{nearest(name, given)}; add it there or correct the table."
                    )

    def describe(self, texts: pa.ChunkedArray, known: np.ndarray, sequence: np.ndarray) -> Described:
        """Number the labels and count their records; the summary also tells how many labels a record has."""
        found = {name for text in pc.unique(texts).to_pylist() for name in self.names_in(text)}
        mapping = label_map(found, self.options["labels"])
        names = list(mapping["label2id"])
        self.task.groups(names)
        targets = self.targets(texts, known, names)
        record, label = np.nonzero(targets)
        balance = pd.DataFrame(
            {
                "label": names,
                "class_id": range(len(names)),
                "records": targets.sum(axis=0, dtype=np.int64),
                "distinct_sequences": distinct_per_class(label, sequence[record], len(names)),
            }
        )
        balance["share"] = balance["records"] / len(targets)
        balance = balance.sort_values(["records", "label"], ascending=[False, True], ignore_index=True)
        return Described(mapping, balance, _summary(targets, balance))

    def targets(self, texts: pa.ChunkedArray, known: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Return (records, labels) int8: 1 where the record has the label."""
        place = {name: i for i, name in enumerate(names)}
        encoded = pa.chunked_array(texts).combine_chunks().dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        rows = np.zeros((len(distinct), len(names)), dtype=np.int8)
        for row, text in enumerate(distinct):
            for name in self.names_in(text):
                if name not in place:
                    raise UserError(f"The label map has no entry for '{name}'; run the labels step again.")
                rows[row, place[name]] = 1
        return rows[encoded.indices.to_numpy(zero_copy_only=False)]

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Return each record's rarest label."""
        return rarest_label(targets)

    def sampling_weights(self, targets: np.ndarray) -> np.ndarray:
        """Return how often each record (n,) is drawn, by its rarest label; those of the commonest, or of none, once.

        The repeat factor sqrt(t / f) of Gupta, Dollár & Girshick (2019, LVIS, sec. 4.1), f the share of a label, with
        t the share of the commonest one.
        """
        records = np.maximum(targets.sum(axis=0, dtype=np.int64), 1)
        return np.where(targets > 0, np.sqrt(records.max() / records), 1.0).max(axis=1)


def rarest_label(targets: np.ndarray) -> np.ndarray:
    """Return the rarest label of each record as classes (n,) counted from 0, the rarest first; those without a label
    are a class of their own, the last. Folds with an even share of each come close to even shares of all labels."""
    records = np.r_[targets.sum(axis=0, dtype=np.int64), len(targets) + 1]
    rarity = np.lexsort((np.arange(len(records)), records)).argsort()
    with_none = np.column_stack([targets, np.ones(len(targets), dtype=np.int8)])
    rarest = np.where(with_none > 0, rarity, len(rarity)).min(axis=1)
    return np.unique(rarest, return_inverse=True)[1]


def _summary(targets: np.ndarray, balance: pd.DataFrame) -> dict:
    """Return numbers and one statement on how common the labels are, and how many a record has."""
    each = targets.sum(axis=1, dtype=np.int64)
    none, most = int((each == 0).sum()), balance.iloc[0]
    rarest, absent = balance[balance["records"] > 0].iloc[-1], int((balance["records"] == 0).sum())
    labelled = each[each > 0]
    many = f"{len(balance)} labels" if len(balance) > 1 else "1 label"
    statement = f"Of {len(each):,} sequences {none:,} have none of the {many}" if none else (
        f"Each of {len(each):,} sequences has at least one of {many}"
    )  # fmt: skip
    statement += (
        f"; the others have {labelled.mean():.3g} on average. " if none else f", {each.mean():.3g} on average. "
    )
    statement += (
        f"The commonest label, '{most['label']}', is that of {most['records']:,} sequences "
        f"({100 * most['share']:.2g} %), the rarest, '{rarest['label']}', that of {rarest['records']:,}."
    )
    if absent:
        statement += f" {absent} of the label map {'has' if absent == 1 else 'have'} no sequence at all."
    return {
        "statement": statement,
        "labels": len(balance),
        "records": len(each),
        "without_label": none,
        "labels_per_record": {str(n): int(count) for n, count in enumerate(np.bincount(each)) if count},
        "mean_labels": float(each.mean()),
        "largest": int(most["records"]),
        "smallest": int(rarest["records"]),
        "labels_without_record": absent,
    }
