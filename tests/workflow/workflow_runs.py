"""Tiny runs of the whole workflow for tests: simulated sequences, a configuration, Snakemake as a user calls it.

Everything is written under a temporary folder: Snakemake gets its own working directory, so neither locks nor
files of the repository are touched.
"""

from __future__ import annotations

import copy
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CORES = min(2, len(os.sched_getaffinity(0)))
SPECIES = ("Anolis carolinensis", "Anolis sagrei", "Gekko gecko", "Lacerta agilis", "Lacerta viridis")
RARE = "Zootoca vivipara"
TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
TRAINING = {"epochs": 2, "learning_rate": "1e-3", "head_learning_rate_factor": 4, "batch_size": 8}


@dataclass(frozen=True)
class Record:
    """A simulated sequence with its id and species."""

    id: str
    species: str
    sequence: str


@dataclass(frozen=True)
class Inputs:
    """The files of a simulated data set, and the records in them."""

    folder: Path
    sequences: Path
    labels: Path
    records: list[Record]


def simulate(seed: int = 1, species: Sequence[str] = SPECIES, of_each: int = 14) -> list[Record]:
    """Return records of species 8 % apart, individuals 1 % apart, with the faults of every real collection.

    The first two records of a species are identical, the third has IUPAC letters, the fourth is lower case; one
    record of a species of its own and one record that is too short stand at the end.
    """
    rng = np.random.default_rng(seed)
    ancestor = rng.choice(list("ACGT"), 180)
    records: list[Record] = []
    for name in species:
        parent = _mutated(ancestor, 0.08, rng)
        for i in range(of_each):
            letters = _mutated(parent, 0.01, rng)[: int(rng.integers(140, 181))]
            if i == 2:
                letters[40:43] = list("RYN")
            text = "".join(letters)
            if i == 1:
                text = records[-1].sequence
            records.append(Record(f"S{len(records):03d}", name, text.lower() if i == 3 else text))
    records.append(Record("RARE", RARE, "".join(_mutated(ancestor, 0.2, rng))))
    records.append(Record("SHORT", species[0], "ACGTACGTAC"))
    return records


def _mutated(letters: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    letters = letters.copy()
    places = np.flatnonzero(rng.random(len(letters)) < share)
    letters[places] = rng.choice(list("ACGT"), len(places))
    return letters


def fasta(records: Iterable[Record]) -> str:
    """Return the text of a FASTA file."""
    return "".join(f">{r.id} simulated\n{r.sequence}\n" for r in records)


def label_table(records: Iterable[Record], delimiter: str = "\t") -> str:
    """Return the text of a label table: id, label, genus."""
    rows = [("id", "label", "genus"), *((r.id, r.species, r.species.split()[0]) for r in records)]
    return "".join(delimiter.join(row) + "\n" for row in rows)


def inputs_in(folder: Path, records: list[Record]) -> Inputs:
    """Return the inputs whose files stand, or will stand, in a folder."""
    return Inputs(folder, folder / "sequences.fasta", folder / "labels.tsv", records)


def write_inputs(folder: Path, records: list[Record]) -> Inputs:
    """Write sequences.fasta and labels.tsv of ``records``."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = inputs_in(folder, records)
    inputs.sequences.write_text(fasta(records))
    inputs.labels.write_text(label_table(records))
    return inputs


def add_split(inputs: Inputs) -> None:
    """Add a column ``split`` to the label table: train, dev and test.

    With 7 or 14 records of each species the first two, which are identical, are both in train.
    """
    parts = ["train", "train", "train", "dev", "train", "test", "train"]
    rows = inputs.labels.read_text().splitlines()
    column = ["split", *(parts[i % len(parts)] for i in range(len(rows) - 1))]
    inputs.labels.write_text("".join(f"{row}\t{part}\n" for row, part in zip(rows, column, strict=True)))


def configuration(inputs: Inputs, name: str = "tiny", **sections: Any) -> dict[str, Any]:
    """Return a small complete configuration; ``sections`` replace top-level keys."""
    data = {"sequences": str(inputs.sequences), "labels": str(inputs.labels), "columns": {"ranks": ["genus"]}}
    config = {
        "name": name,
        "seed": 3,
        "data": data,
        "split": {"folds": 2, "validation_share": 0.2},
        "models": {"full": model()},
        "calibration": {"method": "temperature"},
        "metrics": {"top_k": 2},
        "baselines": {"methods": ["majority", "naive_bayes"]},
    }
    return copy.deepcopy({**config, **sections})


def model(tuning: str = "full", **training: Any) -> dict[str, Any]:
    """Return a tiny model's settings."""
    return {
        "backbone": "builtin:nt-mini",
        "backbone_config": dict(TINY),
        "tuning": tuning,
        "training": {**TRAINING, **training},
    }


@dataclass(frozen=True)
class Run:
    """A configuration in a working directory of its own."""

    directory: Path
    config: dict[str, Any]

    @property
    def results(self) -> Path:
        """Folder that holds all of the run."""
        return self.directory / "results" / self.config["name"]

    def command(self, *arguments: str) -> list[str]:
        """Return the Snakemake command line; writes the configuration file that it names."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f"{self.config['name']}.yaml"
        path.write_text(yaml.safe_dump(self.config, sort_keys=False))
        files = ["--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(self.directory)]
        # A profile says how many cores there are; on a cluster they would also limit the threads of jobs.
        cores = [] if "--profile" in arguments else ["--cores", str(CORES)]
        return [sys.executable, "-m", "snakemake", *arguments, *files, "--configfile", str(path), *cores]

    def snakemake(self, *arguments: str, timeout: float = 1200) -> subprocess.CompletedProcess[str]:
        """Run Snakemake; standard output and error together in ``stdout``."""
        return subprocess.run(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
            timeout=timeout,
            check=False,
        )

    def make(self, *targets: str) -> Run:
        """Make the targets (``results/...``; all of the workflow if none) and return the run; fail if it fails."""
        done = self.snakemake(*targets)
        assert done.returncode == 0, done.stdout[-6000:]
        return self

    def file(self, name: str) -> str:
        """Return the target path of a file of the run, as Snakemake wants it."""
        return f"results/{self.config['name']}/{name}"

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start Snakemake as the leader of a process group of its own."""
        with open(self.directory / "started.log", "wb") as log:
            return subprocess.Popen(
                self.command(*arguments),
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(),
                start_new_session=True,
            )


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a process and all it started, and wait until it is gone."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment() -> dict[str, str]:
    """Return the environment of a run: this Python first, one thread, no profile of the user."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {k: v for k, v in os.environ.items() if k != "SNAKEMAKE_PROFILE"}
    return {**kept, "PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True)
class Plan:
    """What a dry run would do: the number of jobs of each rule, and the message of each job."""

    rules: Counter[str]
    messages: list[str]


def plan(run: Run, *arguments: str) -> Plan:
    """Return what Snakemake would do."""
    done = run.snakemake("-n", *arguments)
    assert done.returncode == 0, done.stdout[-4000:]
    if "Nothing to be done" in done.stdout:
        return Plan(Counter(), [])
    table = re.search(r"^job +count\n-+ +-+\n(.*?)^total +\d+$", done.stdout, re.M | re.S)
    assert table, done.stdout[-4000:]
    rules = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table[1], re.M)}
    return Plan(Counter(rules), re.findall(r"^Job \d+: (.*)$", done.stdout, re.M))


def table(path: Path, **options) -> pd.DataFrame:
    """Read a tsv as a user would."""
    return pd.read_csv(path, sep="\t", **options)


def scores(folder: Path) -> dict[str, np.ndarray]:
    """Read scores.npz without pickle."""
    with np.load(folder / "scores.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and modification time (ns) of every file below a folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@cache
def finished_run(base: Path) -> Run:
    """Return a run of three models and two baselines in a folder of this process's own under ``base``.

    It is made once, also where several workers of pytest-xdist share the tests, and copied for each.
    """
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    models = {"full": model(), "lora": {**model("lora"), "lora": {"r": 4, "alpha": 8}}, "probe": model("probe")}
    with open(shared / "finished.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Written once: newer inputs would make the run stale.
        folder, mark = shared / "finished_input", shared / "finished"
        inputs = inputs_in(folder, simulate()) if mark.is_file() else write_inputs(folder, simulate())
        made = Run(shared / "finished_work", configuration(inputs, models=models))
        if not mark.is_file():
            made.make()
            mark.touch()
    # Times are kept, so Snakemake finds the copy as finished as the original.
    shutil.copytree(made.directory, base / "work")
    return replace(made, directory=base / "work")
