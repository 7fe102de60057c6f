"""Folds: whole groups, every class tested as widely as it can be, the validation share, and the audit."""

from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dnatune.audit import audit_folds, require_clean
from dnatune.errors import UserError
from dnatune.folds import choose_validation, split_folds, split_roles, stratified_group_folds
from dnatune.tasks import task


@st.composite
def data_sets(draw, pure=True):
    """Class ids and groups; with ``pure`` every group has one label."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes = draw(st.integers(2, 12))
    group_class = rng.integers(0, classes, draw(st.integers(10, 80)))
    sizes = rng.integers(1, draw(st.integers(1, 8)) + 1, len(group_class))
    groups = rng.permutation(np.repeat(np.arange(len(group_class)) * 7, sizes))
    ids = group_class[groups // 7]
    if not pure:
        ids = np.where(rng.random(len(ids)) < 0.2, rng.integers(0, classes, len(ids)), ids)
    return ids, groups


@settings(max_examples=100, deadline=None)
@given(data_sets(pure=False), st.integers(2, 6), st.integers(0, 5))
def test_groups_stay_whole_and_the_seed_decides(data, folds, seed):
    ids, groups = data
    tested = stratified_group_folds(ids, groups, folds, seed)
    assert (pd.Series(tested).groupby(groups).nunique() == 1).all()
    assert set(tested) == set(range(folds))
    assert (tested == stratified_group_folds(ids, groups, folds, seed)).all()


@settings(max_examples=100, deadline=None)
@given(data_sets(), st.integers(2, 6))
def test_a_class_is_tested_in_as_many_folds_as_it_has_groups(data, folds):
    ids, groups = data
    tested = stratified_group_folds(ids, groups, folds, 0)
    for c in np.unique(ids):
        own = ids == c
        assert len(set(tested[own])) == min(len(set(groups[own])), folds)
        # Within a class, no fold has more than one largest group above another.
        sizes = np.bincount(tested[own], minlength=folds)
        assert np.ptp(sizes) <= pd.Series(groups[own]).value_counts().max()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=10, max_size=200), st.integers(2, 8), st.integers(0, 3))
def test_single_records_give_folds_of_equal_size(ids, folds, seed):
    ids = np.array(ids)
    tested = stratified_group_folds(ids, np.arange(len(ids)), folds, seed)
    assert np.ptp(np.bincount(tested, minlength=folds)) <= 1
    for c in np.unique(ids):
        assert np.ptp(np.bincount(tested[ids == c], minlength=folds)) <= 1


def test_another_seed_gives_other_folds():
    ids, groups = np.repeat(np.arange(20), 10), np.arange(200)
    one, two = (stratified_group_folds(ids, groups, 5, seed) for seed in (1, 2))
    assert (one != two).any()


def test_mistakes():
    with pytest.raises(UserError, match=r"split\.folds is 1; .* at least 2"):
        stratified_group_folds(np.array([0, 1]), np.array([0, 1]), 1, 0)
    with pytest.raises(UserError, match=r"There are 3 groups .* fewer than split\.folds = 5"):
        stratified_group_folds(np.array([0, 0, 1, 1, 1, 1]), np.array([0, 0, 1, 1, 2, 2]), 5, 0)


@settings(max_examples=100, deadline=None)
@given(data_sets(pure=False), st.integers(0, 5))
def test_validation_is_whole_groups_and_never_the_last_of_a_class(data, seed):
    ids, groups = data
    available = groups % 5 != 0
    assume(available.any())
    groups_left = defaultdict(set)
    for c, g in zip(ids[available], groups[available], strict=True):
        groups_left[c].add(g)
    try:
        chosen = choose_validation(ids, groups, available, 0.1, seed)
    except UserError:
        # Only when no group can be spared: every group is the last of one of its classes.
        for g in set(groups[available]):
            assert any(groups_left[c] == {g} for c in set(ids[available & (groups == g)]))
        return
    assert not (chosen & ~available).any()
    assert (pd.Series(chosen[available]).groupby(groups[available]).nunique() == 1).all()
    for c in np.unique(ids[available]):
        assert (available & ~chosen & (ids == c)).any()


def test_validation_is_close_to_its_share_and_stratified():
    rng = np.random.default_rng(0)
    # 300 classes of 2 to 40 records: most owe less than one record.
    sizes = rng.integers(2, 41, 300)
    ids = np.repeat(np.arange(300), sizes)
    for seed in range(5):
        chosen = choose_validation(ids, np.arange(len(ids)), np.ones(len(ids), bool), 0.1, seed)
        assert abs(chosen.sum() - 0.1 * len(ids)) < 2
        per_class = np.bincount(ids[chosen], minlength=300)
        assert (np.abs(per_class - 0.1 * sizes) < 2).all()


def test_validation_takes_one_group_of_a_small_set_and_says_when_it_cannot():
    ids, groups = np.array([0, 0, 0, 1, 1]), np.arange(5)
    assert choose_validation(ids, groups, np.ones(5, bool), 0.01, 0).sum() == 1
    with pytest.raises(UserError, match="No record can be set aside for validation"):
        choose_validation(ids, np.array([0, 0, 0, 1, 1]), np.ones(5, bool), 0.1, 0)
    assert not choose_validation(ids, groups, np.ones(5, bool), 0.0, 0).any()


def test_split_column_roles():
    ids, groups = np.repeat([0, 1], 20), np.arange(40)
    split = np.array((["train"] * 15 + ["test"] * 5) * 2, object)
    roles = split_roles(split, ids, groups, 0.1, 0)
    assert ((roles == 2) == (split == "test")).all()
    assert (roles == 1).sum() == 3
    given_roles = split.copy()
    given_roles[:2] = "validation"
    assert (np.flatnonzero(split_roles(given_roles, ids, groups, 0.1, 0) == 1) == [0, 1]).all()
    for missing in ("test", "train"):
        other = np.where(split == missing, "validation", split)
        with pytest.raises(UserError, match=f"no '{missing}' record"):
            split_roles(other, ids, groups, 0.1, 0)


@pytest.fixture
def records(tmp_path):
    """Records on disk: 3 known classes of 12, of which one sequence is there twice, and a known unknown."""
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"id": [f"r{i}" for i in range(37)]})
    table["sequence"] = ["".join(rng.choice(list("ACGT"), 30)) for _ in range(37)]
    table.loc[1, "sequence"] = table.loc[0, "sequence"]
    table["label"] = ["abc"[i // 12] if i < 36 else "z" for i in range(37)]
    table["group"] = np.array([0, *range(36)], np.int32)
    table["known"] = table["label"] != "z"
    table["split"] = pd.Series([None] * 37, dtype="str")
    path = tmp_path / "records.parquet"

    def write(**columns):
        table.assign(**columns).to_parquet(path)
        return path

    return write


SPLIT = {"folds": 5, "validation_share": 0.1}
NAMES, TASK = ["a", "b", "c"], task("multiclass")


def test_written_folds_are_clean(records, tmp_path):
    path, folds = records(), tmp_path / "folds.tsv"
    assert split_folds(path, NAMES, SPLIT, 1, folds, TASK) == "k-fold"
    table = pd.read_csv(folds, sep="\t")
    assert table.columns.tolist() == ["fold", "id", "role"]
    assert len(table) == 5 * 36 and "r36" not in set(table["id"])
    assert sorted(table[table["role"] == "test"]["id"]) == sorted(f"r{i}" for i in range(36))
    audit = audit_folds(folds, path, "k-fold")
    assert audit["clean"] and audit["problems"] == []
    require_clean(audit, folds)
    for entry in audit["per_fold"]:
        own = table[table["fold"] == entry["fold"]]["role"].value_counts()
        assert {r: entry[r]["records"] for r in own.index} == own.to_dict()


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("leak", "sequences_in_two_roles"),
        ("cluster", "clusters_in_two_roles"),
        ("untested", "records_never_tested"),
        ("missing", "records_never_tested"),
        ("stranger", None),
        ("twice", "records_tested_twice"),
    ],
)
def test_the_audit_finds_what_is_wrong_in_the_written_file(records, tmp_path, change, key):
    path, folds = records(), tmp_path / "folds.tsv"
    split_folds(path, NAMES, SPLIT, 1, folds, TASK)
    table = pd.read_csv(folds, sep="\t")
    of = table.set_index(["fold", "id"])["role"]
    if change == "leak":
        fold = next(f for f in range(5) if of[f, "r0"] == "test")
        table.loc[(table["fold"] == fold) & (table["id"] == "r1"), "role"] = "train"
    elif change == "cluster":
        path = records(cluster=["one" if i in (5, 20) else str(i) for i in range(37)])
        for fold, role in ((0, "train"), (0, "test")):
            table.loc[(table["fold"] == fold) & (table["id"] == {"train": "r5", "test": "r20"}[role]), "role"] = role
    elif change == "untested":
        table.loc[(table["id"] == "r7") & (table["role"] == "test"), "role"] = "train"
    elif change == "missing":
        table = table[table["id"] != "r7"]
    elif change == "stranger":
        table = pd.concat([table, pd.DataFrame({"fold": [0], "id": ["r36"], "role": ["train"]})])
    else:
        table.loc[table["id"] == "r9", "role"] = "test"
    table.to_csv(folds, sep="\t", index=False)
    audit = audit_folds(folds, path, "k-fold")
    assert not audit["clean"]
    assert key is None or audit[key] > 0
    with pytest.raises(UserError, match="leakage audit"):
        require_clean(audit, folds)


def test_a_split_column_gives_one_fold(records, tmp_path):
    split = ["test" if i % 4 == 2 else "train" for i in range(37)]
    path, folds = records(split=split), tmp_path / "folds.tsv"
    assert split_folds(path, NAMES, SPLIT, 1, folds, TASK) == "split column"
    audit = audit_folds(folds, path, "split column")
    assert audit["clean"] and audit["folds"] == 1
    assert audit["per_fold"][0]["test"]["records"] == 9
    # A tenth of 27 or 28 records.
    assert audit["per_fold"][0]["validation"]["records"] in (2, 3)


def test_thousands_of_rare_classes_take_seconds():
    rng = np.random.default_rng(0)
    ids = np.concatenate([np.repeat(np.arange(3200), 2), rng.zipf(1.3, 60000) - 1])
    ids = ids[ids < 3200][:24000]
    groups = np.arange(len(ids))
    tested = stratified_group_folds(ids, groups, 5, 0)
    spread = pd.Series(tested).groupby(ids).nunique()
    assert (spread == np.minimum(np.bincount(ids, minlength=3200), 5)).all()
