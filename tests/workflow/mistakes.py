"""Runs with a mistake in them, what must refuse it, and what must come of it: one sentence, nothing left."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dnatune.tasks import task_of
from workflow_runs import REPOSITORY, SPECIES, Inputs, Record, Run, configuration, simulate, write_inputs

Config = dict[str, Any]
OUTPUTS = {
    "read_records": ("records/records.parquet", "records/removed.tsv", "records/summary.json"),
    "map_labels": ("labels/label_map.json", "labels/class_balance.tsv", "labels/summary.json"),
    "split_folds": ("folds/folds.tsv", "folds/audit.json"),
}


@dataclass(frozen=True)
class Mistake:
    """What is wrong, how to make it so, which script must refuse it, and what its sentence must say."""

    name: str
    make: Callable[[Inputs, Config], None]
    words: tuple[str, ...]
    refused_by: str = "read_records"
    through_snakemake: bool = False


def small() -> list[Record]:
    """Return records of two species."""
    return simulate(species=SPECIES[:2], of_each=6)


def wrong_run(tmp_path: Path, mistake: Mistake) -> Run:
    """Return a run with the mistake in it."""
    inputs = write_inputs(tmp_path / "input", small())
    config = configuration(inputs)
    mistake.make(inputs, config)
    return Run(tmp_path / "work", config)


def assert_one_sentence(said: str, words: tuple[str, ...]) -> None:
    """The words stand in one line, which is said once; there is no traceback."""
    assert "Traceback" not in said
    sentences = {line.strip() for line in said.splitlines() if all(word in line for word in words)}
    assert sentences, f"no line has all of {words} in:\n{said[-3000:]}"
    lines = [line for line in said.splitlines() if re.match(r"^(\d\d:\d\d:\d\d )?Error: ", line)]
    assert len(lines) <= 1, lines


def assert_nothing_left(results: Path, script: str) -> None:
    """Neither outputs of the script that failed, nor files half-written."""
    for name in OUTPUTS[script]:
        assert not (results / name).exists(), name
    assert not [path for path in results.rglob("*") if ".partial-" in path.name]


def call_script(script: str, config: Config, results: Path) -> None:
    """Run a rule's script with the object that Snakemake would give it."""
    files = {Path(name).stem: str(results / name) for name in OUTPUTS[script]}
    given = {"records": results / "records/records.parquet", "label_map": results / "labels/label_map.json"}
    snakemake = SimpleNamespace(
        input=SimpleNamespace(**{name: str(path) for name, path in given.items()}),
        output=SimpleNamespace(**files),
        params=SimpleNamespace(
            data=config["data"],
            filter=config["filter"],
            split=config["split"],
            held_out=0.0,
            seed=config["seed"],
            task=task_of(config),
        ),
        log=[str(results / f"{script}.log")],
        threads=1,
    )
    runpy.run_path(str(REPOSITORY / "scripts" / f"{script}.py"), init_globals={"snakemake": snakemake})
