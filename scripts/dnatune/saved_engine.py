"""A saved engine: its experts in one folder, and the names they give together.

In: ``final/<engine>/`` as ``engine_package`` writes it. Out: calibrated probabilities, as of a saved model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dnatune import files
from dnatune.errors import UserError
from dnatune.pooling import Pool
from dnatune.prediction import Predictor, SavedModel
from dnatune.rank_experts import expert_of, members_of
from dnatune.relatives import with_relatives
from dnatune.saved_experts import load_expert
from dnatune.tasks import task
from dnatune.taxonomy import Taxonomy


class SavedEngine:
    """A folder written by ``engine_package``, ready to name sequences.

    Raises UserError if the folder is not one.
    """

    def __init__(self, folder: str | Path, threads: int = 1) -> None:
        folder = Path(folder)
        if not (folder / "engine.json").is_file():
            raise UserError(f"{folder} is not a saved engine of dnatune: it has no engine.json.")
        self.about: dict[str, Any] = files.read_json(folder / "engine.json")
        self.task = task(**self.about["task"])
        self.classes: list[str] = self.about["classes"]
        self.calibrator: dict[str, Any] = files.read_json(folder / "calibration.json")
        self.pool = Pool.from_json(self.about["pool"])
        self.models = {name: SavedModel(folder / name) for name in self.about["models"]}
        # An engine of an earlier version asks no expert by rank.
        self.by_rank: dict[str, dict[str, Any]] = self.about.get("by_rank", {})
        self.taxonomy = Taxonomy.from_json(self.calibrator["ranks"]) if self.by_rank else None
        methods = [name for name in self.experts if name not in self.models]
        self.baselines = {name: load_expert(folder / name, self.task.baseline, threads) for name in methods}
        self.witness: str | None = self.about.get("witness")

    def scores(self, sequences: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return log probabilities (sequences, classes) before calibration, the number of windows (the most that any
        language model read, 1 where there is none), and the evidence (sequences, 4), see ``engine.seen_by``."""
        windows, logits, evidence = np.ones(len(sequences), dtype=np.int64), {}, {}
        for name in self.experts:
            if name in self.models:
                answer, read, seen = self.models[name].scores(sequences)
                windows = np.maximum(windows, read)
            else:
                answer = self.baselines[name](sequences)
                look = self.task.baseline(name).evidence
                seen = look(answer) if look else None
            logits[name], evidence[name] = answer, seen
        members = members_of(self.taxonomy, self.by_rank, logits)
        combined = with_relatives(evidence.get(self.witness), list(evidence.values()))
        return self.pool.log_probabilities([members[name] for name in self.pool.experts]), windows, combined

    @property
    def experts(self) -> list[str]:
        """The names of its experts, each once."""
        return list(dict.fromkeys(map(expert_of, self.pool.experts)))

    def predict(self, sequences: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return calibrated probabilities (sequences, classes) and the number of windows (sequences,)."""
        scores, windows, _ = self.scores(sequences)
        return self.task.judging.calibrated(self.calibrator, scores), windows


def open_saved(folder: str | Path, threads: int = 1) -> Predictor:
    """Return the saved engine or the saved model of a folder in ``final/``."""
    if (Path(folder) / "engine.json").is_file():
        return SavedEngine(folder, threads)
    return SavedModel(folder)
