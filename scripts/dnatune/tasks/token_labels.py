"""Labels with one letter per base, or one tag per base between separators; targets are class ids per base.

The order of bases is that of the cleaned sequence, from which gaps are gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from dnatune.errors import UserError, first_ten, nearest
from dnatune.labels import label_map
from dnatune.per_base import PerBase, value_counts
from dnatune.tasks.base import Described, Labels, LabelSource


class TokenLabels(Labels):
    """See the module."""

    def tags(self, text: str) -> Sequence[str]:
        """Return the labels of a text, one for each base."""
        if self.task.separator is None:
            return text
        return text.strip().split(self.task.separator)

    def check(self, source: LabelSource, ids: pa.Array, texts: pa.Array, lengths: np.ndarray) -> None:
        """Refuse a text whose number of labels is not that of the bases, or that holds an empty or unknown one."""
        given = self.options.get("labels")
        for name, text, bases in zip(ids.to_pylist(), texts.to_pylist(), lengths.tolist(), strict=True):
            tags = self.tags(text)
            where = f"{source.file}: the labels of id '{name}' (column '{source.column}')"
            if len(tags) != bases:
                raise UserError(
                    f"{where} are {len(tags)}, but its sequence has {bases} bases (gaps removed); "
                    f"{self._expected(text, bases)}."
                )
            # A letter may well be a blank; what stands between two separators may not be nothing.
            if self.task.separator and "" in tags:
                raise UserError(f"{where} have an empty one at base {list(tags).index('') + 1}; name a label there.")
            unknown = set(tags) - set(given or tags)
            if unknown:
                wrong = min(unknown, key=list(tags).index)
                raise UserError(
                    f"{where} have '{wrong}' at base {list(tags).index(wrong) + 1}, which is not in data.label_map"
                    f"{nearest(wrong, list(given))}; add it there or correct the table."
                )

    def _expected(self, text: str, bases: int) -> str:
        if self.task.separator is not None:
            return f"expected one tag per base, separated by '{self.task.separator}' (token.separator)"
        for separator in (" ", ",", ";"):
            if len(text.strip().split(separator)) == bases:
                return f"they seem to be separated by '{separator}', so set token.separator"
        return "expected one letter per base"

    def describe(self, texts: pa.ChunkedArray, known: np.ndarray, sequence: np.ndarray) -> Described:
        """Number the labels by name, or as the given label map does; count their bases and sequences."""
        bases: Counter[str] = Counter()
        records: Counter[str] = Counter()
        for text in texts.to_pylist():
            found = Counter(self.tags(text))
            bases.update(found)
            records.update(found.keys())
        mapping = label_map(bases, self.options.get("labels"))
        if len(bases) < 2:
            raise UserError(
                f"All bases have the same label, '{next(iter(bases), '')}'; telling labels apart needs at least two."
            )
        names = list(mapping["label2id"])
        balance = pd.DataFrame(
            {
                "label": names,
                "class_id": range(len(names)),
                "bases": [bases[name] for name in names],
                "records": [records[name] for name in names],
            }
        )
        balance["share"] = balance["bases"] / balance["bases"].sum()
        balance = balance.sort_values(["bases", "label"], ascending=[False, True], ignore_index=True)
        return Described(mapping, balance, described(balance, len(texts)))

    def targets(self, texts: pa.ChunkedArray, known: np.ndarray, names: Sequence[str]) -> PerBase:
        """Return class ids per base."""
        ids = {name: i for i, name in enumerate(names)}
        parse = letters if self.task.separator is None else words
        values = [parse(self.tags(text), ids) for text in texts.to_pylist()]
        counts = np.array([len(value) for value in values], dtype=np.int64)
        return PerBase(np.concatenate([np.empty(0, np.int32), *values]), counts)

    def strata(self, targets: PerBase) -> np.ndarray:
        """Return for each record the label it holds that the fewest records hold, so that rare ones are spread."""
        held = value_counts(targets) > 0
        rarity = np.argsort(np.argsort(held.sum(axis=0), kind="stable"))
        return np.where(held, rarity, held.shape[1]).argmin(axis=1)


def letters(text: str, ids: dict[str, int]) -> np.ndarray:
    """Return the class ids (bases,) int32 of a text with a letter per base. Raises UserError for an unknown one."""
    codes, position = np.unique(np.frombuffer(text.encode("utf-32-le"), np.uint32), return_inverse=True)
    return words([chr(code) for code in codes.tolist()], ids)[position]


def words(tags: Iterable[str], ids: dict[str, int]) -> np.ndarray:
    """Return the class ids (bases,) int32 of tags. Raises UserError for an unknown one."""
    try:
        return np.array([ids[tag] for tag in tags], dtype=np.int32)
    except KeyError as unknown:
        raise UserError(f"The label map has no entry for {unknown}; run the labels step again.") from None


def described(balance: pd.DataFrame, records: int) -> dict[str, object]:
    """Return numbers on a balance table (label, bases, records, share; the commonest first), and a statement."""
    there = balance[balance["bases"] > 0]
    first, last = there.iloc[0], there.iloc[-1]
    shares = [f"{row.label} {100 * row.share:.3g} %" for row in there.itertuples()]
    statement = (
        f"{records:,} sequences have {balance['bases'].sum():,} labelled bases with {len(there)} labels: "
        f"{first_ten(shares)}. The commonest has {first['bases'] / last['bases']:.3g} times the bases of the rarest; "
        f"always answering '{first['label']}' would be right for {100 * first['share']:.3g} % of the bases."
    )
    return {
        "statement": statement,
        "classes": len(balance),
        "records": records,
        "bases": int(balance["bases"].sum()),
        "majority_share": float(first["share"]),
        "ratio": float(first["bases"] / last["bases"]),
    }
