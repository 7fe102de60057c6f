"""Labels per base: what is read from a label table, and the sentence for each mistake in it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from dnatune.errors import UserError
from dnatune.fasta import read_clean
from dnatune.tasks import task
from dnatune.tasks.base import LabelSource

SOURCE = LabelSource("labels.csv", "label")
TEXTS = ["OOCC", "OCIIIC", "OO"]


def labels(**options):
    return task("token", options).labels


def check(texts, lengths, **options):
    labels(**options).check(SOURCE, pa.array([f"s{i}" for i in range(len(texts))]), pa.array(texts), np.array(lengths))


def targets(texts, names, **options):
    return labels(**options).targets(pa.chunked_array([texts]), np.ones(len(texts), bool), names)


def test_letters_become_class_ids_in_the_order_of_the_label_map():
    found = targets(TEXTS, ["O", "C", "I"])
    assert found.counts.tolist() == [4, 6, 2]
    assert found.of(0).tolist() == [0, 0, 1, 1]
    assert found.of(1).tolist() == [0, 1, 2, 2, 2, 1]
    assert found[np.array([2, 0])].values.tolist() == [0, 0, 0, 0, 1, 1]


def test_tags_between_separators_are_the_same_as_letters():
    tags = [" ".join({"O": "out", "C": "B-exon", "I": "ä"}[letter] for letter in text) for text in TEXTS]
    found = targets(tags, ["out", "B-exon", "ä"], separator=" ")
    assert found.values.tolist() == targets(TEXTS, ["O", "C", "I"]).values.tolist()


def test_letters_outside_of_ascii_count_as_one():
    assert targets(["äoä"], ["o", "ä"]).values.tolist() == [1, 0, 1]


def test_a_label_that_the_map_lacks_is_refused():
    with pytest.raises(UserError, match="no entry for 'I'"):
        targets(TEXTS, ["O", "C"])


def test_the_found_label_map_and_the_balance_in_bases():
    found = labels().describe(pa.chunked_array([TEXTS]), np.ones(3, bool), np.arange(3))
    assert found.label_map["label2id"] == {"C": 0, "I": 1, "O": 2}
    table = found.balance.set_index("label")
    assert table["bases"].to_dict() == {"O": 5, "C": 4, "I": 3}
    assert table["records"].to_dict() == {"O": 3, "C": 2, "I": 1}
    assert table["class_id"].to_dict() == {"O": 2, "C": 0, "I": 1}
    assert table["share"].sum() == pytest.approx(1)
    assert "12 labelled bases with 3 labels" in found.summary["statement"]
    assert found.summary["majority_share"] == pytest.approx(5 / 12)


def test_a_given_label_map_keeps_its_order_and_labels_without_a_base():
    found = labels(labels=["O", "X", "I", "C"]).describe(pa.chunked_array([TEXTS]), np.ones(3, bool), np.arange(3))
    assert found.label_map["label2id"] == {"O": 0, "X": 1, "I": 2, "C": 3}
    assert found.balance.set_index("label").loc["X", "bases"] == 0
    assert "3 labels" in found.summary["statement"]


def test_one_label_alone_is_refused():
    with pytest.raises(UserError, match=r"same label, 'O'.*at least two"):
        labels().describe(pa.chunked_array([["OOO", "OO"]]), np.ones(2, bool), np.arange(2))


def test_right_labels_pass():
    check(TEXTS, [4, 6, 2])
    check(["a b a", "b"], [3, 1], separator=" ", labels=["a", "b"])


def test_gaps_do_not_count(tmp_path):
    path = tmp_path / "s.fasta"
    path.write_text(">s0\nAC--GT\n")
    (_, sequence), *_ = read_clean(path)
    check(["OOCC"], [len(sequence)])


@pytest.mark.parametrize(
    ("texts", "lengths", "options", "words"),
    [
        (["OO", "OOC"], [2, 4], {}, ["labels.csv", "id 's1'", "are 3,", "4 bases", "one letter per base"]),
        (["O O C"], [3], {}, ["are 5,", "3 bases", "separated by ' '", "token.separator"]),
        (["O,C"], [3], {"separator": ","}, ["are 2,", "3 bases", "separated by ','"]),
        (["O,,C"], [3], {"separator": ","}, ["id 's0'", "an empty one at base 2"]),
        (["OCX"], [3], {"labels": ["O", "C"]}, ["id 's0'", "'X' at base 3", "data.label_map"]),
        (["exon,exom"], [2], {"labels": ["exon"], "separator": ","}, ["'exom' at base 2", "did you mean 'exon'"]),
    ],
)
def test_each_mistake_has_its_sentence(texts, lengths, options, words):
    with pytest.raises(UserError) as caught:
        check(texts, lengths, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_strata_are_the_label_that_fewest_sequences_hold():
    texts = ["OC", "OO", "CO", "OI", "OIC"]
    found = targets(texts, ["O", "C", "I"])
    # O is held by five sequences, C by three, I by two.
    strata = labels().strata(found)
    assert strata.tolist() == [1, 0, 1, 2, 2]
