"""All benchmarks, one after the other: make bench"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    folder = Path(__file__).parent
    for script in ("bench_tokens.py", "bench_training.py", "bench_fold.py", "bench_evaluation.py"):
        print(f"\n== {script}", flush=True)
        environment = {**os.environ, "PYTHONPATH": f"{folder.parents[1] / 'scripts'}:{folder}"}
        subprocess.run([sys.executable, str(folder / script)], check=True, cwd=folder, env=environment)
