"""How good names are at every rank: metrics of rolled-up probabilities, where mistakes land, and final answers.

Takes probabilities of labels (n, labels), final answers and a ``Taxonomy``; gives rows for metrics.tsv. A metric at a
rank is called ``accuracy@genus``; its class is ``all``, so that means and intervals over folds are made of it as of the
others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dnatune.metrics import evaluate, tidy
from dnatune.unknown_kinds import masks_of_kinds

if TYPE_CHECKING:
    from dnatune.final_answer import Judged
    from dnatune.tasks.base import EvaluationSettings
    from dnatune.taxonomy import Taxonomy

NOWHERE = "none"
# In place of a taxon's number: it is none of those that were trained, or the label table does not state it.
NOVEL, UNSTATED = -1, -2


def at(metric: str, rank: str) -> str:
    """Return the name of a metric at a rank."""
    return f"{metric}@{rank}"


def rank_figures(probabilities: np.ndarray, labels: np.ndarray, settings: EvaluationSettings) -> pd.DataFrame:
    """Return metric, class, value of what ``metrics.evaluate`` gives as averages, at every rank above the label's own;
    nothing where there is no taxonomy."""
    taxonomy, tables = settings.taxonomy, [tidy({})]
    for rank, p in enumerate(taxonomy.roll_up(probabilities) if taxonomy is not None else []):
        if rank:
            numbers = [str(i) for i in range(p.shape[1])]
            table = evaluate(p, taxonomy.of_label[rank][labels], numbers, settings.top_k, per_class=False)
            tables.append(table.assign(metric=[at(metric, taxonomy.ranks[rank]) for metric in table["metric"]]))
    return pd.concat(tables, ignore_index=True)


def known_figures(test: Judged, settings: EvaluationSettings) -> pd.DataFrame:
    """Return metric, class, value of the final answers on test records, at every rank of the taxonomy.

    ``named``: the share of records that get a name at the rank, and ``named_right``: the share of these that is right
    (missing where none is), without those whose taxon the label table does not state. ``misclassified`` of those whose
    taxon the fold trains, ``novel`` and ``overclassified`` of those whose taxon it does not: see ``_errors``.
    """
    taxonomy, values = settings.taxonomy, {}
    for rank in range(len(taxonomy.ranks) if taxonomy is not None and len(test.scores.id) else 0):
        taxa = taxonomy.of_label[rank][test.scores.label]
        named, right = test.answer.named(rank), test.answer.taxa[rank] == taxa
        truth = _trained_or_not(taxa, rank, settings)
        found = _named(named, right, truth) | _errors(named, right, truth)
        values |= {at(metric, taxonomy.ranks[rank]): value for metric, value in found.items()}
    return tidy(values)


def _named(named: np.ndarray, right: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    stated = named & (truth != UNSTATED)
    return {"named": named.mean(), "named_right": right[stated].mean() if stated.any() else np.nan}


def _errors(named: np.ndarray, right: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return the two error rates of Murali, Bhargava & Wright (2018, IDTAXA) at one rank; all arrays (n,).

    ``misclassified``: of the records whose taxon was trained, the share that is named wrongly. ``novel``: the number
    of records whose taxon was not, and ``overclassified``: the share of these that is named all the same. A rate of no
    records is left out. ``truth`` is as ``_trained_or_not`` gives it.
    """
    trained, novel = truth >= 0, truth == NOVEL
    values: dict[str, float] = {"novel": int(novel.sum())}
    if trained.any():
        values["misclassified"] = (named & ~right)[trained].mean()
    if novel.any():
        values["overclassified"] = named[novel].mean()
    return values


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


def unknown_figures(unknown: Judged, settings: EvaluationSettings) -> pd.DataFrame:
    """Return calibrated figures of records whose label was not trained: metric, class, value, split, stage.

    At the label's own rank all are ``novel``, and ``overclassified`` is the share that gets a name there all the same.
    At each higher rank too there are those, whose taxon was not trained either; and ``records``, whose taxon was: of
    these ``accuracy`` (the taxon that stands for them, named or not, is the right one), ``named``, ``named_right`` and
    ``misclassified``. Records whose taxon the label table does not state are in neither. The class is one of
    ``unknown_kinds``, and ``all`` of them together.
    """
    taxonomy, tables, answer = settings.taxonomy, [tidy({})], unknown.answer
    masks = masks_of_kinds(unknown.scores) if taxonomy is not None else {}
    for rank in range(len(taxonomy.ranks) if masks else 0):
        truth = _true_taxa(unknown.scores.id, rank, settings)
        named, right = answer.named(rank), answer.taxa[rank] == truth
        for kind, mask in masks.items():
            values = _errors(named[mask], right[mask], truth[mask])
            trained = mask & (truth >= 0)
            if rank:
                values["records"] = int(trained.sum())
            if trained.any():
                values |= {"accuracy": right[trained].mean(), **_named(named[trained], right[trained], truth[trained])}
            at_rank = {at(metric, taxonomy.ranks[rank]): value for metric, value in values.items()}
            tables.append(tidy(at_rank).assign(**{"class": kind}))
    return pd.concat(tables, ignore_index=True).assign(split="unknown", stage="calibrated")


def _trained_or_not(taxa: np.ndarray, rank: int, settings: EvaluationSettings) -> np.ndarray:
    """Return the taxa (n,) of a rank that records truly have, ``NOVEL`` where this fold does not train the taxon and
    ``UNSTATED`` where it has no name: then the label table does not say which it is."""
    members = settings.taxonomy.of_label[rank]
    # A genus whose only species is held out was not trained either.
    trained = members if settings.trained is None else members[settings.trained > 0]
    found = np.where(np.isin(taxa, trained), taxa, NOVEL)
    return np.where(settings.taxonomy.has_name(rank)[taxa], found, UNSTATED) if rank else found


def _true_taxa(ids: np.ndarray, rank: int, settings: EvaluationSettings) -> np.ndarray:
    """Return each unknown record's own taxon (n,) at a rank as ``_trained_or_not`` does, by what the label table says.

    At the labels' own rank all are ``NOVEL``: that is what makes them unknown.
    """
    if not rank:
        return np.full(len(ids), NOVEL)
    taxonomy = settings.taxonomy
    number = {taxon: i for i, taxon in enumerate(taxonomy.taxa[rank - 1]) if taxon is not None}
    found = np.full(len(ids), UNSTATED)
    for row, name in enumerate(ids.tolist()):
        if name in settings.held_out:
            found[row] = taxonomy.of_label[rank][settings.held_out[name]]
        elif (taxon := taxonomy.unknown.get(name, [None] * rank)[rank - 1]) is not None:
            found[row] = number.get(taxon, NOVEL)
    there = found >= 0
    found[there] = _trained_or_not(found[there], rank, settings)
    return found
