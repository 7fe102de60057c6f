import numpy as np
import pytest
from scipy.special import softmax

from dnatune import scores as module
from dnatune.errors import UserError
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
