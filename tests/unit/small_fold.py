"""One small fold of three classes, and how a model is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dnatune import tuning
from dnatune.fold_data import FoldData
from dnatune.fold_training import Job, train_on_fold
from dnatune.inputs import Inputs, TokenInputs
from dnatune.scores import Scores
from dnatune.tasks import task
from dnatune.tokens import TokenSettings, TokenTable
from dnatune.training import Trained
from miniatures import families, model_settings

CLASSES = ["Aus", "Bus", "Cus"]
LABEL_IDS = {name: i for i, name in enumerate(CLASSES)}
RECORDS = families(3, 24, 70, seed=1)
LABELS = np.array([label for _, label in RECORDS])
IDS = np.array([f"s{i}" for i in range(len(RECORDS))])
ORDER = np.random.default_rng(7).permutation(len(RECORDS))
PARTS = [np.sort(ORDER[a:b]) for a, b in ((0, 40), (40, 55), (55, 70), (70, 72))]
FOLD = FoldData(IDS, LABELS, CLASSES, np.arange(len(IDS)), *PARTS)


def tokens_for(settings: dict[str, Any]) -> TokenInputs:
    """Return the token rows of all records for a model."""
    encoder = tuning.backbone_of(settings).encoder()
    table = TokenTable.of_sequences([s for s, _ in RECORDS], encoder, TokenSettings.of(settings["tokens"], encoder))
    return TokenInputs(table, encoder.pad_id)


INPUTS = tokens_for(model_settings())


def job_of(folder: Path, settings: dict[str, Any], seed: int = 0) -> Job:
    """Return the job of fold 0 with its checkpoints under ``folder``."""
    return Job("m", settings, task("multiclass"), seed, folder / "m" / "fold_0", 0)


def fit(
    folder: Path, settings: dict[str, Any], inputs: Inputs = INPUTS, seed: int = 0, fold: FoldData = FOLD
) -> tuple[Trained, Scores, dict[str, Any]]:
    """Train on the fold, or go on from the checkpoints under ``folder``."""
    return train_on_fold(job_of(folder, settings, seed), fold, inputs, "sha")[:3]


def assert_same(first: tuple, second: tuple) -> None:
    """Check for the same learning curve (but for the seconds) and the same logits, to the last digit."""
    import pandas as pd

    one, two = (trained.history.drop(columns="seconds") for trained, _, _ in (first, second))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    np.testing.assert_array_equal(first[1].logits, second[1].logits)
    assert first[2]["best_step"] == second[2]["best_step"]
    assert first[2]["epochs_run"] == second[2]["epochs_run"]
