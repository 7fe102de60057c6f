"""A backbone from a hub: downloaded by one rule, read from its folder by all others, which reach no hub."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pandas as pd

from dnatune.files import read_json
from local_hub import Listener, LocalHub, commit_of
from miniatures import write_nt
from workflow_runs import Run, add_split, configuration, environment, files_of, model, simulate, write_inputs

TARGETS = ("final/nt", "predictions/sequences.tsv")


def snakemake(run: Run, hub: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in an environment that has the hub switched on and somewhere else."""
    env = {**environment(), "HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0", "HF_ENDPOINT": hub}
    env["HF_HOME"] = str(run.directory / "home")
    command = run.command(*arguments)
    return subprocess.run(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1200, check=False
    )


def settings_of(run: Run) -> dict:
    """Return what the light version says of its backbone."""
    return read_json(run.results / "final" / "nt" / "light" / "settings.json")["settings"]


def test_a_backbone_is_downloaded_once_and_no_other_job_reaches_a_hub(tmp_path: Path) -> None:
    source = write_nt(tmp_path / "source")
    inputs = write_inputs(tmp_path / "input", simulate())
    add_split(inputs)  # one fold
    lora = model("lora", epochs=1)
    lora.pop("backbone_config")
    config = configuration(
        inputs,
        models={"nt": {**lora, "backbone": "owner/nt-mini", "tokens": {"average_frames": False}}},
        baselines={"methods": ["majority"]},
        packaging={"mode": "best_fold"},
        backbones_folder=str(tmp_path / "shared"),
        query=str(inputs.sequences),
    )
    config["data"]["columns"]["split"] = "split"
    run = Run(tmp_path / "work", config)
    targets = [run.file(name) for name in TARGETS]
    with LocalHub({"owner/nt-mini": {"main": source}}) as hub:
        done = snakemake(run, hub.url, "backbones")
        assert done.returncode == 0, done.stdout[-5000:]
        assert {"config.json", "vocab.txt", "model.safetensors"} <= set(hub.downloads())
        asked = len(hub.requests)
        assert "Nothing to be done" in snakemake(run, hub.url, "-n", "backbones").stdout
        # Another project with the same folder.
        other = Run(tmp_path / "other", config)
        assert "Nothing to be done" in snakemake(other, hub.url, "backbones").stdout
        assert len(hub.requests) == asked
    manifest = tmp_path / "shared" / "owner--nt-mini" / "main.json"
    commit = commit_of(source)
    assert read_json(manifest)["commit"] == commit
    assert not (run.results / "tokens").exists()

    with Listener() as nobody:
        done = snakemake(run, nobody.url, *targets)
        assert done.returncode == 0, done.stdout[-5000:]
        # A forced step takes what lies there; trained models stay as they are.
        before = files_of(run.results / "final")
        done = snakemake(run, nobody.url, "--force", str(manifest))
        assert done.returncode == 0, done.stdout[-5000:]
        done = snakemake(run, nobody.url, *targets)
        assert done.returncode == 0 and files_of(run.results / "final") == before, done.stdout[-5000:]
        assert nobody.connections == 0
    assert not list((run.directory / "home").rglob("*.safetensors"))

    found = settings_of(run)
    assert (found["backbone"], found["revision"]) == ("owner/nt-mini", commit)
    assert read_json(run.results / "models" / "nt" / "fold_0" / "run.json")["revision"] == commit
    assert str(tmp_path) not in json.dumps([found, read_json(run.results / "final" / "nt" / "dnatune.json")])
    names = pd.read_csv(run.results / "predictions" / "sequences.tsv", sep="\t")
    assert names["label"].notna().sum() > 3

    weights = manifest.parent / commit / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    done = snakemake(run, "http://127.0.0.1:9", *targets, "--forcerun", "tokens")
    assert done.returncode != 0
    assert "has 1000 bytes, expected" in done.stdout
