"""The label map, the balance table and the statement on the imbalance."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dnatune.errors import UserError
from dnatune.files import read_json
from dnatune.labels import class_balance, imbalance, label_map, map_labels
from dnatune.tasks import task


def test_label_map_is_sorted_and_both_ways():
    mapping = label_map(["b", "a", "B", "b", "NA"])
    assert mapping["label2id"] == {"B": 0, "NA": 1, "a": 2, "b": 3}
    assert mapping["id2label"] == {"0": "B", "1": "NA", "2": "a", "3": "b"}
    assert label_map(["NA", "b", "a", "B"]) == mapping


def balance_of(sizes, unknown=()):
    labels = [f"s{i}" for i, n in enumerate(sizes) for _ in range(n)]
    known = [True] * len(labels) + [False] * sum(unknown)
    labels += [f"u{i}" for i, n in enumerate(unknown) for _ in range(n)]
    ids = {f"s{i}": i for i in range(len(sizes))}
    return class_balance(np.array(labels), np.array(known), np.arange(len(labels)), ids)


def test_balance_counts_and_shares():
    labels = np.array(["b", "a", "b", "b", "c"])
    table = class_balance(labels, labels != "c", np.array([0, 1, 0, 2, 3]), {"a": 0, "b": 1})
    assert table["label"].tolist() == ["b", "a", "c"]
    assert table["class_id"].tolist() == [1, 0, -1]
    assert table["records"].tolist() == [3, 1, 1]
    assert table["distinct_sequences"].tolist() == [2, 1, 1]
    np.testing.assert_allclose(table["share"], [0.6, 0.2, 0.2])


def test_statement_names_the_numbers_that_matter():
    summary = imbalance(balance_of([168, *[13] * 30, 2], unknown=[1, 1]))
    assert summary["statement"].startswith(
        "The largest of 32 classes has 168 sequences, the median 13, the smallest 2: the largest is 84 times "
        "the smallest; 10 classes hold 51 % of all sequences."
    )
    assert "'s0' would be right for 30 %" in summary["statement"]
    assert "2 more classes with 2 sequences are too rare" in summary["statement"]
    assert (summary["ratio"], summary["median"], summary["classes"], summary["records"]) == (84, 13, 32, 560)
    assert np.isclose(summary["head_share"], (168 + 9 * 13) / 560)


def test_statement_of_balanced_and_of_two_classes():
    assert imbalance(balance_of([5, 5]))["statement"] == "All 2 classes have 5 sequences: the classes are balanced."
    two = imbalance(balance_of([6, 2]))["statement"]
    assert "median" not in two
    assert "for 75 %" in two
    assert np.isclose(imbalance(balance_of([5, 5, 5]))["effective_classes"], 3)


def test_written_files(tmp_path):
    pd.DataFrame(
        {
            "label": ["b", "a", "a", "NA"],
            "known": [True, True, True, False],
            "sequence": ["AC", "AC", "GT", "T"],
        }
    ).to_parquet(tmp_path / "records.parquet")
    paths = [tmp_path / name for name in ("map.json", "balance.tsv", "summary.json")]
    map_labels(tmp_path / "records.parquet", *paths, task("multiclass"))
    assert read_json(paths[0])["label2id"] == {"a": 0, "b": 1}
    table = pd.read_csv(paths[1], sep="\t", keep_default_na=False)
    assert table["label"].tolist() == ["a", "NA", "b"]
    assert table["class_id"].tolist() == [0, -1, 1]
    assert read_json(paths[2])["classes_known_unknown"] == 1


def test_a_given_label_map_keeps_its_order(tmp_path):
    table = {"label": ["b", "a", "a", "b", "rare"], "known": [True] * 4 + [False], "sequence": list("ACGTT")}
    pd.DataFrame(table).to_parquet(tmp_path / "records.parquet")
    paths = [tmp_path / name for name in ("map.json", "balance.tsv", "summary.json")]
    given = ["b", "never seen", "rare", "a"]
    map_labels(tmp_path / "records.parquet", *paths, task("multiclass", {"labels": given}))
    written = read_json(paths[0])
    assert list(written["label2id"].items()) == [("b", 0), ("never seen", 1), ("rare", 2), ("a", 3)]
    assert [written["id2label"][str(i)] for i in range(4)] == given
    balance = pd.read_csv(paths[1], sep="\t").set_index("label")
    # A class that is too rare to be trained on has no id in the table, even where the map names it.
    assert balance["class_id"].to_dict() == {"a": 3, "b": 0, "rare": -1}
    targets = task("multiclass", {"labels": given}).labels.targets(
        pa.chunked_array([table["label"]]), np.array(table["known"]), given
    )
    assert targets.tolist() == [0, 3, 3, 0, -1]


def test_a_known_record_whose_label_is_not_in_the_map_is_a_mistake():
    labels = task("multiclass").labels
    with pytest.raises(UserError, match=r"no entry for b.*run the labels step again"):
        labels.targets(pa.chunked_array([["a", "b"]]), np.array([True, True]), ["a"])
