"""Parts of the training records: nested, every class there, groups whole, and nothing but training records left out."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnatune.audit import audit_folds
from dnatune.errors import UserError
from dnatune.files import write_json
from dnatune.fold_data import load_fold
from dnatune.folds import split_folds
from dnatune.tasks import task
from dnatune.training import steps_per_epoch, training_arguments, with_equal_steps
from dnatune.training_shares import entry_shares, write_training_share
from miniatures import model_settings

TASK = task("multiclass")
SHARES = (0.05, 0.1, 0.25, 0.5, 0.9)


@st.composite
def strata_and_groups(draw):
    """Class ids, some of them missing, and groups, some of several classes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes = rng.integers(0, draw(st.integers(1, 12)), draw(st.integers(1, 60)))
    groups = np.repeat(np.arange(len(classes)) * 3, rng.integers(1, draw(st.integers(1, 8)) + 1, len(classes)))
    groups = rng.permutation(groups)
    ids = classes[groups // 3] * 2
    if draw(st.booleans()):
        ids = np.where(rng.random(len(ids)) < 0.2, rng.integers(0, 24, len(ids)), ids)
    return ids, groups


@settings(max_examples=150, deadline=None)
@given(strata_and_groups(), st.integers(0, 5))
def test_parts_are_nested_whole_groups_with_every_class(data, seed):
    ids, groups = data
    entry = entry_shares(ids, groups, seed)
    assert ((entry >= 0) & (entry < 1)).all()
    before = np.zeros(len(ids), bool)
    for share in SHARES:
        part = entry < share
        assert (part | ~before).all()  # what was in stays in
        assert (pd.Series(part).groupby(groups).nunique() == 1).all()
        assert set(ids[part]) == set(ids)
        before = part
    np.testing.assert_array_equal(entry, entry_shares(ids, groups, seed))


@settings(max_examples=150, deadline=None)
@given(strata_and_groups(), st.sampled_from(SHARES))
def test_a_class_of_its_own_groups_has_its_share_to_within_a_group(data, share):
    ids, groups = data
    part = entry_shares(ids, groups, 0) < share
    for one in np.unique(ids):
        mine = ids == one
        if len(np.unique(ids[np.isin(groups, groups[mine])])) > 1:
            continue
        largest = pd.Series(groups[mine]).value_counts().max()
        assert abs(part[mine].sum() - share * mine.sum()) <= largest


def test_over_many_classes_the_total_has_the_share():
    rng = np.random.default_rng(1)
    sizes = rng.integers(20, 60, 300)
    ids = np.repeat(np.arange(300), sizes)
    entry = entry_shares(ids, np.arange(len(ids)), 0)
    for share in SHARES:
        # One class owes a fraction of a record, at random: the sum of 300 such is within a few standard deviations.
        assert abs((entry < share).sum() - share * len(ids)) < 4 * np.sqrt(300 / 4)


def test_each_seed_draws_other_records():
    ids = np.repeat(np.arange(5), 40)
    one, two = (entry_shares(ids, np.arange(200), [3, fold]) < 0.25 for fold in (0, 1))
    assert (one != two).any()


@pytest.fixture
def run(tmp_path):
    """Records, folds and label map of three classes of 40, 20 and 4 records, pairs of which are identical."""
    rng = np.random.default_rng(3)
    label = np.repeat(["a", "b", "c", "z"], [40, 20, 4, 1])
    table = pd.DataFrame({"id": [f"r{i}" for i in range(65)], "label": label, "known": label != "z"})
    pairs = np.arange(65) // 2
    sequences = ["".join(rng.choice(list("ACGT"), 30)) for _ in range(33)]
    table["sequence"] = [sequences[pair] for pair in pairs]
    table["group"], table["split"] = pairs.astype(np.int32), pd.Series([None] * 65, dtype="str")
    files = [tmp_path / name for name in ("records.parquet", "folds.tsv", "label_map.json")]
    table.to_parquet(files[0])
    write_json(files[2], {"label2id": {"a": 0, "b": 1, "c": 2}})
    split_folds(files[0], ["a", "b", "c"], {"folds": 2, "validation_share": 0.1}, 1, files[1], TASK)
    return files


def test_written_parts_differ_from_the_run_in_training_records_alone(run, tmp_path):
    records, folds, label_map = run
    written = {share: tmp_path / f"{share}.tsv" for share in (0.25, 0.5)}
    counts = pd.concat([write_training_share(*run, [0, 1], *part, 0, TASK) for part in written.items()])
    whole = pd.read_csv(folds, sep="\t").set_index(["fold", "id"])["role"]
    smaller = None
    for share, path in written.items():
        part = pd.read_csv(path, sep="\t").set_index(["fold", "id"])["role"].reindex(whole.index)
        changed = part[part != whole]
        assert set(changed) == {"unused"} and set(whole[changed.index]) == {"train"}
        trained = set(part[part == "train"].index)
        assert smaller is None or smaller < trained
        smaller = trained
        assert audit_folds(path, records, "part")["clean"]
        for fold in (0, 1):
            data = load_fold(records, path, label_map, fold, TASK)
            row = counts[(counts["fold"] == fold) & (counts["share"] == share)].iloc[0]
            of_fold = load_fold(records, folds, label_map, fold, TASK)
            assert row["train_records"] == len(data.train) == sum(key[0] == fold for key in trained)
            assert row["real_share"] == pytest.approx(len(data.train) / len(of_fold.train))
            assert set(data.labels[data.train]) == {0, 1, 2} and row["classes"] == 3
            np.testing.assert_array_equal(np.sort([*data.train, *data.unused]), of_fold.train)
            np.testing.assert_array_equal(data.known, of_fold.known)
            np.testing.assert_array_equal(data.scored, of_fold.scored)
    assert counts.query("share == 1")["real_share"].tolist() == [1] * 4
    # About two training records of class c in a fold: a quarter of them is less than one, half is one.
    assert (counts.query("share == 0.25")["small_classes"] == 1).all()


def test_a_part_that_leaves_nothing_out_is_refused(run, tmp_path):
    with pytest.raises(UserError, match=r"learning_curve\.shares.*0\.9999 leaves out none of the \d+ training records"):
        write_training_share(*run, [0, 1], 0.9999, tmp_path / "part.tsv", 0, TASK)
    assert not (tmp_path / "part.tsv").exists()


@given(st.integers(1, 400), st.integers(1, 1600), st.integers(1, 40), st.integers(1, 4), st.integers(1, 30))
def test_a_part_is_trained_for_the_steps_of_the_whole(part, more, batch, together, epochs):
    training = {"batch_size": batch, "gradient_accumulation": together, "epochs": epochs, "evaluate_every": 0.5}
    longer = with_equal_steps(training, part, part + more)
    steps = steps_per_epoch(training, part + more) * epochs
    found = steps_per_epoch(training, part) * longer["epochs"]
    assert steps <= found < steps + steps_per_epoch(training, part) + 1e-9
    assert longer["evaluate_every"] * steps_per_epoch(training, part) == pytest.approx(
        0.5 * steps_per_epoch(training, part + more)
    )
    assert with_equal_steps(training, part, part) == training


def test_a_part_is_evaluated_as_often_and_warmed_up_as_long_as_the_whole(tmp_path):
    training = {**model_settings()["training"], "epochs": 4, "batch_size": 8, "warmup": 0.25}
    whole = training_arguments(training, tmp_path, "fp32", 160, True, 0)
    part = training_arguments(with_equal_steps(training, 16, 160), tmp_path, "fp32", 16, True, 0)
    assert (whole.num_train_epochs, part.num_train_epochs) == (4, 40)
    assert (whole.eval_steps, whole.warmup_steps) == (part.eval_steps, part.warmup_steps) == (20, 20)
