"""Time and peak memory of one fold's calibration and evaluation with thousands of classes.

    PYTHONPATH=scripts python tests/bench/bench_evaluation.py [records] [classes]

Promised: 24,000 records x 3,200 classes in under 2 minutes and 3 GiB on 2 cores.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from dnatune.evaluation import evaluate_fold
from dnatune.scores import Scores
from dnatune.tasks import task
from dnatune.tasks.base import EvaluationSettings


def simulated(records: int, classes: int, seed: int = 0) -> Scores:
    """Scores of a fair model on classes of very unequal size; one record in ten is for validation."""
    rng = np.random.default_rng(seed)
    share = rng.pareto(1.0, classes) + 0.1
    label = rng.choice(classes, records, p=share / share.sum())
    logits = rng.standard_normal((records, classes), dtype=np.float32)
    logits *= 2
    logits[np.arange(records), label] += 9
    role = np.where(np.arange(records) % 10 == 0, "validation", "test")
    return Scores(np.arange(records).astype(str), role, label, logits)


def main(records: int = 24_000, classes: int = 3_200) -> None:
    scores = simulated(records, classes)
    began = time.monotonic()
    names = [f"species {c}" for c in range(classes)]
    result = evaluate_fold(scores, names, "bench", 0, task("multiclass"), EvaluationSettings())
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{records} records x {classes} classes, calibration '{result.calibrator['method']}'")
    print(f"seconds  {seconds:8.1f}  (promised: under 120)\npeak GiB {peak:8.2f}  (promised: under 3)")


if __name__ == "__main__":
    main(*(int(value) for value in sys.argv[1:3]))
