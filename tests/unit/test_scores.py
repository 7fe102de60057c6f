import numpy as np
import pytest
from scipy.special import softmax

from dnatune import scores as module
from dnatune.errors import UserError
from dnatune.per_base import PerBase
from dnatune.scores import Scores, log_probabilities, mean_log_loss, probabilities


def make(n=7, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    role = np.array(["validation", "test", "unknown"])[np.arange(n) % 3]
    label = np.where(role == "unknown", -1, rng.integers(0, classes, n))
    ids = np.array([f"seq-{i} ä" for i in range(n)])
    return Scores(ids, role, label, rng.normal(0, 5, (n, classes)).astype(np.float32))


def test_what_is_saved_comes_back_and_needs_no_pickle(tmp_path):
    before = make()
    before.save(tmp_path / "scores.npz")
    after = Scores.load(tmp_path / "scores.npz")
    for field in ("id", "role", "label", "logits"):
        assert np.array_equal(getattr(before, field), getattr(after, field))
    assert after.logits.dtype == np.float32 and after.label.dtype == np.int64
    assert [p.name for p in tmp_path.iterdir()] == ["scores.npz"]


def test_part_keeps_order_and_may_be_empty():
    whole = make()
    part = whole.part("validation")
    assert list(part.id) == [f"seq-{i} ä" for i in (0, 3, 6)]
    assert np.array_equal(part.logits, whole.logits[[0, 3, 6]])
    assert whole.part("train").logits.shape == (0, 4)


def test_a_file_that_is_no_scores_file_is_said_in_one_sentence(tmp_path):
    path = tmp_path / "scores.npz"
    path.write_bytes(b"not an archive")
    with pytest.raises(UserError, match=r"scores\.npz: not a readable scores file"):
        Scores.load(path)


def test_softmax_in_blocks_is_softmax(monkeypatch):
    monkeypatch.setattr(module.row_blocks, "__defaults__", (9,))
    logits = make(n=11).logits * 100
    expected = softmax(logits.astype(np.float64), axis=1)
    assert np.allclose(probabilities(logits), expected, rtol=1e-12, atol=0)
    assert np.allclose(np.exp(log_probabilities(logits)), expected, rtol=1e-9, atol=1e-300)
    labels = np.arange(11) % 4
    by_hand = -np.mean(log_probabilities(logits)[np.arange(11), labels])
    assert mean_log_loss(logits, labels) == pytest.approx(by_hand, rel=1e-12)


def per_base(counts=(3, 1, 0, 4, 2), seed=0):
    """Scores of records with a label per base; (record, base) can be read off the label."""
    rng = np.random.default_rng(seed)
    counts = np.array(counts)
    role = np.array(["validation", "test"])[np.arange(len(counts)) % 2]
    label = np.concatenate([100 * record + np.arange(count) for record, count in enumerate(counts)])
    logits = rng.normal(0, 1, (counts.sum(), 2)).astype(np.float32)
    return Scores(np.array([f"s{i}" for i in range(len(counts))]), role, label, logits, np.arange(50, 55), counts)


def test_a_part_of_scores_per_base_has_the_bases_of_its_records():
    whole = per_base()
    part = whole.part("test")
    assert part.id.tolist() == ["s1", "s3"] and part.counts.tolist() == [1, 4]
    assert part.label.tolist() == [100, 300, 301, 302, 303]
    assert np.array_equal(part.logits, whole.logits[[3, 4, 5, 6, 7]])
    assert part.group_of_row.tolist() == [51, 53, 53, 53, 53]
    assert whole.part("unknown").logits.shape == (0, 2) and len(whole.part("unknown").counts) == 0


def test_joined_scores_stand_one_after_the_other():
    one, two = per_base(), per_base((2, 2, 1, 0, 1), seed=1)
    both = Scores.joined([one, two])
    assert both.counts.tolist() == [3, 1, 0, 4, 2, 2, 2, 1, 0, 1]
    assert np.array_equal(both.logits, np.concatenate([one.logits, two.logits]))
    validation = both.part("validation")
    assert validation.id.tolist() == ["s0", "s2", "s4"] * 2
    assert validation.label.tolist() == [0, 1, 2, 400, 401, 0, 1, 200, 400]
    plain = Scores.joined([make(3), make(4, seed=1)])
    assert plain.counts is None and len(plain.id) == 7 and plain.group.tolist() == [0, 1, 2, 0, 1, 2, 3]


def test_scores_per_base_are_saved_and_read(tmp_path):
    before = per_base()
    before.save(tmp_path / "scores.npz")
    after = Scores.load(tmp_path / "scores.npz")
    for field in ("id", "role", "label", "logits", "group", "counts"):
        assert np.array_equal(getattr(before, field), getattr(after, field)), field
    make().save(tmp_path / "plain.npz")
    assert Scores.load(tmp_path / "plain.npz").counts is None


def test_targets_of_any_kind_become_scores():
    ids, roles, groups = np.array(["a", "b"]), np.array(["test", "test"]), np.array([4, 5])
    bases = PerBase(np.array([7, 8, 9]), np.array([1, 2]))
    found = Scores.of(ids, roles, bases, np.zeros((3, 2), np.float32), groups)
    assert found.counts.tolist() == [1, 2] and found.label.tolist() == [7, 8, 9]
    values = Scores.of(ids, roles, np.array([[0.5, 1], [2, np.nan]]), np.zeros((2, 2), np.float32), groups)
    assert values.counts is None and values.label.shape == (2, 2)


def test_rows_that_do_not_fit_the_counts_are_a_mistake():
    whole = per_base()
    for change in ({"counts": whole.counts + 1}, {"label": whole.label[1:]}, {"logits": whole.logits[1:]}):
        with pytest.raises(ValueError, match="one row per id"):
            Scores(**{**vars(whole), **change})
