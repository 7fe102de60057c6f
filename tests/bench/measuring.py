"""What the benchmarks share: simulated sequences, medians of runs in fresh processes, tables."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def simulated_sequences(count: int, shortest: int, longest: int, seed: int = 0) -> list[str]:
    """Return random sequences of uniform length; one in fifty has a few N."""
    rng = np.random.default_rng(seed)
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    sequences = []
    for _ in range(count):
        codes = letters[rng.integers(4, size=rng.integers(shortest, longest + 1))]
        if rng.random() < 0.02:
            codes[rng.integers(len(codes), size=5)] = ord("N")
        sequences.append(codes.tobytes().decode())
    return sequences


def in_fresh_process(script: str | Path, *arguments: str) -> dict[str, float]:
    """Run a benchmark's part in its own process with one thread; return the JSON it prints last."""
    paths = [str(ROOT / "scripts"), str(ROOT / "tests" / "bench"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def medians(runs: int, one: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure over ``runs`` calls."""
    found = [one() for _ in range(runs)]
    return {key: statistics.median(result[key] for result in found) for key in found[0]}


def peak_mib() -> float:
    """Return the largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def print_table(title: str, header: list[str], rows: list[list[object]]) -> None:
    """Print a table with aligned columns."""
    cells = [header, *[[f"{c:.4g}" if isinstance(c, float) else str(c) for c in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    print(f"\n{title}")
    for i, row in enumerate(cells):
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
        if i == 0:
            print("  ".join("-" * width for width in widths))
