"""Settings of a baseline chosen on the validation part, as the best epoch of a language model is.

Takes training and validation part; gives the settings with the lowest log loss and what each of the others had.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from dnatune.baselines import Method, baseline_logits, merged_settings
from dnatune.calibration import METHODS
from dnatune.scores import mean_log_loss

LOGGER = logging.getLogger("dnatune")


def tune(
    name: str,
    method: Method,
    train: Sequence[str] | np.ndarray,
    labels: np.ndarray,
    validation: Sequence[str] | np.ndarray,
    truth: np.ndarray,
    classes: int,
    settings: Mapping[str, Any],
    seed: int,
    threads: int = 1,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the settings of a baseline with the lowest log loss on validation, and one row for each that was tried.

    Every combination of the method's ``grid`` takes its turn, from ``settings`` first; in a tie the earlier stays.
    ``labels`` (n,) and ``truth`` (m,) are class ids of the two parts. The log loss (nats) is that at the best
    temperature, since calibration follows: else a method would be chosen for how sure it is. A method without a grid,
    or a fold without validation records, keeps its ``settings``.
    """
    given = merged_settings(name, method, settings)
    if not method.grid or not len(truth):
        return given, []
    tried = [given]
    for values in product(*method.grid.values()):
        candidate = {**given, **dict(zip(method.grid, values, strict=True))}
        if candidate not in tried:
            tried.append(candidate)
    rows = []
    for candidate in tried:
        logits = baseline_logits(
            name, method, train, labels, validation, classes, candidate, seed=seed, threads=threads
        )
        temperature = METHODS["temperature"].fit(logits, truth)["temperature"]
        loss = mean_log_loss(logits / np.float32(temperature), truth)
        rows.append({**{key: candidate[key] for key in method.grid}, "log_loss": loss})
        said = ", ".join(f"{key} {candidate[key]:g}" for key in method.grid)
        LOGGER.info("Tried %s: log loss %.4f on validation.", said, loss)
    return tried[int(np.argmin([row["log_loss"] for row in rows]))], rows
