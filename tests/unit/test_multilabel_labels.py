"""Labels of which a record may have several: read, counted, stratified, drawn; and every mistake in one sentence."""

import numpy as np
import pyarrow as pa
import pytest

from dnatune.config import resolve
from dnatune.errors import UserError
from dnatune.folds import fold_roles
from dnatune.records import Columns, Settings, read_records
from dnatune.tasks import task
from dnatune.tasks.base import LabelSource

SOURCE = LabelSource("labels.csv", "labels")
OPTIONS = {"separator": ";", "threshold": "tuned", "groups": {}, "alone": None, "labels": None}


def kind(**options):
    return task("multilabel", {**OPTIONS, **options})


def check(texts, **options):
    ids = pa.array([f"s{i}" for i in range(len(texts))])
    kind(**options).labels.check(SOURCE, ids, pa.array(texts, pa.string()), np.full(len(texts), 100))


def described(texts, **options):
    column = pa.chunked_array([pa.array(texts, pa.string())])
    return kind(**options).labels.describe(column, np.ones(len(texts), bool), np.arange(len(texts)))


def test_any_separator_blanks_and_repeats():
    for separator in (";", ",", " | ", "\t", "::"):
        labels = kind(separator=separator).labels
        texts = pa.chunked_array([[separator.join(["b", " a", "b"]), "", f"a{separator}", "c"]])
        targets = labels.targets(texts, np.ones(4, bool), ["a", "b", "c"])
        assert targets.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]]


def test_label_map_is_found_sorted_or_given_in_its_order():
    texts = ["b;a", "", "a", "c;a"]
    assert list(described(texts).label_map["label2id"]) == ["a", "b", "c"]
    given = described(texts, labels=["c", "never", "b", "a"])
    assert given.label_map["label2id"] == {"c": 0, "never": 1, "b": 2, "a": 3}
    balance = given.balance.set_index("label")
    assert balance["records"].to_dict() == {"a": 3, "b": 1, "c": 1, "never": 0}
    assert balance.loc["a", "share"] == 0.75
    assert given.summary["without_label"] == 1
    assert "1 of the label map has no sequence at all" in given.summary["statement"]


def test_identical_sequences_are_counted_once():
    labels = kind().labels
    found = labels.describe(pa.chunked_array([["a;b", "a", "b"]]), np.ones(3, bool), np.array([0, 0, 1]))
    assert found.balance.set_index("label")["distinct_sequences"].to_dict() == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("texts", "options", "words"),
    [
        (["a,b", "c", ""], {}, ("';' (multilabel.separator) occurs in no cell", "'a,b' of id 's0'", "data.label_map")),
        (["a;x", "b"], {"labels": ["a", "b"]}, ("label 'x' of id 's0'", "not in data.label_map", "add it there")),
        (["a;leef"], {"labels": ["a", "leaf"]}, ("did you mean 'leaf'",)),
        (["a,b"], {"labels": ["a", "b"]}, ("occurs in no cell", "'a,b'")),
        (["", " "], {}, ("has no label at all",)),
    ],
)
def test_wrong_labels_are_refused_in_one_sentence(texts, options, words):
    with pytest.raises(UserError) as mistake:
        check(texts, **options)
    sentence = str(mistake.value)
    assert all(word in sentence for word in ("labels.csv", *words)), sentence
    assert "\n" not in sentence and sentence.endswith(".")


def test_one_label_at_most_is_believed_of_labels_that_are_given():
    check(["a", "", "b"], labels=["a", "b"])
    check(["a;b", "", "b"])


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"x": ["a", "b"], "y": ["b", "c"]}, "the label 'b' is in 'x' and in 'y'"),
        ({"x": ["a"], "y": ["b"]}, "no group has c"),
        ({"x": ["a", "b"], "y": ["c", "leav"]}, "there is no label 'leav'"),
    ],
)
def test_each_label_belongs_to_one_group(groups, words):
    with pytest.raises(UserError, match=r"multilabel\.groups") as mistake:
        described(["a;b", "c"], groups=groups)
    assert words in str(mistake.value)


def test_heads_and_trainings_follow_the_groups():
    groups = {"x": ["c", "a"], "y": ["b"]}
    apart = kind(groups=groups, alone="groups")
    assert apart.head(["a", "b", "c"])["groups"] == [[2, 0], [1]]
    assert apart.head(["b"])["groups"] == [[0]]
    (name, settings), *_ = apart.compared({"m": {"tuning": "full"}}).items()
    assert name == "m.alone"
    assert apart.units(settings, ["a", "b", "c"]) == [[2, 0], [1]]
    assert apart.units({"tuning": "full"}, ["a", "b", "c"]) == []
    assert kind(alone="labels").units({"alone": "labels"}, ["a", "b"]) == [[0], [1]]
    assert kind().compared({"m": {}}) == {} and "groups" not in kind().head(["a"])


@pytest.mark.parametrize(
    ("section", "model", "words"),
    [
        ({"threshold": "high"}, {}, "multilabel.threshold': found 'high', expected tuned or a number"),
        ({"threshold": 1.5}, {}, "multilabel.threshold': found 1.5"),
        ({"separator": ""}, {}, "multilabel.separator"),
        ({"alone": "groups"}, {}, "'multilabel.groups' names none"),
        ({"groups": {"x": ["a"]}}, {"pooling": "architecture"}, "models.m.pooling"),
        ({}, {"training": {"imbalance": "logit_adjustment"}}, "models.m.training.imbalance"),
        ({}, {"training": {"metric": "accuracy"}}, "models.m.training.metric"),
    ],
)
def test_settings_that_cannot_be(section, model, words):
    config = {
        "name": "n",
        "task": "multilabel",
        "data": {"sequences": "s.fasta", "labels": "l.csv"},
        "models": {"m": {"backbone": "builtin:nt-mini", **model}},
        "multilabel": section,
    }
    with pytest.raises(UserError) as mistake:
        resolve(config)
    assert words in str(mistake.value), mistake.value


@pytest.mark.parametrize(
    "metric", ["f1_macro", "f1_micro", "subset_accuracy", "hamming_loss", "pr_auc_macro", "log_loss"]
)
def test_any_metric_of_the_curve_chooses_the_best_checkpoint(metric):
    config = {
        "name": "n",
        "task": "multilabel",
        "data": {"sequences": "s.fasta", "labels": "l.csv"},
        "models": {"m": {"backbone": "builtin:nt-mini", "training": {"metric": metric}}},
    }
    assert resolve(config)["models"]["m"]["training"]["metric"] == metric


def simulated(n=600, seed=0):
    """Targets of five labels, from common to rare, that come together; a third of the records have none."""
    rng = np.random.default_rng(seed)
    return (rng.random((n, 5)) < [0.4, 0.2, 0.15, 0.05, 0.02]).astype(np.int8) * (rng.random((n, 1)) < 0.67)


def test_folds_have_an_even_share_of_each_label_and_of_records_without_one():
    targets = simulated()
    strata = kind().labels.strata(targets)
    roles = list(fold_roles(strata, np.arange(len(targets)), 5, 0.2, seed=1))
    tested = np.array([targets[role == 2].sum(axis=0) for role in roles])
    records = targets.sum(axis=0)
    assert (np.abs(tested - records / 5) <= np.maximum(2, 0.25 * records / 5)).all(), tested
    rarest = records.argmin()
    assert tested[:, rarest].max() - tested[:, rarest].min() <= 1
    none = np.array([(targets[role == 2].sum(axis=1) == 0).sum() for role in roles])
    assert none.max() - none.min() <= 2
    common = records >= 15
    assert all(targets[role == 1][:, common].any(axis=0).all() for role in roles)


def test_strata_are_the_rarest_label():
    targets = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1], [1, 0, 1], [0, 0, 0]], np.int8)
    # Records: label 0 four, label 1 one, label 2 two; rarest first, none last.
    assert kind().labels.strata(targets).tolist() == [0, 2, 3, 1, 1, 3]


def test_records_with_rare_labels_are_drawn_more_often():
    targets = np.zeros((100, 3), np.int8)
    targets[:64, 0] = targets[60:76, 1] = targets[75:79, 2] = 1
    weights = kind().labels.sampling_weights(targets)
    # sqrt(64 / 64), sqrt(64 / 16), sqrt(64 / 4); a record counts by its rarest label, one without any as one.
    assert weights[[0, 62, 70, 75, 78, 99]].tolist() == [1, 2, 2, 4, 4, 1]


def test_records_without_labels_are_kept_and_order_of_labels_is_no_conflict(tmp_path):
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list("ACGT"), 80)) for _ in range(6)]
    sequences[1] = sequences[0]
    texts = ["a;b", "b; a", "", "a", "", "b"]
    (tmp_path / "s.fasta").write_text("".join(f">r{i}\n{s}\n" for i, s in enumerate(sequences)))
    (tmp_path / "l.csv").write_text("id,labels\n" + "".join(f"r{i},{t}\n" for i, t in enumerate(texts)))
    settings = Settings(str(tmp_path / "s.fasta"), str(tmp_path / "l.csv"), columns=Columns(label="labels"))
    paths = [tmp_path / name for name in ("records.parquet", "removed.tsv", "summary.json")]
    summary = read_records(settings, *paths, kind())
    assert summary["records_kept"] == summary["records_known"] == 6
    assert summary["removed"] == {}
    assert summary["conflicts"]["sequences"] == 0
