"""Unknown species from table to fold: those held out on purpose never leak, those flagged are never trained."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnatune import config
from dnatune.audit import audit_folds
from dnatune.errors import UserError
from dnatune.files import read_json, write_json
from dnatune.fold_data import facts_of_fold, load_fold
from dnatune.folds import HELD_OUT, TEST, TRAIN, VALIDATION, fold_roles, held_out_classes, split_folds, split_roles
from dnatune.labels import map_labels
from dnatune.records import Settings, read_records
from dnatune.tasks import task
from dnatune.taxonomy import Taxonomy, described

TASK = task("multiclass")
RNG = np.random.default_rng(0)
S = ["".join(RNG.choice(list("ACGT"), 60)) for _ in range(60)]


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 30), st.integers(2, 6), st.floats(0.01, 0.5), st.integers(0, 1000), st.booleans())
def test_held_out_classes_are_in_no_other_role_of_their_fold(classes, folds, share, seed, twins):
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(classes), rng.integers(4, 12, classes))
    groups = np.arange(len(ids))
    if twins:
        groups[ids == 1] = groups[ids == 0][0]  # all of class 1 is also known under the name of class 0
    strange = held_out_classes(ids, groups, folds, share, seed)
    for fold, roles in enumerate(fold_roles(ids, groups, folds, 0.2, seed, share)):
        held = np.unique(ids[roles == HELD_OUT])
        assert set(held) <= set(strange[fold])
        assert not np.isin(ids[roles != HELD_OUT], held).any()
        assert not np.isin(groups[roles == HELD_OUT], groups[roles != HELD_OUT]).any()
        assert {TRAIN, VALIDATION, TEST} <= set(roles.tolist())
        if twins:
            assert not {0, 1} & set(held.tolist())
        else:
            assert len(np.unique(ids[roles == TRAIN])) >= 2
        if classes > 4:
            assert held.tolist() == strange[fold].tolist() and len(held) >= 1
    if folds * max(map(len, strange)) <= classes - 2 * twins:
        assert len(np.unique(np.concatenate(strange))) == sum(map(len, strange))  # other ones in each fold


def test_nobody_is_held_out_unless_asked_and_folds_stay_what_they_are():
    ids, groups = np.repeat(np.arange(10), 10), np.arange(100)
    plain = list(fold_roles(ids, groups, 5, 0.1, 0))
    assert not any((roles == HELD_OUT).any() for roles in plain)
    for roles, with_held in zip(plain, fold_roles(ids, groups, 5, 0.1, 0, 0.1), strict=True):
        rest = with_held != HELD_OUT
        assert ((roles == TEST) == (with_held == TEST))[rest].all()


def test_a_given_split_can_hold_out_too_and_two_classes_cannot():
    ids, groups = np.repeat(np.arange(5), 8), np.arange(40)
    split = np.array((["train"] * 5 + ["validation"] + ["test"] * 2) * 5, object)
    roles = split_roles(split, ids, groups, 0.1, 0, 0.2)
    held = np.unique(ids[roles == HELD_OUT])
    assert len(held) == 1 and (roles[ids == held[0]] == HELD_OUT).all()
    assert [part.tolist() for part in held_out_classes(ids[:16], groups[:16], 2, 0.5, 0)] == [[], []]


@pytest.fixture
def written(tmp_path):
    """Six species of eight sequences, two flagged records, of which one equals a known one, and a singleton."""
    fasta, rows = [], [("id", "label", "known", "genus")]
    for i in range(48):
        fasta.append((f"s{i}", S[i]))
        rows.append((f"s{i}", f"Genus{i // 16} species{i // 8}", "1", f"Genus{i // 16}"))
    for name, sequence, label, known in (
        ("f0", S[50], "Genus0", "0"),
        ("f1", S[3], "Genus0", "false"),
        ("f2", S[51], "Genus1 species2", "No"),
        ("one", S[52], "Rarus unus", "TRUE"),
    ):
        fasta.append((name, sequence))
        rows.append((name, label, known, label.split()[0]))
    (tmp_path / "s.fasta").write_text("".join(f">{i}\n{s}\n" for i, s in fasta))
    pd.DataFrame(rows[1:], columns=rows[0]).to_csv(tmp_path / "l.csv", index=False)

    def read(**data):
        wanted = {"sequences": str(tmp_path / "s.fasta"), "labels": str(tmp_path / "l.csv")}
        wanted |= {"columns": {"known": "known", "ranks": ["genus"]}, **data}
        paths = [tmp_path / name for name in ("records.parquet", "removed.tsv", "records.json")]
        summary = read_records(Settings.from_config(wanted, {"conflicts": "error"}), *paths, TASK)
        map_labels(paths[0], *(tmp_path / n for n in ("map.json", "balance.tsv", "labels.json")), TASK)
        return summary

    return read, tmp_path


def test_flagged_records_are_scored_but_never_trained(written):
    read, folder = written
    summary = read()
    assert (summary["records_known"], summary["records_known_unknown"], summary["records_flagged"]) == (48, 1, 3)
    table = pd.read_parquet(folder / "records.parquet").set_index("id")
    assert table["unknown"].dropna().to_dict() == {**dict.fromkeys(("f0", "f1", "f2"), "flagged"), "one": "rare"}
    removed = pd.read_csv(folder / "removed.tsv", sep="\t")
    assert removed[removed["reason"] == "flagged_but_known"]["id"].tolist() == ["f1"]
    names = list(read_json(folder / "map.json")["label2id"])
    assert len(names) == 6 and "Genus0" not in names
    balance = pd.read_csv(folder / "balance.tsv", sep="\t").set_index("label")["records"]
    assert balance["Genus1 species2"] == 8 and "Genus0" not in balance
    split_folds(
        folder / "records.parquet", names, {"folds": 4, "validation_share": 0.2}, 0, folder / "f.tsv", TASK, 0.2
    )
    audit = audit_folds(folder / "f.tsv", folder / "records.parquet", "k-fold")
    assert audit["clean"] and audit["records_held_out"] == 32 and audit["records_held_out_and_never_tested"] == 8
    for number in range(4):
        fold = load_fold(folder / "records.parquet", folder / "f.tsv", folder / "map.json", number, TASK)
        assert set(fold.ids[fold.unknown]) == {"f0", "f2", "one"}  # f1 is known under another name
        assert fold.left_out == facts_of_fold(fold)["left_out"] == {"flagged": 1}
        kinds = dict(zip(fold.ids[fold.scored], fold.scored_kinds, strict=True))
        assert (kinds["f0"], kinds["f2"], kinds["one"]) == ("flagged", "flagged", "rare")
        assert len(fold.held_out) == 8 and set(fold.scored_kinds[-8:]) == {"held_out"}
        assert len(fold.known) == 48
        assert not np.isin(fold.labels[fold.held_out], fold.labels[fold.train]).any()


def unnamed(folder, **labels):
    """Rewrite the table: the species of these records."""
    table = pd.read_csv(folder / "l.csv", dtype=str).set_index("id")
    for name, label in labels.items():
        table.loc[name, "label"] = label
    table.to_csv(folder / "l.csv")


@pytest.mark.parametrize("policy", ["error", "drop"])
def test_flagged_records_need_no_name_of_their_own(written, policy):
    read, folder = written
    unnamed(folder, f0="", f1="unknown", f2="unknown")  # f2 of another genus than f1
    summary = read(on_mismatch=policy)
    assert summary["records_flagged"] == 3 and summary["classes_read"] == summary["classes_known"] + 1 == 7
    assert summary["removed"] == {"rare_class": 1, "flagged_but_known": 1}
    assert len(read_json(folder / "map.json")["label2id"]) == 6
    table = pq.read_table(folder / "records.parquet")
    taxonomy = described(table, ["genus"], "label", folder / "records.parquet")
    tree = Taxonomy.of(read_json(folder / "map.json") | {"taxonomy": taxonomy})
    assert tree.unknown == {"f0": ["Genus0"], "f1": ["Genus0"], "f2": ["Genus1"], "one": ["Rarus"]}
    names = list(read_json(folder / "map.json")["label2id"])
    split_folds(folder / "records.parquet", names, {"folds": 4, "validation_share": 0.2}, 0, folder / "f.tsv", TASK)
    assert audit_folds(folder / "f.tsv", folder / "records.parquet", "k-fold")["clean"]
    fold = load_fold(folder / "records.parquet", folder / "f.tsv", folder / "map.json", 0, TASK)
    assert set(fold.ids[fold.unknown]) == {"f0", "f2", "one"}


def test_a_known_record_needs_a_name_and_a_flagged_one_no_other_genus(written):
    read, folder = written
    unnamed(folder, f0="", s5="")
    with pytest.raises(UserError, match=r"empty 'label' for 1 id \(s5\); fill it in"):
        read()
    assert read(on_mismatch="drop")["removed"]["empty_label"] == 1
    unnamed(folder, f0="Genus2 species5", s5="Genus0 species0")
    with pytest.raises(UserError, match=r"label 'Genus2 species5' is in genus 'Genus2' .* 'Genus0' \(id f0\)"):
        read()


def test_without_the_column_flagged_records_are_labelled_like_others(written):
    read, _ = written
    with pytest.raises(UserError, match=r"two or more labels \(s3, f1\)"):
        read(columns={"ranks": ["genus"]})


def test_a_word_that_is_neither_yes_nor_no_is_named(written):
    read, folder = written
    text = (folder / "l.csv").read_text().replace("f0,Genus0,0", "f0,Genus0,maybe")
    (folder / "l.csv").write_text(text)
    with pytest.raises(UserError, match="'maybe' in column 'known' for id 'f0'; expected 1 or 0"):
        read()


def test_flagged_records_take_no_training_record_away(written):
    read, folder = written
    table = pd.read_csv(folder / "l.csv", dtype=str)
    parts = [*(["train"] * 5 + ["valid"] + ["test"] * 2) * 6, *["test"] * 4]
    table.assign(split=parts).to_csv(folder / "l.csv", index=False)
    read(columns={"known": "known", "split": "split"})
    # s3 is in train, and the flagged f1 in test is the same sequence.
    assert pd.read_parquet(folder / "records.parquet").set_index("id").loc["s3", "known"]


def test_the_audit_sees_a_held_out_class_in_training(written):
    read, folder = written
    read()
    names = list(read_json(folder / "map.json")["label2id"])
    split_folds(
        folder / "records.parquet", names, {"folds": 4, "validation_share": 0.2}, 0, folder / "f.tsv", TASK, 0.2
    )
    table = pd.read_csv(folder / "f.tsv", sep="\t")
    row = table.index[(table["fold"] == 0) & (table["role"] == "held_out")][0]
    table.loc[row, "role"] = "train"
    table.to_csv(folder / "f.tsv", sep="\t", index=False)
    audit = audit_folds(folder / "f.tsv", folder / "records.parquet", "k-fold")
    assert not audit["clean"] and "held-out classes in another role" in audit["problems"][0]
    write_json(folder / "a.json", audit)


@pytest.mark.parametrize(
    ("kind", "section", "words"),
    [
        ("regression", {"unknowns": {"score": "energy"}}, r"unknowns\.score' has no effect with task: regression"),
        ("multilabel", {"unknowns": {"false_alarm": 0.1}}, r"unknowns\.false_alarm' has no effect"),
        ("token", {"columns": {"known": "k"}}, r"data\.columns\.known' has no effect with task: token"),
        ("binary", {"unknowns": {"held_out_share": 0.1}}, "nothing is left to tell apart"),
        ("multiclass", {"unknowns": {"false_alarm": 0}}, r"unknowns\.false_alarm.*more than 0"),
        ("multiclass", {"unknowns": {"score": "energie"}}, "did you mean 'energy'"),
    ],
)
def test_keys_without_effect_and_wrong_values_are_refused(kind, section, words):
    data = {"sequences": "s.fasta", "labels": "l.csv", **{k: v for k, v in section.items() if k == "columns"}}
    written = {"name": "t", "task": kind, "data": data, "models": {"m": {"backbone": "builtin:nt-mini"}}}
    with pytest.raises(UserError, match=words):
        config.resolve(written | {k: v for k, v in section.items() if k != "columns"})
