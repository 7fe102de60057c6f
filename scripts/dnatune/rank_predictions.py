"""What ``predict`` says of ranks: a name and a probability at each, the deepest rank that is sure enough, QIIME's form.

Takes calibrated probabilities of labels (n, labels) and what ``rank_calibration.fit`` gave.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dnatune.metrics import top_choices
from dnatune.relatives import NONE, choices_at
from dnatune.taxonomy import Taxonomy, prefixes

LOGGER = logging.getLogger("dnatune")

UNASSIGNED = "Unassigned"


def rank_columns(fitted: Mapping[str, Any] | None, probabilities: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """Return each higher rank's ``<rank>`` and ``<rank>_probability``, then ``rank``, ``taxon``, ``taxon_probability``.

    The last three are of the deepest rank whose most probable taxon reaches the threshold, empty where none does. The
    threshold is at least 0.5, so the taxa above it are the most probable of their ranks too. No columns without ranks.
    """
    rows = pd.RangeIndex(len(probabilities))
    if not fitted:
        return pd.DataFrame(index=rows)
    taxonomy = Taxonomy.from_json(fitted)
    columns: dict[str, Any] = {}
    deepest: dict[str, np.ndarray] = {name: np.full(len(rows), "", object) for name in ("rank", "taxon")}
    deepest["taxon_probability"] = np.full(len(rows), np.nan)
    # From the highest rank down: the deepest that is sure enough is written last.
    found = [top_choices(p) for p in taxonomy.roll_up(probabilities)]
    for rank in range(len(found) - 1, -1, -1):
        called = np.array(taxonomy.taxa[rank - 1] if rank else list(names), object)
        best, top = found[rank]
        taxon = np.array([name or "" for name in called[best]], object)
        sure = top >= fitted["threshold"]
        deepest["rank"][sure] = taxonomy.ranks[rank]
        deepest["taxon"][sure], deepest["taxon_probability"][sure] = taxon[sure], top[sure]
        if rank:
            columns = {taxonomy.ranks[rank]: taxon, f"{taxonomy.ranks[rank]}_probability": top, **columns}
    return pd.DataFrame({**columns, **deepest}, index=rows)


def without_label(
    table: pd.DataFrame,
    fitted: Mapping[str, Any],
    probabilities: np.ndarray,
    unknown: np.ndarray,
    relatives: np.ndarray,
) -> pd.DataFrame:
    """Return what ``rank_columns`` gave, where records that are ``unknown`` (n,) bool are named above the labels only.

    A species that was not learned may well be of a genus that was: its taxa are those of its closest relative
    (``relatives`` (n,), see there), and the deepest that is sure enough is its name. ``probabilities`` (n, labels) as
    for ``rank_columns``.
    """
    table, taxonomy, rows = table.copy(), Taxonomy.from_json(fitted), np.flatnonzero(relatives != NONE)
    for rank, p in enumerate(taxonomy.roll_up(probabilities[rows])):
        if rank:
            best, top = choices_at(taxonomy, rank, p, relatives[rows])
            called, name = taxonomy.taxa[rank - 1], taxonomy.ranks[rank]
            table.iloc[rows, table.columns.get_loc(name)] = [called[taxon] or "" for taxon in best]
            table.iloc[rows, table.columns.get_loc(f"{name}_probability")] = top
    place = [table.columns.get_loc(name) for name in ("rank", "taxon", "taxon_probability")]
    for row in np.flatnonzero(unknown):
        line = table.iloc[row]
        sure = [rank for rank in fitted["ranks"][1:] if line[f"{rank}_probability"] >= fitted["threshold"]]
        table.iloc[row, place] = (sure[0], line[sure[0]], line[f"{sure[0]}_probability"]) if sure else ("", "", np.nan)
    return table


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
