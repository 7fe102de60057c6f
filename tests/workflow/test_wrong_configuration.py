"""Wrong configurations: Snakemake refuses them in one sentence before anything is written."""

from __future__ import annotations

import pytest

from mistakes import Config, Mistake, assert_one_sentence, wrong_run
from workflow_runs import Inputs


def _unknown_key(inputs: Inputs, config: Config) -> None:
    config["models"]["full"]["training"]["epoch"] = 3


def _unknown_section(inputs: Inputs, config: Config) -> None:
    config["baseline"] = {}


def _wrong_type(inputs: Inputs, config: Config) -> None:
    config["models"]["full"]["training"]["epochs"] = "many"


def _one_fold(inputs: Inputs, config: Config) -> None:
    config["split"]["folds"] = 1


def _unknown_builtin(inputs: Inputs, config: Config) -> None:
    config["models"]["full"]["backbone"] = "builtin:nt-minni"


def _backbone_without_owner(inputs: Inputs, config: Config) -> None:
    config["models"]["full"]["backbone"] = "nt-mini"


def _folder_without_weights(inputs: Inputs, config: Config) -> None:
    folder = inputs.folder / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "esm"}')
    config["models"]["full"] = {"backbone": str(folder)}


def _missing_file(inputs: Inputs, config: Config) -> None:
    inputs.labels.unlink()


def _results_in_a_file(inputs: Inputs, config: Config) -> None:
    config["results_folder"] = str(inputs.labels)


def _results_in_proc(inputs: Inputs, config: Config) -> None:
    config["results_folder"] = "/proc/dnatune"


def _code_without_a_commit(inputs: Inputs, config: Config) -> None:
    named = {"backbone": "owner/model", "trust_remote_code": True, "revision": "main"}
    config["models"]["full"] = {**named, "pooling": "architecture"}


IN_CONFIGURATION = (
    Mistake("unknown key", _unknown_key, ("'epoch'", "models.full.training", "did you mean 'epochs'")),
    Mistake("unknown section", _unknown_section, ("'baseline'", "did you mean 'baselines'")),
    Mistake("wrong type", _wrong_type, ("models.full.training.epochs", "'many'", "a whole number")),
    Mistake("folds: 1", _one_fold, ("split.folds", "found 1", "at least 2")),
    Mistake("unknown builtin", _unknown_builtin, ("models.full.backbone", "did you mean 'builtin:nt-mini'")),
    Mistake("no owner", _backbone_without_owner, ("models.full.backbone", "'nt-mini'", "builtin:nt-mini")),
    Mistake(
        "no weights",
        _folder_without_weights,
        ("models.full.backbone", "my-model", "no weights", "safetensors"),
    ),
    Mistake("code without a commit", _code_without_a_commit, ("models.full.revision", "found main", "40 hexadecimal")),
    Mistake("missing file", _missing_file, ("data.labels", "labels.tsv", "does not exist")),
    Mistake("results in a file", _results_in_a_file, ("labels.tsv", "cannot be written", "results_folder")),
    Mistake("results in /proc", _results_in_proc, ("/proc/dnatune", "cannot be written", "results_folder")),
)


@pytest.mark.parametrize("mistake", IN_CONFIGURATION, ids=lambda mistake: mistake.name)
def test_workflow_refuses_a_wrong_configuration(mistake, tmp_path):
    run = wrong_run(tmp_path, mistake)
    before = sorted((tmp_path / "input").rglob("*"))
    done = run.snakemake("-n")
    assert done.returncode != 0
    assert_one_sentence(done.stdout, mistake.words)
    assert sum(mistake.words[0] in line for line in done.stdout.splitlines()) == 1
    assert sorted((tmp_path / "input").rglob("*")) == before
    assert not run.results.exists()
