"""How hard the names of a data set are to tell apart, measured on the sequences alone, before anything is trained.

In: records.parquet. Out: a row per class (species.tsv), records that look wrong (suspicious.tsv), and numbers.
Distances are 1 - identity; identities are estimated from shared k-mers, see ``kmer_search``, in the part where two
sequences overlap, see ``spread``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dnatune import suspicious
from dnatune.groups import best_accuracy, codes_in_file, conflicting, distinct_per_class, renumber
from dnatune.kmer_search import K
from dnatune.neighbours import NONE, Neighbours, neighbours
from dnatune.spread import Distances, distances
from dnatune.unknown_kinds import FLAGGED, kinds_in_file

# A verdict of a class; the first that holds.
SAME, NEARLY, CLOSE, APART, ALONE = "same", "nearly", "overlap", "gap", "single"
# What links two records on the given strand, so that a record read backwards stands apart from all others.
LINK = 0.75


@dataclass(frozen=True)
class Entries:
    """Distinct pairs of sequence and class. ``entry`` (records,) is the number of each record's pair; ``label``,
    ``copies`` and ``first`` (entries,) are its class, its records and the first of them; ``asked`` are the entries
    that were compared, ``place`` (entries,) their place among these or ``NONE``."""

    entry: np.ndarray
    label: np.ndarray
    copies: np.ndarray
    first: np.ndarray
    asked: np.ndarray
    place: np.ndarray


def measure(
    records_path: str | Path, settings: Mapping[str, Any], seed: int = 0, threads: int = 1
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Return the tables of classes and of suspicious records, and the summary, of a records.parquet.

    ``settings`` are ``min_identity``, below which two sequences are not compared, ``records``, the number of
    distinct sequences that are compared with all others (drawn at random where there are more; null for all), and
    ``nearly_same``, the distance up to which two names are nearly the same.
    """
    # What a record of an unknown species is called is no name to be told apart from others.
    named = np.flatnonzero(kinds_in_file(records_path) != FLAGGED)
    table = pq.read_table(records_path, columns=["id", "label", "known"]).take(named)
    encoded = table["label"].combine_chunks().dictionary_encode()
    names, label = encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)
    sequence = codes_in_file(records_path)[named]
    entries = entries_of(sequence, label, settings["records"], seed)
    texts = pq.read_table(records_path, columns=["sequence"])["sequence"].take(named[entries.first]).to_pylist()
    found = neighbours(texts, entries.label, entries.asked, settings["min_identity"], threads)
    measured = distances(texts, entries.label, entries.asked, found, settings["min_identity"])
    ids = table["id"].to_pylist()
    species = classes_table(names, label, sequence, entries, measured, settings["nearly_same"])
    suspects = suspicious.table(ids, names, sequence, label, entries, found, components(entries, found))
    known = table["known"].to_numpy()
    return species, suspects, _summary(species, suspects, sequence, label, known, entries, found, settings)


def entries_of(sequence: np.ndarray, label: np.ndarray, most: int | None, seed: int) -> Entries:
    """Return the entries of records with those sequence codes and class ids (records,)."""
    entry = renumber(sequence * (int(label.max(initial=0)) + 1) + label)
    _, first, copies = np.unique(entry, return_index=True, return_counts=True)
    asked = np.arange(len(first))
    if most is not None and len(asked) > most:
        asked = np.sort(np.random.default_rng(seed).choice(len(first), most, replace=False))
    place = np.full(len(first), NONE)
    place[asked] = np.arange(len(asked))
    return Entries(entry, label[first], copies, first, asked, place)


def classes_table(
    names: list[str],
    label: np.ndarray,
    sequence: np.ndarray,
    entries: Entries,
    measured: Distances,
    nearly_same: float,
) -> pd.DataFrame:
    """Return one row per class, those nearest to another class first.

    ``compared`` counts distinct sequences, ``not_comparable`` those of them whose class has others but none similar
    enough (another marker, another region). ``within_max`` is the distance between the two farthest sequences of the
    class (Meyer & Paulay 2005), its spread (0 where all records are identical copies); ``within_median`` and
    ``within_nearest`` are distances to the nearest other sequence of the class, the median and the largest: far below
    the spread where a class is of several lineages. ``between_min`` is the distance to the nearest sequence of another
    class, ``nearest`` its name. All are of comparable sequences.
    """
    classes = len(names)
    asked = entries.asked
    of = entries.label[asked]
    distinct = distinct_per_class(label, sequence, classes)
    own = np.where(np.isnan(measured.own) & (entries.copies[asked] > 1), 0.0, measured.own)
    rows = pd.DataFrame({"label": of, "own": own}).groupby("label")
    within_nearest = rows["own"].max().reindex(range(classes)).to_numpy()
    shared = np.unique(sequence[conflicting(sequence, label)])
    of_shared = np.isin(sequence[entries.first], shared)
    between = zip(measured.between, measured.nearest, strict=True)
    nearest = ["" if np.isnan(distance) else names[c] for distance, c in between]
    table = pd.DataFrame(
        {
            "label": names,
            "records": np.bincount(label, minlength=classes),
            "distinct_sequences": distinct,
            "compared": np.bincount(of, minlength=classes),
            "not_comparable": np.bincount(of[np.isnan(own) & (distinct[of] > 1)], minlength=classes),
            "within_median": rows["own"].median().reindex(range(classes)).to_numpy(),
            "within_nearest": within_nearest,
            "within_max": np.fmax(within_nearest, measured.farthest),
            "between_min": measured.between,
            "nearest": nearest,
            "shared_sequences": np.bincount(entries.label[of_shared], minlength=classes),
        }
    )
    table["verdict"] = _verdicts(table, nearly_same)
    return table.sort_values(["between_min", "label"], ignore_index=True)


def _verdicts(table: pd.DataFrame, nearly_same: float) -> np.ndarray:
    """Return the verdict of each class: it shares a sequence or a piece with another, comes within ``nearly_same`` of
    one, has no two sequences that were compared, lies within its own spread of another, or is set apart by a gap."""
    between, within = table["between_min"], table["within_max"]
    same = (between <= 0) | (table["shared_sequences"] > 0)
    verdicts = [SAME, NEARLY, ALONE, CLOSE]
    return np.select([same, between <= nearly_same, within.isna(), between <= within], verdicts, APART)


def components(entries: Entries, found: Neighbours) -> np.ndarray:
    """Return the component (entries,) of each entry, linked on the given strand by identities of ``LINK`` or more."""
    linked = np.column_stack([found.own, found.other]) >= LINK
    target = np.column_stack([found.own_place, found.other_place])
    rows, columns = np.nonzero(linked)
    edges = (np.ones(len(rows), np.int8), (entries.asked[rows], target[rows, columns]))
    count = len(entries.label)
    return connected_components(coo_array(edges, shape=(count, count)), directed=False)[1]


def nearest_neighbour(entries: Entries, found: Neighbours) -> tuple[float, int]:
    """Return how often the most similar other sequence bears the right name, and of how many records that was asked.

    Only records with a comparable sequence of their own class that is no identical copy; where the best of their
    class and of another are equally similar, half of them count as right.
    """
    weight = entries.copies[entries.asked] * (found.own > 0)
    right = np.where(found.own > found.other[:, 0], 1.0, np.where(found.own == found.other[:, 0], 0.5, 0.0))
    total = int(weight.sum())
    return (float((weight * right).sum() / total) if total else float("nan")), total


def _summary(
    species: pd.DataFrame,
    suspects: pd.DataFrame,
    sequence: np.ndarray,
    label: np.ndarray,
    known: np.ndarray,
    entries: Entries,
    found: Neighbours,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    accuracy, tried = nearest_neighbour(entries, found)
    verdicts = species["verdict"].value_counts()
    counts = suspects["reason"].value_counts()
    return {
        "method": f"shared {K}-mers",
        "records": len(label),
        "distinct_sequences": len(np.unique(sequence)),
        "compared": len(entries.asked),
        "min_identity": settings["min_identity"],
        "classes": len(species),
        "verdicts": {verdict: int(verdicts.get(verdict, 0)) for verdict in (SAME, NEARLY, CLOSE, APART, ALONE)},
        "nearly_same": settings["nearly_same"],
        "not_comparable": int(species["not_comparable"].sum()),
        "without_neighbour": int(((found.own == 0) & (found.other[:, 0] == 0)).sum()),
        "within_median": float(species["within_median"].median()),
        "between_median": float(species["between_min"].median()),
        "best_accuracy": best_accuracy(sequence[known], label[known]),
        "best_accuracy_all": best_accuracy(sequence, label),
        "shared_sequences": len(np.unique(sequence[conflicting(sequence, label)])),
        "nearest_neighbour_accuracy": accuracy,
        "nearest_neighbour_records": tried,
        "suspicious": {reason: int(counts.get(reason, 0)) for reason in suspicious.REASONS},
    }
