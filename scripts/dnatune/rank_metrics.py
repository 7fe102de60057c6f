"""How good names are at every rank: metrics of rolled-up probabilities, where mistakes land, and unknown labels.

Takes probabilities of labels (n, labels) and a ``Taxonomy``; gives rows for metrics.tsv. A metric at a rank is called
``accuracy@genus``; its class is ``all``, so that means and intervals over folds are made of it as of the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dnatune.metrics import evaluate, tidy, top_choices

if TYPE_CHECKING:
    from dnatune.scores import Scores
    from dnatune.tasks.base import EvaluationSettings
    from dnatune.taxonomy import Taxonomy

NOWHERE = "none"


def at(metric: str, rank: str) -> str:
    """Return the name of a metric at a rank."""
    return f"{metric}@{rank}"


def rank_figures(probabilities: np.ndarray, labels: np.ndarray, settings: EvaluationSettings) -> pd.DataFrame:
    """Return metric, class, value at every rank of the settings' taxonomy; nothing where there is none.

    At each rank above the label's own what ``metrics.evaluate`` gives as averages. At every rank ``named``: the
    share of records whose most probable taxon passes the threshold, and ``named_right``: the share of these that is
    right (missing where none is).
    """
    taxonomy, tables = settings.taxonomy, []
    if taxonomy is None:
        return tidy({})
    for rank, p in enumerate(taxonomy.roll_up(probabilities)):
        truth, name = taxonomy.of_label[rank][labels], taxonomy.ranks[rank]
        if rank:
            numbers = [str(i) for i in range(p.shape[1])]
            table = evaluate(p, truth, numbers, settings.top_k, per_class=False)
            tables.append(table.assign(metric=[at(metric, name) for metric in table["metric"]]))
        tables.append(tidy({at(m, name): v for m, v in _named(p, truth, settings.rank_threshold).items()}))
    return pd.concat(tables, ignore_index=True)


def _named(probabilities: np.ndarray, truth: np.ndarray, threshold: float) -> dict[str, float]:
    if not len(truth):
        return {}
    best, top = top_choices(probabilities)
    named = top >= threshold
    right = float(np.mean(best[named] == truth[named])) if named.any() else np.nan
    return {"named": float(named.mean()), "named_right": right}


def mistakes(predicted: np.ndarray, labels: np.ndarray, taxonomy: Taxonomy | None) -> pd.DataFrame:
    """Return rank, count, tested: how many records (n,) have their lowest right taxon at each rank.

    At the label's own rank these are the right names; ``none`` counts those that are wrong at every rank.
    """
    if taxonomy is None:
        return pd.DataFrame({"rank": [], "count": [], "tested": []})
    left, counts = np.ones(len(labels), bool), []
    for taxon in taxonomy.of_label:
        here = left & (taxon[predicted] == taxon[labels])
        counts.append(int(here.sum()))
        left &= ~here
    counts.append(int(left.sum()))
    return pd.DataFrame({"rank": [*taxonomy.ranks, NOWHERE], "count": counts, "tested": len(labels)})


def unknown_figures(unknown: Scores, probabilities: np.ndarray, settings: EvaluationSettings) -> pd.DataFrame:
    """Return calibrated figures of records whose label was not trained: metric, class, value, split, stage.

    ``probabilities`` (n, labels) are their calibrated ones. At each higher rank ``records``: those whose true taxon was
    trained, and of these ``accuracy``, ``named`` and ``named_right``. At the label's own rank nothing can be right:
    ``records``, and ``named``, which ought to be 0.
    """
    taxonomy, found = settings.taxonomy, {}
    if taxonomy is None or not len(unknown.id):
        return tidy({}).assign(split="unknown", stage="calibrated")
    lines = [taxonomy.unknown.get(str(name), [None] * len(taxonomy.taxa)) for name in unknown.id]
    for rank, p in enumerate(taxonomy.roll_up(probabilities)):
        name, truth = taxonomy.ranks[rank], np.full(len(lines), -1)
        if rank:
            number = {taxon: i for i, taxon in enumerate(taxonomy.taxa[rank - 1]) if taxon is not None}
            truth = np.array([number.get(line[rank - 1], -1) for line in lines])
        rows = np.flatnonzero(truth >= 0) if rank else np.arange(len(lines))
        values = {"records": len(rows)}
        if len(rows):
            values |= _named(p[rows], truth[rows], settings.rank_threshold)
        if len(rows) and rank:
            values["accuracy"] = float(np.mean(top_choices(p[rows])[0] == truth[rows]))
        elif not rank:
            values.pop("named_right", None)
        found |= {at(metric, name): value for metric, value in values.items()}
    return tidy(found).assign(split="unknown", stage="calibrated")
