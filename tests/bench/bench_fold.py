"""The time of a whole fold that is not training: imports, loading, evaluation, saving.

Runs scripts/train_fold.py on the bundled example as Snakemake would, in a fresh process.

    python tests/bench/bench_fold.py [--runs 3]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import ROOT, medians, print_table


def prepare(folder: Path) -> Path:
    """Run the example up to its tokens in ``folder``; return the folder of the run."""
    config = (ROOT / "config" / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("config/example", str(ROOT / "config" / "example")))
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1", "--quiet"]
    own = ["--directory", str(folder), "--configfile", str(folder / "config.yaml")]
    subprocess.run([*snakemake, *own, "--until", "folds", "tokens"], check=True)
    return folder / "results" / "example"


def one_fold(run: Path) -> dict[str, float]:
    """Train fold 0 for real and return its seconds: in all, training, and the rest."""
    out = run / "bench"
    code = f"""
import builtins, json, runpy, sys, types
sys.path.insert(0, {str(ROOT / "scripts")!r})
from dnatune.config import resolve
import yaml
config = resolve(yaml.safe_load(open({str(run.parents[1] / "config.yaml")!r})))
class Named(types.SimpleNamespace):
    get = lambda self, key, default=None: getattr(self, key, default)
run, out = {str(run)!r}, {str(out)!r}
import glob
builtins.snakemake = types.SimpleNamespace(
    log=[out + "/log"], threads=1,
    input=Named(records=run + "/records/records.parquet", folds=run + "/folds/folds.tsv",
                label_map=run + "/labels/label_map.json", tokens=glob.glob(run + "/tokens/*")[0]),
    output=Named(weights=out + "/weights", history=out + "/history.tsv", run=out + "/run.json",
                 scores=out + "/scores.npz"),
    params=Named(model="nt-mini", fold="0", settings=config["models"]["nt-mini"], task={"name": "multiclass"}, seed=0,
                 checkpoints=out + "/checkpoints", code=""))
runpy.run_path({str(ROOT / "scripts" / "train_fold.py")!r})
"""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    total = time.perf_counter() - start
    training = json.loads((out / "run.json").read_text())["seconds_training"]
    return {"total": total, "training": training, "rest": total - training}


def main(runs: int) -> None:
    """Print the medians."""
    with tempfile.TemporaryDirectory() as name:
        run = prepare(Path(name))
        found = medians(runs, lambda: one_fold(run))
    header = ["whole fold s", "training (with its learning curve) s", "not training s", "share"]
    row = [found["total"], found["training"], found["rest"], found["rest"] / found["total"]]
    print_table(f"One fold of the example, median of {runs}", header, [row])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    main(parser.parse_args().runs)
