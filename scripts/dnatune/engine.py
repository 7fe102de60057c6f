"""The engine on one fold: its experts' scores pooled, judged like any other predictor. See ``pooling`` for the form.

Takes the experts' ``scores.npz`` of the fold; gives the engine's, and the numbers of its ``run.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dnatune.errors import UserError
from dnatune.pooling import Pool, cross_fit, fit_pool
from dnatune.scores import EVIDENCE, Scores
from dnatune.unknown_kinds import HELD_OUT


def combine(scores: Mapping[str, Scores], name: str, seed: int, folds: int) -> tuple[Scores, dict[str, Any]]:
    """Return the engine's scores (log probabilities), rows as the experts', and what stands in its ``run.json``.

    Weights and temperatures are fitted on the validation part. They give the scores of test and unknown records;
    each validation record gets its score from a fit on the other groups (``cross_fit``, ``folds`` parts), so
    that what is fitted on validation scores afterwards, calibration above all, is as honest as for an expert.
    Raises UserError where the experts did not score the same records.
    """
    agree(scores)
    first = next(iter(scores.values()))
    logits = [of.logits for of in scores.values()]
    validation = np.flatnonzero(first.role == "validation")
    labels, groups = first.label[validation], first.group[validation]
    judged = [table[validation] for table in logits]
    pool = fit_pool(list(scores), judged, labels, groups)
    crossed = cross_fit(list(scores), judged, labels, groups, seed, folds, name)
    pooled = pool.log_probabilities(logits)
    pooled[validation] = crossed.log_probabilities
    about = {"pool": pool.to_json(), "validation_log_loss": crossed.losses}
    return replace(first, logits=pooled, evidence=seen_by(witness(scores), scores)), about


def witness(scores: Mapping[str, Scores]) -> str | None:
    """Return the first expert that measures distances to the training sequences: it says for the engine how strange a
    sequence is. Distances of several experts are not averaged, since each has a scale of its own."""
    return next((name for name, of in scores.items() if of.evidence is not None and measures(of.evidence)), None)


def measures(evidence: np.ndarray) -> bool:
    """Say whether evidence (n, 4) has the distances of all records."""
    return bool(np.isfinite(evidence[:, EVIDENCE.index("distance")]).all())


def seen_by(name: str | None, scores: Mapping[str, Scores]) -> np.ndarray | None:
    """Return the evidence (n, 4) of the expert ``name`` as the engine's."""
    return None if name is None else distances_alone(scores[name].evidence)


def distances_alone(evidence: np.ndarray) -> np.ndarray:
    """Return evidence (n, 4) without the energy, which is that of one expert's logits and not of the pool's."""
    alone = evidence.copy()
    alone[:, EVIDENCE.index("energy")] = np.nan
    return alone


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


def final_pool(scores: Sequence[Mapping[str, Scores]], name: str, seed: int, folds: int) -> tuple[Pool, Scores, Scores]:
    """Return the pool of the saved engine, the validation scores that its calibration is fitted on, and the scores of
    the records of species held out on purpose, none as a rule.

    ``scores`` are those of each fold. The saved experts, trained on all data, have no validation part; the folds'
    experts stand in for them, as they do for the calibration of a saved model. A record may be a validation record of
    several folds: its group keeps its scores together, in the fit and in the cross-fitting.
    """
    joined = {expert: Scores.joined([of_fold[expert].part("validation") for of_fold in scores]) for expert in scores[0]}
    agree(joined)
    first = next(iter(joined.values()))
    logits = [of.logits for of in joined.values()]
    pool = fit_pool(list(joined), logits, first.label, first.group)
    crossed = cross_fit(list(joined), logits, first.label, first.group, seed, folds, name)
    validation = replace(first, logits=crossed.log_probabilities, evidence=seen_by(witness(joined), joined))
    held_out = {expert: Scores.joined([of_fold[expert].of_kind(HELD_OUT) for of_fold in scores]) for expert in joined}
    logits = pool.log_probabilities([of.logits for of in held_out.values()])
    strange = replace(next(iter(held_out.values())), logits=logits, evidence=seen_by(witness(joined), held_out))
    return pool, validation, strange


def validation_losses(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the mean of ``validation_log_loss`` (nats) over folds by name: of the engine and of each expert."""
    tables = [run["validation_log_loss"] for run in runs if run.get("validation_log_loss")]
    return {name: float(np.mean([table[name] for table in tables])) for name in (tables[0] if tables else {})}


def predictor(runs: Sequence[Mapping[str, Any]], engine: str, model: str | None) -> str | None:
    """Return who names new sequences: ``model``, or the engine where its log loss on validation is not higher.

    Means over folds, both cross-fitted: no record's label was seen by the weights and temperatures that it is judged
    with. A model that is none of the experts cannot be compared like this, and stays.
    """
    losses = validation_losses(runs)
    if engine not in losses or (model is not None and losses.get(model, -np.inf) < losses[engine]):
        return model
    return engine
