"""Records: everything is matched, nothing disappears without a row, every mistake is one sentence."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnatune import scan
from dnatune.errors import UserError
from dnatune.files import read_json
from dnatune.groups import best_accuracy, components, sequence_codes
from dnatune.records import Settings, read_records
from dnatune.tasks import task

DATA = Path(__file__).parents[3] / "shared" / "data"
RNG = np.random.default_rng(0)
# Six unlike sequences of 60 bases.
S = ["".join(RNG.choice(list("ACGT"), 60)) for _ in range(8)]
BASE = {"a1": (S[0], "A"), "a2": (S[1], "A"), "b1": (S[2], "B"), "b2": (S[3], "B")}


class Case:
    """A small data set on disk that can be changed and read."""

    def __init__(self, folder):
        self.folder = folder
        self.fasta = [(i, s) for i, (s, _) in BASE.items()]
        self.labels = [(i, label) for i, (_, label) in BASE.items()]
        self.header = ["id", "label"]
        self.data, self.filter = {}, {}
        self.task = task("multiclass")

    def add(self, name, sequence, *label):
        self.fasta.append((name, sequence))
        if label:
            self.labels.append((name, *label))

    def table(self, name, header, rows):
        pd.DataFrame(rows, columns=header).to_csv(self.folder / f"{name}.csv", index=False)
        self.data[name] = str(self.folder / f"{name}.csv")

    def read(self):
        (self.folder / "s.fasta").write_text("".join(f">{i}\n{s}\n" for i, s in self.fasta))
        self.table("labels", self.header, self.labels)
        self.data["sequences"] = str(self.folder / "s.fasta")
        out = [self.folder / "out" / n for n in ("records.parquet", "removed.tsv", "summary.json")]
        summary = read_records(Settings.from_config(self.data, self.filter), *out, self.task)
        assert read_json(out[2])["records_kept"] == summary["records_kept"]
        self.removed = pd.read_csv(out[1], sep="\t", keep_default_na=False)
        self.summary = summary
        return pd.read_parquet(out[0]).set_index("id")

    def reasons(self):
        return dict(zip(self.removed["id"], self.removed["reason"], strict=True))


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def test_kept_records_columns_and_types(case):
    case.header = ["id", "label", "genus"]
    case.labels = [(i, label, "" if i == "b2" else "G") for i, label in case.labels]
    case.data |= {"columns": {"ranks": ["genus"]}, "on_empty_rank": "unassigned"}
    case.fasta[1] = ("a2", "--" + S[1].lower().replace("t", "u") + "r")
    table = case.read()
    assert table.index.tolist() == ["a1", "a2", "b1", "b2"]
    assert table.loc["a2", "sequence"] == S[1] + "N"
    assert (table.loc["a2", "length"], table.loc["a2", "n_count"]) == (61, 1)
    assert table["known"].all()
    assert table["group"].tolist() == [0, 1, 2, 3]
    assert table["split"].isna().all()
    assert table["rank_genus"].tolist()[:3] == ["G"] * 3
    assert pd.isna(table.loc["b2", "rank_genus"])
    schema = pq.read_schema(case.folder / "out" / "records.parquet")
    assert [str(schema.field(n).type) for n in ("length", "n_count", "group")] == ["int32"] * 3
    assert schema.names == [
        "id", "sequence", "label", "length", "n_count", "split", "group", "known", "unknown", "rank_genus"
    ]  # fmt: skip
    s = case.summary
    assert (s["lower_case_records"], s["gap_letters"], s["iupac_letters"]) == (1, 2, {"R": 1})
    assert s["u_letters"] == S[1].count("T")
    assert s["removed"] == {} and case.removed.columns.tolist() == ["id", "reason", "detail"]
    assert {i["role"]: i["rows"] for i in s["inputs"]} == {"sequences": 4, "labels": 4}


def test_the_same_result_in_many_small_batches(case, monkeypatch):
    for i in range(20):
        case.add(f"x{i}", S[i % 8][: 40 + i], "ABC"[i % 3])
    whole = case.read()
    monkeypatch.setattr(scan, "_BATCH_ROWS", 3)
    pd.testing.assert_frame_equal(case.read(), whole)
    monkeypatch.setattr(scan, "_BATCH_BASES", 100)
    pd.testing.assert_frame_equal(case.read(), whole)


def test_length_and_n_filters_leave_rows(case):
    case.filter = {"min_length": 50, "max_length": 70, "max_n_share": 0.1}
    case.add("short", S[4][:49], "A")
    case.add("long", S[4] + S[5], "A")
    case.add("ns", S[4][:50] + "N" * 6, "A")
    case.add("edge", S[4][:54] + "N" * 6, "A")
    table = case.read()
    assert case.reasons() == {"short": "too_short", "long": "too_long", "ns": "too_many_n"}
    assert "49 bases" in case.removed.set_index("id").loc["short", "detail"]
    assert "edge" in table.index


def test_unmatched_ids_are_errors_or_rows(case):
    case.add("extra", S[4])
    with pytest.raises(UserError, match=r"labels\.csv has no row for 1 id \(extra\) of .*s\.fasta"):
        case.read()
    case.fasta.pop()
    case.labels += [(f"gone{i}", "A") for i in range(12)]
    with pytest.raises(UserError, match=r"s\.fasta has no sequence for 12 ids \(gone0, .*gone9 and 2 more\)"):
        case.read()
    assert not (case.folder / "out" / "records.parquet").exists()
    case.add("extra", S[4])
    case.add("blank", S[5], "")
    case.data["on_mismatch"] = "drop"
    assert case.read().index.tolist() == ["a1", "a2", "b1", "b2"]
    assert case.summary["removed"] == {"no_label": 1, "no_sequence": 12, "empty_label": 1}


def test_empty_label_is_an_error(case):
    case.add("blank", S[5], " ")
    with pytest.raises(UserError, match=r"empty 'label' for 1 id \(blank\)"):
        case.read()


@pytest.mark.parametrize("where", ["fasta", "labels", "vectors", "clusters"])
def test_repeated_ids(case, where):
    case.table("vectors", ["id", "v"], [(i, 1.5) for i in BASE] + [("a1", 2)] * (where == "vectors"))
    case.table("clusters", ["id", "cluster"], [(i, i) for i in BASE] + [("a1", "z")] * (where == "clusters"))
    if where == "fasta":
        case.fasta.append(("a1", S[5]))
    if where == "labels":
        case.labels.append(("a1", "B"))
    with pytest.raises(UserError, match=r"repeats 1 id \(a1\)"):
        case.read()
    case.data["on_duplicate_id"] = "drop"
    table = case.read()
    # The first of each is kept, whatever the second says.
    first = table.loc["a1"]
    assert (first["sequence"], first["label"], first["cluster"], first["vector"][0]) == (S[0], "A", "a1", 1.5)
    assert case.reasons() == {"a1": "duplicate_id"}


def test_selection_takes_rows_and_their_sequences_out(case):
    case.header = ["id", "label", "known"]
    case.labels = [(i, label, 1) for i, label in case.labels]
    case.add("u1", S[4], "G", 0)
    case.labels.append(("u2", "G", 0))
    case.data["select"] = {"known": ["1"]}
    assert case.read().index.tolist() == ["a1", "a2", "b1", "b2"]
    assert case.reasons() == {"u1": "not_selected", "u2": "not_selected"}


def test_vectors_and_clusters_cover_every_kept_record(case):
    case.add("short", "ACGT", "A")
    case.table("vectors", ["id", "x", "y"], [(i, n, -n) for n, i in enumerate(BASE)][::-1])
    case.table("clusters", ["id", "cluster"], [(i, f"c{i}") for i in BASE])
    table = case.read()
    assert [v.tolist() for v in table["vector"]] == [[0, 0], [1, -1], [2, -2], [3, -3]]
    assert table["cluster"].tolist() == ["ca1", "ca2", "cb1", "cb2"]
    case.table("clusters", ["id", "cluster"], [(i, "c") for i in BASE] + [("ghost", "c")])
    with pytest.raises(UserError, match=r"no sequence for 1 id \(ghost\) of .*clusters\.csv"):
        case.read()
    case.table("clusters", ["id", "cluster"], [(i, f"c{i}") for i in BASE])
    case.add("a3", S[5], "A")
    with pytest.raises(UserError, match=r"vectors\.csv has no row for 1 id \(a3\)"):
        case.read()
    case.data["on_mismatch"] = "drop"
    case.read()
    assert case.reasons() == {"short": "too_short", "a3": "no_vector"}


def test_conflicts_keep_drop_error(case):
    case.add("a3", S[2], "A")
    case.add("b3", S[2], "B")
    case.add("b4", S[4], "B")
    case.read()
    conflicts = case.summary["conflicts"]
    # b1, a3, b3 share a sequence: two B, one A; six of seven can be right.
    assert (conflicts["sequences"], conflicts["records"]) == (1, 3)
    assert conflicts["best_accuracy"] == pytest.approx(6 / 7)
    case.filter["conflicts"] = "drop"
    assert case.read().index.tolist() == ["a1", "a2", "b2", "b4"]
    assert set(case.reasons()) == {"b1", "a3", "b3"}
    assert case.summary["conflicts"]["best_accuracy"] == 1
    case.filter["conflicts"] = "error"
    with pytest.raises(UserError, match=r"1 sequences of .* two or more labels \(b1, a3, b3\)"):
        case.read()


def test_rare_classes_stay_as_known_unknowns(case):
    case.add("c1", S[4], "C")
    case.add("c2", S[4], "C")
    table = case.read()
    assert table["known"].tolist() == [True] * 4 + [False] * 2
    assert table.loc["c1", "group"] == table.loc["c2", "group"]
    assert case.reasons() == {"c1": "rare_class", "c2": "rare_class"}
    assert "class 'C' has 1 distinct sequence, 2 needed" in case.removed["detail"].tolist()
    assert (case.summary["classes_known"], case.summary["records_known_unknown"]) == (2, 2)
    case.filter["min_distinct"] = 1
    assert case.read()["known"].all()


def test_a_class_in_one_cluster_cannot_be_trained_and_tested(case):
    case.add("c1", S[4], "C")
    case.add("c2", S[5], "C")
    names = [i for i, _ in case.fasta]
    case.table("clusters", ["id", "cluster"], [(i, "c" if i in ("c1", "c2") else i) for i in names])
    assert case.read()["known"].tolist() == [True] * 4 + [False] * 2
    assert "one cluster" in case.removed["detail"][0]


def test_split_words_leaks_and_untrained_classes(case):
    case.header = ["id", "label", "part"]
    case.labels = [
        (i, label, p) for (i, label), p in zip(case.labels, ["Train", "dev", "training", "TEST"], strict=True)
    ]
    case.data["columns"] = {"split": "part"}
    case.add("b3", S[3], "B", "train")
    case.add("a3", S[1], "A", "valid")
    case.add("c1", S[4], "C", "test")
    case.add("c2", S[5], "C", "val")
    table = case.read()
    assert table["split"].to_dict() == {
        "a1": "train", "a2": "validation", "b1": "train", "b2": "test", "a3": "validation", "c1": "test",
        "c2": "validation",
    }  # fmt: skip
    assert case.reasons() == {"b3": "split_leak", "c1": "not_in_train", "c2": "not_in_train"}
    assert not table.loc["c1", "known"]
    case.filter["on_split_leak"] = "error"
    with pytest.raises(UserError, match=r"more protected part of column 'part' \(b3\)"):
        case.read()
    case.add("d", S[6], "A", "holdout")
    with pytest.raises(UserError, match="'holdout' in column 'part' for id 'd'"):
        case.read()


def test_a_label_that_is_not_in_the_given_map_is_one_sentence(case):
    case.data["columns"] = {"label": "species"}
    case.header = ["id", "species"]
    case.task = task("multiclass", {"labels": ["Alpha", "B", "A"]})
    assert case.read()["label"].tolist() == ["A", "A", "B", "B"]
    case.add("x1", S[4], "Alpah")
    case.add("x2", S[5], "Beta")
    with pytest.raises(UserError) as caught:
        case.read()
    sentence = str(caught.value)
    for words in ("labels.csv", "'Alpah' of id 'x1'", "column 'species'", "data.label_map", "did you mean 'Alpha'"):
        assert words in sentence
    assert "\n" not in sentence and "x2" not in sentence
    # A record that is filtered out is not asked for its label.
    case.fasta[-2:] = [("x1", "ACGT"), ("x2", S[5] * 1000)]
    case.filter = {"max_length": 1000}
    assert case.read().index.tolist() == ["a1", "a2", "b1", "b2"]


def test_nothing_left_one_class_and_all_classes_filtered(case):
    case.filter = {"min_length": 100}
    with pytest.raises(UserError, match=r"No sequence of .* is left .*4 too_short"):
        case.read()
    case.filter = {"min_distinct": 3}
    with pytest.raises(UserError, match=r"No class of .* has 3 distinct sequences"):
        case.read()
    case.filter = {}
    case.labels = [(i, "A") for i, _ in case.labels]
    with pytest.raises(UserError, match="Only one class is left, 'A'"):
        case.read()
    assert list((case.folder / "out").iterdir()) == []


def test_unknown_setting_names_the_nearest():
    with pytest.raises(UserError, match=r"'min_lenght' .* \(did you mean 'min_length'\?\)"):
        Settings.from_config({"sequences": "a", "labels": "b"}, {"min_lenght": 3})


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=40))
def test_components_against_a_naive_union(pairs):
    sequence, cluster = (np.array(x) for x in zip(*pairs, strict=True))
    group = list(range(len(pairs)))
    changed = True
    while changed:
        changed = False
        for i in range(len(pairs)):
            for j in range(len(pairs)):
                if (sequence[i] == sequence[j] or cluster[i] == cluster[j]) and group[i] != group[j]:
                    group[i] = group[j] = min(group[i], group[j])
                    changed = True
    found = components(sequence, cluster)
    assert len(set(found)) == len(set(group)) == len(set(zip(found.tolist(), group, strict=True)))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=30))
def test_best_accuracy_against_pandas(pairs):
    table = pd.DataFrame(pairs, columns=["sequence", "label"])
    expected = table.groupby("sequence")["label"].agg(lambda x: x.value_counts().iloc[0]).sum() / len(table)
    assert best_accuracy(table["sequence"].to_numpy(), table["label"].to_numpy()) == pytest.approx(expected)


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=30))
def test_sequence_codes_are_numbered_by_first_appearance(digests):
    seen = {}
    expected = [seen.setdefault(d, len(seen)) for d in digests]
    assert sequence_codes(b"".join(digests)).tolist() == expected


def test_real_barcodes_with_a_selection(tmp_path):
    folder = DATA / "annelida_coi_small"
    if not folder.is_dir():
        pytest.skip("the shared data are not here")
    data = {
        "sequences": str(folder / "sequences.fasta"),
        "labels": str(folder / "labels.csv"),
        "select": {"known": ["1"]},
        "columns": {"ranks": ["genus", "family"]},
    }
    out = [tmp_path / n for n in ("r.parquet", "r.tsv", "s.json")]
    summary = read_records(Settings.from_config(data, {}), *out, task("multiclass"))
    labels = pd.read_csv(folder / "labels.csv")
    assert (summary["sequences_read"], summary["records_known"], summary["classes_known"]) == (
        2539,
        2238,
        107,
    )
    assert summary["removed"] == {"not_selected": int((labels["known"] == 0).sum()), "rare_class": 1}
