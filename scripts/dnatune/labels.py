"""Labels: which class has which number, and how unbalanced the classes are, said in plain words.

In: records.parquet. Out: label_map.json, class_balance.tsv, summary.json.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dnatune.files import write_json, write_tsv
from dnatune.groups import codes_in_file, distinct_per_class
from dnatune.tasks.base import Task
from dnatune.unknown_kinds import FLAGGED, kinds_in_file

_HEAD = 10


def label_map(labels: Iterable[str], given: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
    """Return {"label2id": {name: int}, "id2label": {"0": name}} of the distinct labels, sorted by name.

    ``given`` names them in an order of the user's instead, those without a record included.
    """
    names = sorted(set(labels)) if not given else list(given)
    return {
        "label2id": {name: i for i, name in enumerate(names)},
        "id2label": {str(i): name for i, name in enumerate(names)},
    }


def class_balance(
    labels: np.ndarray, known: np.ndarray, sequence: np.ndarray, label2id: dict[str, int]
) -> pd.DataFrame:
    """Return one row per class, the largest first: label, class_id, records, distinct_sequences, share.

    ``labels``, ``known``, ``sequence`` (codes) are (records,). ``class_id`` is -1 for known unknowns;
    ``share`` is of all kept records, so that the column sums to one.
    """
    codes, names = pd.factorize(pd.Series(labels))
    table = pd.DataFrame(
        {
            "label": names,
            "class_id": [label2id.get(name, -1) for name in names],
            "records": np.bincount(codes, minlength=len(names)),
            "distinct_sequences": distinct_per_class(codes, sequence, len(names)),
        }
    )
    table.loc[~pd.Series(known).groupby(codes).any().to_numpy(), "class_id"] = -1
    table["share"] = table["records"] / len(codes)
    return table.sort_values(["records", "label"], ascending=[False, True], ignore_index=True)


def imbalance(balance: pd.DataFrame) -> dict[str, Any]:
    """Return the numbers and one plain statement on the imbalance of the known classes of a balance table."""
    known = balance[balance["class_id"] >= 0].sort_values(["records", "label"], ascending=[False, True])
    unknown = balance[balance["class_id"] < 0]
    sizes = known["records"].to_numpy()
    total, largest, smallest, median = sizes.sum(), sizes[0], sizes[-1], float(np.median(sizes))
    head = min(_HEAD, len(sizes))
    head_share = sizes[:head].sum() / total
    ratio = largest / smallest
    if largest == smallest:
        statement = f"All {len(sizes)} classes have {_count(largest)}: the classes are balanced."
    else:
        which = "2" if len(sizes) == 2 else f"{len(sizes):,}"
        middle = "" if len(sizes) == 2 else f"the median {median:g}, "
        statement = (
            f"The largest of {which} classes has {_count(largest)}, {middle}the smallest {smallest}: the "
            f"largest is {ratio:.3g} times the smallest"
        )
        if len(sizes) > 2 * _HEAD:
            statement += f"; {head} classes hold {_percent(head_share)} % of all sequences"
        statement += (
            f". Always answering '{known['label'].iloc[0]}' would be right for "
            f"{_percent(largest / total)} % of the sequences."
        )
    if len(unknown):
        one, records = len(unknown) == 1, int(unknown["records"].sum())
        statement += (
            f" {len(unknown):,} more {'class' if one else 'classes'} with {_count(records)} "
            f"{'is' if one else 'are'} too rare to train and kept as known unknown{'' if one else 's'}."
        )
    return {
        "statement": statement,
        "classes": len(sizes),
        "records": int(total),
        "largest": int(largest),
        "largest_class": known["label"].iloc[0],
        "median": median,
        "mean": float(sizes.mean()),
        "smallest": int(smallest),
        "smallest_class": known["label"].iloc[-1],
        "ratio": float(ratio),
        "head_classes": head,
        "head_share": float(head_share),
        "majority_share": float(largest / total),
        "effective_classes": float(np.exp(-np.sum(sizes / total * np.log(sizes / total)))),
        "classes_known_unknown": len(unknown),
        "records_known_unknown": int(unknown["records"].sum()),
    }


def map_labels(
    records_path: str | Path,
    map_path: str | Path,
    balance_path: str | Path,
    summary_path: str | Path,
    task: Task,
    taxonomy: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the label map, the balance table and their summary from records.parquet; return the summary.

    The label map also has the ``taxonomy`` (``taxonomy.described``) where there is one.
    """
    # What a flagged record is called is the name of no class.
    named = kinds_in_file(records_path) != FLAGGED
    rows = pq.read_table(records_path, columns=["label", "known"]).filter(pa.array(named))
    found = task.labels.describe(rows["label"], rows["known"].to_numpy(), codes_in_file(records_path)[named])
    if taxonomy is not None:
        found.label_map["taxonomy"] = taxonomy
    write_json(map_path, found.label_map)
    write_tsv(balance_path, found.balance)
    write_json(summary_path, found.summary)
    return found.summary


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.1 else f"{100 * share:.2g}"


def _count(n: int) -> str:
    return f"{n:,} sequence{'' if n == 1 else 's'}"
