"""What only a training job can find out about a backbone or its machine: one sentence, exit code 1, nothing left.

The rules' own scripts run in this process, from the FASTA file to the training that refuses.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dnatune import hardware
from dnatune.config import resolve
from dnatune.run_status import status_of
from dnatune.tasks import task_of
from mistakes import assert_one_sentence, call_script
from native_miniatures import write_dnabert2
from workflow_runs import REPOSITORY, SPECIES, configuration, model, simulate, write_inputs


class Named(dict):
    """Items that are attributes too, as Snakemake gives them to scripts."""

    __getattr__ = dict.__getitem__


def _dnabert2_as_bert(folder: Path, patch: pytest.MonkeyPatch) -> dict:
    # The same weights under a config.json that has lost every sign of MosaicBERT.
    write_dnabert2(folder, alibi_starting_size="absent", auto_map="absent", intermediate_size=64)
    return {"backbone": str(folder)}


def _without_bitsandbytes(folder: Path, patch: pytest.MonkeyPatch) -> dict:
    patch.setitem(sys.modules, "bitsandbytes", None)
    return model("qlora")


def _bf16_on_an_old_cpu(folder: Path, patch: pytest.MonkeyPatch) -> dict:
    patch.setattr(hardware, "_cpu_computes_bf16", lambda: False)
    return model(precision="bf16")


MISTAKES = {
    "DNABERT-2 in a plain BERT": (
        _dnabert2_as_bert,
        ("my-model does not fit the architecture 'bert'", "lacks", "it would run with random numbers"),
    ),
    "qlora without bitsandbytes": (
        _without_bitsandbytes,
        ("'tuning': qlora needs the package bitsandbytes", "pip install bitsandbytes", "tuning: lora"),
    ),
    "bf16 on an old CPU": (
        _bf16_on_an_old_cpu,
        ("'training.precision': bf16 is not available on cpu, which has fp32", "use auto"),
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_training_refuses_what_cannot_be(name, tmp_path, monkeypatch, capfd):
    make, words = MISTAKES[name]
    train, results = prepared(tmp_path, make(tmp_path / "my-model", monkeypatch))
    with pytest.raises(SystemExit) as ended:
        train()
    assert ended.value.code == 1
    said = capfd.readouterr().err
    assert_one_sentence(said, words)
    log = (results / "logs/train/full/fold_0.log").read_text()
    assert all(word in log for word in words)
    assert not (results / "models").exists()
    assert not [path for path in results.rglob("*") if ".partial-" in path.name]
    (row,) = status_of(results).rows
    assert row.state == "failed"
    assert words[0] in row.figures["error"]
    assert words[0] in " ".join(row.said)


def prepared(tmp_path: Path, settings: dict) -> tuple[Callable[[], None], Path]:
    """Make records, folds and tokens; return what trains a model with these settings on fold 0, and the results."""
    inputs = write_inputs(tmp_path / "input", simulate(species=SPECIES[:2], of_each=8))
    config = resolve(configuration(inputs, models={"full": settings}))
    results = tmp_path / "results"
    for script in ("read_records", "map_labels", "split_folds"):
        call_script(script, config, results)
    complete = {k: v for k, v in config["models"]["full"].items() if k != "resources"}
    data = {"records": "records/records.parquet", "folds": "folds/folds.tsv", "label_map": "labels/label_map.json"}
    outputs = {"history": "history.tsv", "run": "run.json", "scores": "scores.npz", "weights": "weights"}

    def run(script: str, log: str, **parts: dict) -> None:
        given = {name: Named(values) for name, values in parts.items()}
        resources = Named(gpu=0, checkpoint_minutes=0)
        snakemake = Named(**given, log=[str(results / "logs" / log)], threads=1, resources=resources)
        runpy.run_path(str(REPOSITORY / "scripts" / f"{script}.py"), init_globals={"snakemake": snakemake})

    files = {name: str(results / path) for name, path in data.items()} | {"tokens": str(results / "tokens" / "t")}
    tokens = {"backbone": complete, "tokens": complete["tokens"]}
    run("tokenize_sequences", "tokens/t.log", input=files, output={"tokens": files["tokens"]}, params=tokens)
    params = {"model": "full", "fold": "0", "settings": complete, "task": task_of(config), "seed": 0, "code": ""}
    params |= {"checkpoints": str(results / "checkpoints/full/fold_0"), "distances": False}
    made = {name: str(results / "models/full/fold_0" / path) for name, path in outputs.items()}
    return lambda: run("train_fold", "train/full/fold_0.log", input=files, output=made, params=params), results
