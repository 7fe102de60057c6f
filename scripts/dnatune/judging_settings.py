"""What the rules that judge say in their params, as the settings that tasks understand; one place for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dnatune.files import read_json
from dnatune.tasks.base import EvaluationSettings
from dnatune.taxonomy import Taxonomy


def judging_settings(params: Any, label_map: str | Path, **others: Any) -> EvaluationSettings:
    """Return the settings of a rule's params: ``calibration`` {method, cv_folds, coverage}, ``sets``
    {coverage, allow_empty}, ``rank_threshold``, ``unknowns`` {score, false_alarm}, ``seed``; with the taxonomy of the
    label map, and ``others`` by name."""
    return EvaluationSettings(
        calibration=params.calibration["method"],
        cv_folds=params.calibration["cv_folds"],
        seed=params.seed,
        coverage=params.calibration["coverage"],
        taxonomy=Taxonomy.of(read_json(label_map)),
        rank_threshold=params.rank_threshold,
        set_coverage=params.sets["coverage"],
        allow_empty_sets=params.sets["allow_empty"],
        rejection=params.unknowns["score"],
        false_alarm=params.unknowns["false_alarm"],
        **others,
    )
