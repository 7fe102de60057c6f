"""What ``predict`` says of ranks: a name and a probability at each, the deepest rank that is sure enough, QIIME's form.

Takes an ``Answer`` (``final_answer``) and what ``rank_calibration.fit`` gave.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dnatune.final_answer import Answer
from dnatune.taxonomy import prefixes

LOGGER = logging.getLogger("dnatune")

UNASSIGNED = "Unassigned"


def rank_columns(fitted: Mapping[str, Any] | None, answer: Answer, labels: Sequence[str]) -> pd.DataFrame:
    """Return each higher rank's ``<rank>`` and ``<rank>_probability``, then ``rank``, ``taxon``, ``taxon_probability``.

    The last three are of the deepest rank at which a record gets a name (``final_answer``), empty where it gets none.
    ``fitted`` is what ``rank_calibration.fit`` gave, ``labels`` (n,) the names of the most probable labels. No columns
    without ranks.
    """
    rows = pd.RangeIndex(len(answer.depth))
    if not fitted:
        return pd.DataFrame(index=rows)
    columns: dict[str, Any] = {}
    deepest: dict[str, np.ndarray] = {name: np.full(len(rows), "", object) for name in ("rank", "taxon")}
    deepest["taxon_probability"] = np.full(len(rows), np.nan)
    for rank, (name, best, top) in enumerate(zip(fitted["ranks"], answer.taxa, answer.probabilities, strict=True)):
        called = np.array(labels if not rank else [fitted["taxa"][rank - 1][taxon] or "" for taxon in best], object)
        here = answer.depth == rank
        deepest["rank"][here] = name
        deepest["taxon"][here], deepest["taxon_probability"][here] = called[here], top[here]
        if rank:
            columns |= {name: called, f"{name}_probability": top}
    return pd.DataFrame({**columns, **deepest}, index=rows)


def qiime_table(named: pd.DataFrame, fitted: Mapping[str, Any]) -> pd.DataFrame:
    """Return Feature ID, Taxon, Confidence in QIIME 2's form of a taxonomy, one row for each id of ``named``.

    ``named`` is the table of names. A taxon goes from the highest rank down to the deepest that is sure enough, each
    with its prefix. ``Unassigned`` has the highest rank's probability, a sequence that could not be read 0. A
    repeated id keeps its first row: QIIME wants each once.
    """
    ranks = fitted["ranks"]
    columns = ["label", *ranks[1:]]
    again = named["id"].duplicated()
    if again.any():
        LOGGER.warning("%d rows of repeated ids are not in QIIME's form, which has each id once.", again.sum())
    named = named[~again]
    begins = prefixes(ranks)
    highest = "probability" if len(ranks) == 1 else f"{ranks[-1]}_probability"
    rows = []
    for row in named.to_dict("records"):
        if row["rank"] in ranks:
            down_to = ranks.index(row["rank"])
            parts = [begins[i] + _plain(row[columns[i]]) for i in range(len(ranks) - 1, down_to - 1, -1)]
            rows.append((row["id"], "; ".join(parts), row["taxon_probability"]))
        else:
            rows.append((row["id"], UNASSIGNED, 0.0 if pd.isna(row[highest]) else row[highest]))
    return pd.DataFrame(rows, columns=["Feature ID", "Taxon", "Confidence"])


def _plain(name: Any) -> str:
    """Return a name without what would end a rank, a cell or a line of the form."""
    return " ".join(re.sub(r"[;\s]+", " ", str(name)).split())
