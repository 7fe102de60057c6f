"""How good names are at every rank: metrics of rolled-up probabilities, where mistakes land, and unknown labels.

Takes probabilities of labels (n, labels) and a ``Taxonomy``; gives rows for metrics.tsv. A metric at a rank is called
``accuracy@genus``; its class is ``all``, so that means and intervals over folds are made of it as of the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dnatune.metrics import evaluate, tidy, top_choices
from dnatune.relatives import choices_at
from dnatune.unknown_kinds import masks_of_kinds

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
        values = _named(*top_choices(p), truth, settings.rank_threshold)
        tables.append(tidy({at(metric, name): value for metric, value in values.items()}))
    return pd.concat(tables, ignore_index=True)


def _named(best: np.ndarray, top: np.ndarray, truth: np.ndarray, threshold: float) -> dict[str, float]:
    if not len(truth):
        return {}
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


def unknown_figures(
    unknown: Scores, probabilities: np.ndarray, relatives: np.ndarray, settings: EvaluationSettings
) -> pd.DataFrame:
    """Return calibrated figures of records whose label was not trained: metric, class, value, split, stage.

    ``probabilities`` (n, labels) are calibrated, ``relatives`` (n,) as in ``relatives.relatives_of_rejected``.
    At each higher rank ``records``: those whose true taxon was trained, and of these ``accuracy``, ``named`` and
    ``named_right``. At the label's own rank nothing can be right: ``records``, and ``named``, which ought to be 0.
    The class is one of ``unknown_kinds``, and ``all`` of them together.
    """
    taxonomy, tables = settings.taxonomy, [tidy({})]
    masks = masks_of_kinds(unknown) if taxonomy is not None else {}
    for rank, p in enumerate(taxonomy.roll_up(probabilities) if masks else []):
        truth = _true_taxa(unknown.id, rank, settings)
        best, top = choices_at(taxonomy, rank, p, relatives) if rank else top_choices(p)
        for kind, mask in masks.items():
            rows = np.flatnonzero(mask & (truth >= 0)) if rank else np.flatnonzero(mask)
            values = {"records": len(rows), **_named(best[rows], top[rows], truth[rows], settings.rank_threshold)}
            if len(rows) and rank:
                values["accuracy"] = float(np.mean(best[rows] == truth[rows]))
            elif not rank:
                values.pop("named_right", None)
            named = {at(metric, taxonomy.ranks[rank]): value for metric, value in values.items()}
            tables.append(tidy(named).assign(**{"class": kind}))
    return pd.concat(tables, ignore_index=True).assign(split="unknown", stage="calibrated")


def _true_taxa(ids: np.ndarray, rank: int, settings: EvaluationSettings) -> np.ndarray:
    """Return the number of each record's own taxon (n,) at a rank, -1 where that was not trained, as no label was."""
    if not rank:
        return np.full(len(ids), -1)
    taxonomy = settings.taxonomy
    number = {taxon: i for i, taxon in enumerate(taxonomy.taxa[rank - 1]) if taxon is not None}
    members = taxonomy.of_label[rank]
    # A genus whose only species is held out was not trained either.
    trained = members if settings.trained is None else members[settings.trained > 0]
    found = np.full(len(ids), -1)
    for row, name in enumerate(ids.tolist()):
        if name in settings.held_out:
            found[row] = members[settings.held_out[name]]
        elif name in taxonomy.unknown:
            found[row] = number.get(taxonomy.unknown[name][rank - 1], -1)
    return np.where(np.isin(found, trained), found, -1)
