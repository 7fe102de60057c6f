"""Lineages from rank columns: what makes a tree, what does not, and how ranks are written."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dnatune import config
from dnatune.errors import UserError
from dnatune.records import Settings, read_records
from dnatune.tasks import task
from dnatune.tasks.base import LabelSource
from dnatune.taxonomy import Taxonomy, described, label_rank, lineages, prefixes

SOURCE = LabelSource("fish.csv", "species")


def read(rows, ranks=("genus", "family"), empty="error", flagged=None):
    """Return the lineages of rows (id, label, rank, ...); ``flagged`` are ids."""
    ids, labels, *columns = zip(*rows, strict=True)
    marked = None if flagged is None else [name in flagged for name in ids]
    return lineages(SOURCE, ids, labels, dict(zip(ranks, columns, strict=True)), empty, marked)


def test_one_lineage_for_each_label():
    rows = [("1", "a", "A", "F"), ("2", "b", "A", "F"), ("3", "a", "A", "F"), ("4", "c", "C", "F")]
    assert read(rows) == {"a": ["A", "F"], "b": ["A", "F"], "c": ["C", "F"]}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            [("1", "a", "A", "F"), ("2", "b", "B", "F"), ("3", "a", "B", "F")],
            "fish.csv: species 'a' is in genus 'A' (id 1) and in genus 'B' (id 3); correct the table.",
        ),
        (
            [("1", "a", "A", "F"), ("2", "b", "A", "G"), ("3", "c", "C", "F"), ("4", "d", "C", "G")],
            "fish.csv: genus 'A' is in family 'F' (id 1) and in family 'G' (id 2) (so is C); correct the table or, "
            "where two bear the name, tell them apart in it ('A G').",
        ),
        (
            [("1", "a", "A", "F"), ("2", "b", "", "F"), ("3", "c", None, "G")],
            "fish.csv has an empty 'genus' for 2 ids (2, 3); fill it in, take 'genus' out of data.columns.ranks, or "
            "set data.on_empty_rank: unassigned.",
        ),
    ],
)
def test_what_makes_no_tree_is_one_sentence(rows, sentence):
    with pytest.raises(UserError) as caught:
        read(rows)
    assert str(caught.value) == sentence


def test_an_empty_cell_takes_what_other_rows_say():
    rows = [("1", "a", "A", ""), ("2", "a", "", ""), ("3", "b", "A", "F"), ("4", "c", "", "F"), ("5", "d", "", "")]
    found = read(rows, empty="unassigned")
    assert found == {"a": ["A", "F"], "b": ["A", "F"], "c": [None, "F"], "d": [None, None]}


def test_a_contradiction_that_shows_only_when_cells_are_filled():
    rows = [("1", "a", "A", "", "O"), ("2", "b", "A", "F", ""), ("3", "c", "C", "F", "P")]
    with pytest.raises(UserError, match=r"family 'F' is in order 'O' .* and in order 'P'"):
        read(rows, ("genus", "family", "order"), "unassigned")


KNOWN = [("1", "a", "A", "F"), ("2", "b", "B", "G")]


def flagged_ones(rows, empty="error"):
    """Return what ``described`` says of the flagged ``rows`` beside those of KNOWN."""
    columns = dict(zip(("id", "label", "rank_genus", "rank_family"), zip(*KNOWN, *rows, strict=True), strict=True))
    kinds = {
        "known": [True] * len(KNOWN) + [False] * len(rows),
        "unknown": [None] * len(KNOWN) + ["flagged"] * len(rows),
    }
    read([*KNOWN, *rows], empty=empty, flagged={row[0] for row in rows})
    found = described(pa.table(columns | kinds), ["genus", "family"], "species", "records.parquet")
    assert found["lineages"] == {"a": ["A", "F"], "b": ["B", "G"]} and found["unknown"] == {}
    assert Taxonomy.of({"label2id": {"a": 0, "b": 1}, "taxonomy": found}).unknown == found["flagged"]
    return found["flagged"]


def test_what_flagged_records_share_is_no_name_of_a_species():
    # A placeholder, nothing at all, the same placeholder as a genus: each record has a lineage of its own.
    rows = [("u1", "unknown", "A", "F"), ("u2", "unknown", "B", "G"), ("u3", "", "B", "G"), ("u4", None, "C", "F")]
    rows += [("u5", "unknown", "unknown", "F"), ("u6", "unknown", "unknown", "G")]
    assert flagged_ones(rows) == {name: [genus, family] for name, _, genus, family in rows}


def test_empty_ranks_of_flagged_records_are_filled_from_taxa_and_not_from_placeholders():
    rows = [("u1", "unknown", "A", ""), ("u2", "unknown", "", ""), ("u3", "a", "", ""), ("u4", "unknown", "sp.", "F")]
    rows += [("u5", "unknown", "sp.", "G"), ("u6", "unknown", "sp.", "")]
    assert flagged_ones(rows, "unassigned") == {
        "u1": ["A", "F"], "u2": [None, None], "u3": ["A", "F"], "u4": ["sp.", "F"], "u5": ["sp.", "G"],
        "u6": ["sp.", None],
    }  # fmt: skip
    with pytest.raises(UserError, match=r"empty 'family' for 1 id \(u1\)"):
        read([*KNOWN, rows[0]], flagged={"u1"})


def test_what_one_flagged_record_says_fills_in_no_other():
    # The placeholder stands in one family only, as a name would; nor does it say more where a species bears it.
    rows = [("u3", "unknown", "unknown", "G"), ("u4", "unknown", "unknown", "")]
    assert flagged_ones(rows, "unassigned") == {"u3": ["unknown", "G"], "u4": ["unknown", None]}
    placed = [("1", "a", "unknown", ""), ("2", "b", "B", "G"), ("u", "", "unknown", "F")]
    assert read(placed, empty="unassigned", flagged={"u"}) == {"a": ["unknown", None], "b": ["B", "G"]}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (("u", "a", "B", "G"), "species 'a' is in genus 'A' (id 1) and in genus 'B' (id u)"),
        (("u", "unknown", "A", "G"), "genus 'A' is in family 'F' (id 1) and in family 'G' (id u)"),
    ],
)
def test_a_flagged_record_may_not_contradict_known_ones(row, sentence):
    with pytest.raises(UserError) as caught:
        read([*KNOWN, row], flagged={"u"})
    assert sentence in str(caught.value)
    with pytest.raises(UserError):
        read([*KNOWN, ("3", "a", "B", "G"), ("u", "unknown", "B", "G")], flagged={"u"})


def of(lineage, ranks=("species", "genus", "family"), unknown=None, more=()):
    labels = [*lineage, *more]
    given = {"ranks": list(ranks), "lineages": lineage, "unknown": unknown or {}}
    return Taxonomy.of({"label2id": {name: i for i, name in enumerate(labels)}, "taxonomy": given})


def test_taxa_without_a_name_stand_alone():
    tree = of({"a": ["A", "F"], "b": [None, "F"], "c": [None, "F"], "d": [None, None]}, more=["never seen"])
    assert tree.taxa == (("A", None, None, None, None), ("F", None, None))
    assert [taxon.tolist() for taxon in tree.of_label] == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 0, 0, 1, 2]]


def test_a_taxonomy_survives_a_file():
    tree = of({"a": ["A", "F"], "b": ["A", "F"], "c": ["C", None]}, unknown={"x": "b"})
    again = Taxonomy.from_json(tree.to_json())
    assert (again.ranks, again.taxa) == (tree.ranks, tree.taxa)
    assert [parent.tolist() for parent in again.parents] == [parent.tolist() for parent in tree.parents]
    assert tree.unknown == {"x": ["A", "F"]} and again.unknown == {}
    assert Taxonomy.of({"label2id": {"a": 0}}) is None


def test_prefixes_are_those_of_the_reference_databases():
    ranks = ["species", "genus", "family", "order", "class", "phylum", "kingdom"]
    assert prefixes(ranks) == ["s__", "g__", "f__", "o__", "c__", "p__", "k__"]
    assert prefixes(["Species", "Domain"]) == ["s__", "d__"]
    # One that they do not know: the shortest beginning that belongs to no other rank.
    assert prefixes(["species", "tribe", "subfamily", "family", "superfamily"]) == [
        "s__", "t__", "su__", "f__", "sup__"]  # fmt: skip
    assert len(set(prefixes(["domain", "superkingdom", "kingdom"]))) == 3


def test_labels_below_a_genus_are_species():
    assert label_rank("label", ["genus", "family"]) == "species"
    assert label_rank("species", ["family"]) == "species"
    assert label_rank("strain", ["species", "genus"]) == "strain"


@pytest.fixture
def table(tmp_path):
    """Write sequences and labels; return (settings of ``data``, what reads them)."""
    sequences = {f"s{i}": ("ACGT" * 30)[i : i + 100] + "ACGT"[i % 4] * i for i in range(6)}
    (tmp_path / "s.fasta").write_text("".join(f">{name}\n{text}\n" for name, text in sequences.items()))
    data = {"sequences": str(tmp_path / "s.fasta"), "labels": str(tmp_path / "l.tsv"), "columns": {"ranks": ["genus"]}}

    def read_table(genera, **more):
        rows = [f"s{i}\t{label}\t{genus}" for i, (label, genus) in enumerate(zip("aabbbr", genera, strict=True))]
        (tmp_path / "l.tsv").write_text("\n".join(["id\tlabel\tgenus", *rows]) + "\n")
        out = [tmp_path / name for name in ("r.parquet", "r.tsv", "s.json")]
        read_records(Settings.from_config({**data, **more}, {}), *out, task("multiclass"))
        return pq.read_table(out[0])

    return read_table


def test_the_records_step_refuses_what_is_no_tree(table):
    with pytest.raises(UserError, match=r"l\.tsv: label 'b' is in genus 'B' \(id s2\) and in genus 'C' \(id s4\)"):
        table("AABBCA")
    with pytest.raises(UserError, match=r"l\.tsv has an empty 'genus' for 1 id \(s2\)"):
        table(["A", "A", "", "B", "B", "A"])


def test_what_the_label_map_says_of_lineages(table):
    records = table(["A", "A", "", "B", "B", "B"], on_empty_rank="unassigned")
    found = described(records, ["genus"], "label", "records.parquet")
    assert found == {
        "ranks": ["species", "genus"], "lineages": {"a": ["A"], "b": ["B"], "r": ["B"]}, "unknown": {"s5": "r"},
            "flagged": {},
    }  # fmt: skip


MINIMAL = {"name": "r", "data": {"sequences": "s", "labels": "l"}, "models": {"m": {"backbone": "builtin:nt-mini"}}}


@pytest.mark.parametrize(
    ("columns", "more", "words"),
    [
        ({}, {"taxonomy": {"threshold": 0.9}}, "'taxonomy.threshold' has no effect without ranks"),
        ({"ranks": ["genus"]}, {"taxonomy": {"threshold": 0.4}}, "threshold': found 0.4, expected at least 0.5"),
        ({"ranks": ["genus"]}, {"task": "multilabel"}, "with task: multilabel labels have no ranks"),
        ({"ranks": ["label", "genus"]}, {}, "'label' is the label column"),
        ({"ranks": ["genus", "note"]}, {}, "'note' is a column of the table of predictions"),
    ],
)  # fmt: skip
def test_keys_about_ranks_that_make_no_sense(columns, more, words):
    data = {**MINIMAL["data"], "columns": columns}
    with pytest.raises(UserError) as caught:
        config.resolve({**MINIMAL, **more, "data": data})
    assert words in str(caught.value)


def test_real_names_that_contradict_each_other():
    """Three sources that place the same genera in different families."""
    path = Path(__file__).parents[3] / "shared" / "data" / "marine_mix" / "labels.csv"
    if not path.is_file():
        pytest.skip("the shared data are not here")
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    source = LabelSource("labels.csv", "label")
    columns = {rank: rows[rank].tolist() for rank in ("genus", "family")}
    with pytest.raises(UserError, match=r"genus 'Caesio' is in family .*\(so are Scarus, Chlorurus\)") as caught:
        lineages(source, rows["id"].tolist(), rows["label"].tolist(), columns, "error")
    assert "\n" not in str(caught.value)
