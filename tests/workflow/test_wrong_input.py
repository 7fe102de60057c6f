"""Wrong input: one clear sentence, a non-zero exit, no traceback, and no half-written file taken for a good one.

Every mistake in the data goes through the rules' own scripts in this process, a part of them through Snakemake as a
user calls it.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import replace

import pytest

from dnatune.config import resolve
from mistakes import OUTPUTS, Config, Mistake, assert_nothing_left, assert_one_sentence, call_script, small, wrong_run
from workflow_runs import SPECIES, Inputs, Record, fasta, finished_run, label_table, simulate, write_inputs


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
    _write(inputs, [*small()[:-1], Record("PROT", SPECIES[0], "MKVLAAGIVGLLLAQWERTPSFD" * 4)])


def _repeated_in_fasta(inputs: Inputs, config: Config) -> None:
    inputs.sequences.write_text(fasta([*small(), small()[3]]))


def _repeated_in_labels(inputs: Inputs, config: Config) -> None:
    inputs.labels.write_text(label_table([*small(), small()[3]]))


def _without_label(inputs: Inputs, config: Config) -> None:
    inputs.labels.write_text(label_table(r for r in small() if r.id != "S004"))


def _without_sequence(inputs: Inputs, config: Config) -> None:
    inputs.sequences.write_text(fasta(r for r in small() if r.id != "S004"))


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
    rows = [f"{r.id}\t{i}\t{'nan' if r.id == 'S005' else i / 2}\n" for i, r in enumerate(small())]
    path = inputs.folder / "vectors.tsv"
    path.write_text("id\tdepth\tlatitude\n" + "".join(rows))
    config["data"]["vectors"] = str(path)


def _cluster_of_nobody(inputs: Inputs, config: Config) -> None:
    rows = [f"{r.id}\tC{i}\n" for i, r in enumerate(small())]
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
    rows = [(r.id, "high" if r.id == "S005" else str(i)) for i, r in enumerate(small())]
    inputs.labels.write_text("id\tlabel\tgenus\n" + "".join(f"{name}\t{value}\tx\n" for name, value in rows))
    _other_task(config, "regression")


def _one_letter_short(inputs: Inputs, config: Config) -> None:
    lengths = [(r.id, len(r.sequence) - (r.id == "S005")) for r in small()]
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


@pytest.mark.parametrize("mistake", [m for m in IN_DATA if m.through_snakemake], ids=lambda mistake: mistake.name)
def test_workflow_refuses_wrong_data(mistake, tmp_path):
    run = wrong_run(tmp_path, mistake)
    done = run.snakemake(run.file(OUTPUTS[mistake.refused_by][0]))
    assert done.returncode != 0
    assert_one_sentence(done.stdout, mistake.words)
    assert_nothing_left(run.results, mistake.refused_by)


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
