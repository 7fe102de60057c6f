"""Wrong input: one clear sentence, a non-zero exit, no traceback, and no half-written file taken for a good one.

Every mistake in the data goes through the rules' own scripts in this process; a part of them, and every mistake in
the configuration, through Snakemake as a user calls it.
"""

from __future__ import annotations

import gzip
import re
import runpy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dnatune.config import resolve
from dnatune.tasks import task_of
from workflow_runs import (
    REPOSITORY,
    SPECIES,
    Inputs,
    Record,
    Run,
    configuration,
    fasta,
    finished_run,
    label_table,
    simulate,
    write_inputs,
)

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


def _small() -> list[Record]:
    return simulate(species=SPECIES[:2], of_each=6)


def _write(inputs: Inputs, records: list[Record]) -> None:
    write_inputs(inputs.folder, records)


def _empty_fasta(inputs: Inputs, config: Config) -> None:
    inputs.sequences.write_text("")


def _not_a_fasta(inputs: Inputs, config: Config) -> None:
    inputs.sequences.write_text("%PDF-1.7 this is a paper\n")


def _truncated_gzip(inputs: Inputs, config: Config) -> None:
    # Letters drawn at random do not compress, so half of the file is in the middle of a sequence.
    packed = gzip.compress(fasta(simulate()).encode())
    inputs.sequences.write_bytes(packed[: len(packed) // 2])


def _protein(inputs: Inputs, config: Config) -> None:
    _write(inputs, [*_small()[:-1], Record("PROT", SPECIES[0], "MKVLAAGIVGLLLAQWERTPSFD" * 4)])


def _repeated_in_fasta(inputs: Inputs, config: Config) -> None:
    inputs.sequences.write_text(fasta([*_small(), _small()[3]]))


def _repeated_in_labels(inputs: Inputs, config: Config) -> None:
    inputs.labels.write_text(label_table([*_small(), _small()[3]]))


def _without_label(inputs: Inputs, config: Config) -> None:
    inputs.labels.write_text(label_table(r for r in _small() if r.id != "S004"))


def _without_sequence(inputs: Inputs, config: Config) -> None:
    inputs.sequences.write_text(fasta(r for r in _small() if r.id != "S004"))


def _missing_column(inputs: Inputs, config: Config) -> None:
    inputs.labels.write_text(inputs.labels.read_text().replace("label", "lable", 1))


def _no_label_rows(inputs: Inputs, config: Config) -> None:
    inputs.labels.write_text("id\tlabel\tgenus\n")


def _label_table_of_no_bytes(inputs: Inputs, config: Config) -> None:
    inputs.labels.write_text("")


def _one_class(inputs: Inputs, config: Config) -> None:
    _write(inputs, simulate(species=SPECIES[:1]))


def _few_groups(inputs: Inputs, config: Config) -> None:
    # Of four individuals of a species the first two are identical: three groups for each of two species.
    _write(inputs, simulate(species=SPECIES[:2], of_each=4))
    config["split"]["folds"] = 8


def _rare_classes_only(inputs: Inputs, config: Config) -> None:
    _write(inputs, simulate(of_each=1))


def _nothing_long_enough(inputs: Inputs, config: Config) -> None:
    config["filter"] = {"min_length": 5000}


def _nan_in_vectors(inputs: Inputs, config: Config) -> None:
    rows = [f"{r.id}\t{i}\t{'nan' if r.id == 'S005' else i / 2}\n" for i, r in enumerate(_small())]
    path = inputs.folder / "vectors.tsv"
    path.write_text("id\tdepth\tlatitude\n" + "".join(rows))
    config["data"]["vectors"] = str(path)


def _cluster_of_nobody(inputs: Inputs, config: Config) -> None:
    rows = [f"{r.id}\tC{i}\n" for i, r in enumerate(_small())]
    path = inputs.folder / "clusters.tsv"
    path.write_text("id\tcluster\n" + "".join(rows) + "NOBODY\tC1\n")
    config["data"]["clusters"] = str(path)


def _other_task(config: Config, task: str) -> None:
    del config["calibration"]
    config["data"]["columns"].pop("ranks")
    config.update(task=task, baselines={"methods": []})


def _label_outside_the_map(inputs: Inputs, config: Config) -> None:
    config["data"]["label_map"] = [SPECIES[0], "Anolis sagre"]


def _binary_label_outside_the_map(inputs: Inputs, config: Config) -> None:
    _other_task(config, "binary")
    _label_outside_the_map(inputs, config)


def _separator_that_never_occurs(inputs: Inputs, config: Config) -> None:
    inputs.labels.write_text(inputs.labels.read_text().replace(f"{SPECIES[0]}\t", "leaf,root\t"))
    _other_task(config, "multilabel")


def _text_for_a_number(inputs: Inputs, config: Config) -> None:
    rows = [(r.id, "high" if r.id == "S005" else str(i)) for i, r in enumerate(_small())]
    inputs.labels.write_text("id\tlabel\tgenus\n" + "".join(f"{name}\t{value}\tx\n" for name, value in rows))
    _other_task(config, "regression")


def _one_letter_short(inputs: Inputs, config: Config) -> None:
    lengths = [(r.id, len(r.sequence) - (r.id == "S005")) for r in _small()]
    inputs.labels.write_text("id\tlabel\tgenus\n" + "".join(f"{i}\tO{'C' * (n - 1)}\tx\n" for i, n in lengths))
    _other_task(config, "token")


def _genus(inputs: Inputs, genus: str) -> None:
    # Of the first species the record S004 alone has another genus in its cell.
    inputs.labels.write_text(re.sub(r"(S004\t.*\t)\w+\n", rf"\g<1>{genus}\n", inputs.labels.read_text()))


def _two_genera(inputs: Inputs, config: Config) -> None:
    _genus(inputs, "Norops")


def _no_genus(inputs: Inputs, config: Config) -> None:
    _genus(inputs, "")


IN_DATA = (
    Mistake("empty FASTA", _empty_fasta, ("sequences.fasta", "is empty", "expected a FASTA"), "read_records", True),
    Mistake("not a FASTA", _not_a_fasta, ("sequences.fasta", "not a FASTA", "expected '>'")),
    Mistake("truncated gzip", _truncated_gzip, ("sequences.fasta", "truncated", "gzip"), "read_records", True),
    Mistake(
        "protein",
        _protein,
        ("PROT", "sequences.fasta", "looks like protein", "A, C, G, T"),
        "read_records",
        True,
    ),
    Mistake("repeated id in FASTA", _repeated_in_fasta, ("sequences.fasta", "repeats 1 id", "S003", "unique")),
    Mistake("repeated id in labels", _repeated_in_labels, ("labels.tsv", "repeats 1 id", "S003", "unique")),
    Mistake("no label", _without_label, ("labels.tsv", "no row for 1 id", "S004", "drop"), "read_records", True),
    Mistake("no sequence", _without_sequence, ("sequences.fasta", "no sequence for 1 id", "S004", "drop")),
    Mistake("missing column", _missing_column, ("labels.tsv", "no column 'label'", "did you mean 'lable'")),
    Mistake("no label rows", _no_label_rows, ("labels.tsv", "has no rows", "expected one row per sequence")),
    Mistake("label table of no bytes", _label_table_of_no_bytes, ("labels.tsv", "is empty", "expected a header")),
    Mistake("one class", _one_class, ("labels.tsv", "one class", SPECIES[0], "at least two")),
    Mistake("two genera", _two_genera, ("labels.tsv", "'Anolis' (id S000)", "'Norops' (id S004)", "correct the table")),
    Mistake("no genus", _no_genus, ("labels.tsv", "empty 'genus' for 1 id (S004)", "on_empty_rank: unassigned")),
    Mistake("few groups", _few_groups, ("6 groups", "fewer than split.folds = 8", "lower"), "split_folds", True),
    Mistake("rare classes only", _rare_classes_only, ("labels.tsv", "No class", "2 distinct sequences")),
    Mistake("nothing long enough", _nothing_long_enough, ("sequences.fasta", "too_short", "loosen")),
    Mistake("NaN in vectors", _nan_in_vectors, ("vectors.tsv", "latitude", "S005", "finite"), "read_records", True),
    Mistake(
        "label outside the map",
        _label_outside_the_map,
        ("labels.tsv", SPECIES[1], "S006", "not in data.label_map", "did you mean 'Anolis sagre'"),
    ),
    Mistake(
        "binary label outside the map",
        _binary_label_outside_the_map,
        ("labels.tsv", SPECIES[1], "S006", "not in data.label_map"),
    ),
    Mistake(
        "separator that never occurs",
        _separator_that_never_occurs,
        ("labels.tsv", "separator ';'", "occurs in no cell", "'leaf,root' of id 'S000'", "multilabel.separator"),
    ),
    Mistake(
        "text for a number",
        _text_for_a_number,
        ("labels.tsv", "found 'high'", "column 'label'", "S005", "expected a number"),
    ),
    Mistake("one letter short", _one_letter_short, ("labels.tsv", "'S005'", "but its sequence has", "one letter per")),
    Mistake(
        "cluster of nobody",
        _cluster_of_nobody,
        ("NOBODY", "clusters.tsv", "1 id", "drop"),
        "read_records",
        True,
    ),
)


def wrong_run(tmp_path: Path, mistake: Mistake) -> Run:
    """Return a run with the mistake in it."""
    inputs = write_inputs(tmp_path / "input", _small())
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


@pytest.mark.parametrize("mistake", IN_DATA, ids=lambda mistake: mistake.name)
def test_scripts_refuse_wrong_data(mistake, tmp_path, capfd):
    run = wrong_run(tmp_path, mistake)
    config = resolve(run.config)
    steps = list(OUTPUTS)
    for script in steps[: steps.index(mistake.refused_by)]:
        call_script(script, config, run.results)
    with pytest.raises(SystemExit) as ended:
        call_script(mistake.refused_by, config, run.results)
    assert ended.value.code == 1
    assert_one_sentence(capfd.readouterr().err, mistake.words)
    assert_nothing_left(run.results, mistake.refused_by)
    log = (run.results / f"{mistake.refused_by}.log").read_text()
    assert all(word in log for word in mistake.words)


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


@pytest.mark.parametrize("mistake", [m for m in IN_DATA if m.through_snakemake], ids=lambda mistake: mistake.name)
def test_workflow_refuses_wrong_data(mistake, tmp_path):
    run = wrong_run(tmp_path, mistake)
    done = run.snakemake(run.file(OUTPUTS[mistake.refused_by][0]))
    assert done.returncode != 0
    assert_one_sentence(done.stdout, mistake.words)
    assert_nothing_left(run.results, mistake.refused_by)


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


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (
            ">a\nACGT\n>b\nNNNNN\n",
            ("new.fasta", "none of the 2 sequences is usable", "shorter than 50 bases"),
        ),
        ("", ("new.fasta", "is empty")),
    ],
    ids=["too short", "empty"],
)
def test_a_query_without_usable_sequences(query, words, tmp_path, tmp_path_factory):
    finished = finished_run(tmp_path_factory.getbasetemp())
    path = tmp_path / "new.fasta"
    path.write_text(query)
    run = replace(finished, config={**finished.config, "query": str(path)})
    done = run.snakemake("predict")
    assert done.returncode != 0
    assert_one_sentence(done.stdout, words)
    assert not list((run.results / "predictions").glob("*"))
