"""The engine on one fold: its experts' scores pooled, judged like any other predictor. See ``pooling`` for the form.

Takes the experts' ``scores.npz`` of the fold; gives the engine's, and the numbers of its ``run.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dnatune.errors import UserError
from dnatune.pooling import Pool, cross_fit, fit_pool
from dnatune.rank_experts import members_of, with_ranks
from dnatune.rejection import auroc, rejection_scores
from dnatune.relatives import with_relatives
from dnatune.scores import EVIDENCE, Scores
from dnatune.taxonomy import Taxonomy
from dnatune.unknown_kinds import HELD_OUT


def combine(
    scores: Mapping[str, Scores], name: str, seed: int, folds: int, taxonomy: Taxonomy | None = None
) -> tuple[Scores, dict[str, Any]]:
    """Return the engine's scores (log probabilities), rows as the experts', and what stands in its ``run.json``.

    With a ``taxonomy`` each expert is asked by rank too (see ``rank_experts``).
    Weights and temperatures are fitted on the validation part. They give the scores of test and unknown records;
    each validation record gets its score from a fit on the other groups (``cross_fit``, ``folds`` parts), so
    that what is fitted on validation scores afterwards, calibration above all, is as honest as for an expert.
    Raises UserError where the experts did not score the same records.
    """
    agree(scores)
    first = next(iter(scores.values()))
    validation = np.flatnonzero(first.role == "validation")
    labels, groups = first.label[validation], first.group[validation]
    asked = {expert: of.logits for expert, of in scores.items()}
    members, by_rank = with_ranks(taxonomy, asked, validation, labels, groups, seed, folds)
    judged = [table[validation] for table in members.values()]
    pool = fit_pool(list(members), judged, labels, groups)
    crossed = cross_fit(list(members), judged, labels, groups, seed, folds, name)
    pooled = pool.log_probabilities(list(members.values()))
    pooled[validation] = crossed.log_probabilities
    about = {"pool": pool.to_json(), "by_rank": by_rank, "validation_log_loss": crossed.losses}
    return replace(first, logits=pooled, evidence=seen_by(witness(scores), scores)), about


def witness(scores: Mapping[str, Scores]) -> str | None:
    """Return the expert whose evidence says for the engine how strange a sequence is; None where none has any.

    The one whose best score tells the records of species held out on purpose from validation records. Without such
    records the last that has an energy and no distances, as a k-mer regression does, else the first with distances:
    on species held out of a set of barcodes they came in this order (docs/benchmarks.md). Scores of several experts
    are not averaged: that was no better there.
    """
    seen = {name: of for name, of in scores.items() if of.evidence is not None}
    power = {name: _power(of) for name, of in seen.items()}
    if any(value > 0 for value in power.values()):
        return max(power, key=power.__getitem__)
    energies = [name for name, of in seen.items() if _has(of, "energy") and not _has(of, "distance")]
    distances = [name for name, of in seen.items() if _has(of, "distance")]
    return next(iter([*energies[::-1], *distances]), None)


def _has(of: Scores, name: str) -> bool:
    return bool(np.isfinite(of.evidence[:, EVIDENCE.index(name)]).all())


def _power(of: Scores) -> float:
    """Return the best AUROC of an expert's evidence, held-out records against validation; 0 without either."""
    known, strange = of.part("validation"), of.of_kind(HELD_OUT)
    if not len(known.id) or not len(strange.id):
        return 0.0
    # Probabilities are the engine's own: what counts here is the evidence alone.
    one, other = (rejection_scores(np.ones((len(part.id), 1)), part.evidence) for part in (known, strange))
    return max((auroc(one[name], other[name]) for name in one if name != "probability"), default=0.0)


def seen_by(name: str | None, scores: Mapping[str, Scores]) -> np.ndarray | None:
    """Return the engine's evidence (n, 4): that of the expert ``name``, and the relatives that a top hit has found."""
    return with_relatives(None if name is None else scores[name].evidence, [of.evidence for of in scores.values()])


def agree(scores: Mapping[str, Scores]) -> None:
    """Raise UserError if two experts have other records, roles or classes."""
    names = list(scores)
    first = scores[names[0]]
    for name in names[1:]:
        other = scores[name]
        same = np.array_equal(first.id, other.id) and np.array_equal(first.role, other.role)
        if not same or first.logits.shape != other.logits.shape or not np.array_equal(first.label, other.label):
            raise UserError(
                f"scores.npz of '{names[0]}' and '{name}' have different records or classes, expected those of one "
                "fold; remove both and run their rules again."
            )


@dataclass(frozen=True)
class FinalPool:
    """The ``pool`` of a saved engine with its steps ``by_rank``, the ``validation`` scores that its calibration is
    fitted on, and the scores of the records of species ``held_out`` on purpose, none as a rule."""

    pool: Pool
    by_rank: dict[str, dict[str, Any]]
    validation: Scores
    held_out: Scores


def final_pool(
    scores: Sequence[Mapping[str, Scores]], name: str, seed: int, folds: int, taxonomy: Taxonomy | None = None
) -> FinalPool:
    """Fit the pool of the saved engine.

    ``scores`` are those of each fold. The saved experts, trained on all data, have no validation part; the folds'
    experts stand in for them, as they do for the calibration of a saved model. A record may be a validation record of
    several folds: its group keeps its scores together, in the fit and in the cross-fitting.
    """
    joined = {expert: Scores.joined([of_fold[expert].part("validation") for of_fold in scores]) for expert in scores[0]}
    agree(joined)
    first = next(iter(joined.values()))
    asked = {expert: of.logits for expert, of in joined.items()}
    rows = np.arange(len(first.id))
    members, by_rank = with_ranks(taxonomy, asked, rows, first.label, first.group, seed, folds)
    judged = list(members.values())
    pool = fit_pool(list(members), judged, first.label, first.group)
    crossed = cross_fit(list(members), judged, first.label, first.group, seed, folds, name)
    chosen = final_witness(scores)
    validation = replace(first, logits=crossed.log_probabilities, evidence=seen_by(chosen, joined))
    held_out = {expert: Scores.joined([of_fold[expert].of_kind(HELD_OUT) for of_fold in scores]) for expert in joined}
    strange = members_of(taxonomy, by_rank, {expert: of.logits for expert, of in held_out.items()})
    logits = pool.log_probabilities([strange[member] for member in pool.experts])
    unknown = replace(next(iter(held_out.values())), logits=logits, evidence=seen_by(chosen, held_out))
    return FinalPool(pool, by_rank, validation, unknown)


def final_witness(scores: Sequence[Mapping[str, Scores]]) -> str | None:
    """Return the ``witness`` of the saved engine, by the records of all folds; ``scores`` are those of each."""
    return witness({name: Scores.joined([of_fold[name] for of_fold in scores]) for name in scores[0]})


def validation_losses(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the mean of ``validation_log_loss`` (nats) over folds by name: of the engine and of each expert."""
    tables = [run["validation_log_loss"] for run in runs if run.get("validation_log_loss")]
    return {name: float(np.mean([table[name] for table in tables])) for name in (tables[0] if tables else {})}


def naming_model(
    runs: Sequence[Mapping[str, Any]],
    engines: Sequence[str],
    saved: Sequence[str],
    best: str | None,
    wanted: str | None,
) -> str | None:
    """Return who names new sequences: the one ``wanted`` if it is there, else that of ``predictor``.

    ``runs`` are the engine's run.json; ``saved`` the language models that are saved, ``best`` the best of them on
    validation. None where nothing is saved at all.
    """
    if wanted in [*engines, *saved]:
        return wanted
    return predictor(runs, engines[0], best) or engines[0] if engines else best


def predictor(runs: Sequence[Mapping[str, Any]], engine: str, model: str | None) -> str | None:
    """Return who names new sequences: ``model``, or the engine where its log loss on validation is not higher.

    Means over folds, both cross-fitted: no record's label was seen by the weights and temperatures that it is judged
    with. A model that is none of the experts cannot be compared like this, and stays.
    """
    losses = validation_losses(runs)
    if engine not in losses or (model is not None and losses.get(model, -np.inf) < losses[engine]):
        return model
    return engine
