"""From labels per base to tokens and back: targets, loss, averages over tokens, windows and frames."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import log_loss
from torch.nn.functional import cross_entropy

from dnatune.backbones.kmer_tokenizer import BaseTokens, KmerTokens
from dnatune.errors import UserError
from dnatune.inference import score_records
from dnatune.inputs import TokenInputs, TrainingCollator
from dnatune.kmer_encoding import vocabulary
from dnatune.per_base import PerBase
from dnatune.tasks import task
from dnatune.tokens import TokenSettings, TokenTable
from dnatune.views import all_views

PLAIN = {"imbalance": "none", "label_smoothing": 0.0}
SEQUENCES = ["ACGTACGTACGTACGTACGTAC", "ACGTNACGTAC", "AAC"]
CLASSES = 3


def labels_of(sequences, seed=0):
    rng = np.random.default_rng(seed)
    counts = np.array([len(sequence) for sequence in sequences])
    return PerBase(rng.integers(0, CLASSES, counts.sum()).astype(np.int32), counts)


def table_of(sequences, k=3, max_tokens=5, frames=None):
    encoder = BaseTokens(100) if k == 1 else KmerTokens(vocabulary(k), k, 100)
    settings = TokenSettings(max_tokens, 0.25, all_views(frames or encoder.frames))
    return TokenTable.of_sequences(sequences, encoder, settings), encoder


class Lookup(torch.nn.Module):
    """Logits of each token from a table by id: what a model gives, known to the test."""

    def __init__(self, vocabulary_size):
        super().__init__()
        self.table = torch.nn.Embedding(vocabulary_size, CLASSES)

    def forward(self, input_ids, attention_mask):
        from transformers.modeling_outputs import TokenClassifierOutput

        return TokenClassifierOutput(logits=self.table(input_ids))


def learning():
    return task("token").learning


def test_targets_count_the_bases_of_each_label_under_each_token():
    table, _ = table_of(SEQUENCES, frames=1)
    labels = PerBase(np.array([0] * 5 + [1] * 17 + [2] * 11 + [0, 1, 2]), np.array([22, 11, 3]))
    row = table.first_row[0, 0]
    found = learning().batch_targets(labels, np.array([0, 2]), table, np.array([row, table.first_row[2, 0]]))
    # <cls> has no base; ACG holds labels 000, TAC 001, GTA 111; the short sequence has one token, then padding.
    assert found[0, :4].tolist() == [[0, 0, 0], [3, 0, 0], [2, 1, 0], [0, 3, 0]]
    assert found[1].tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("imbalance", ["none", "class_weights"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_cross_entropy_per_base(k, imbalance, smoothing):
    table, encoder = table_of(SEQUENCES, k=k, max_tokens=40, frames=1)
    labels = labels_of(SEQUENCES)
    labels.values[labels.values == 2] = np.where(np.arange((labels.values == 2).sum()) % 2, 2, 0)  # unequal classes
    rows, records = table.first_row[:, 0], np.arange(3)
    targets = learning().batch_targets(labels, records, table, rows)
    batch = TokenInputs(table, encoder.pad_id).batch(rows)
    torch.manual_seed(1)
    logits = torch.randn(*batch["input_ids"].shape, CLASSES)
    settings = {"imbalance": imbalance, "label_smoothing": smoothing}
    found = learning().loss(settings, labels, CLASSES)(logits, targets)
    # Independently: every base takes the logits of its token, found letter by letter.
    per_base = []
    for place, sequence in enumerate(SEQUENCES):
        tokens = [encoder.widths[i] for i in batch["input_ids"][place].tolist()]
        token_of_base = [t for t, width in enumerate(tokens) for _ in range(width)]
        assert len(token_of_base) == len(sequence)
        per_base.append(logits[place, token_of_base])
    counts = np.bincount(labels.values, minlength=CLASSES)
    weight = torch.tensor(counts.sum() / (CLASSES * counts)).float() if imbalance == "class_weights" else None
    truth = torch.tensor(labels.values).long()
    expected = cross_entropy(torch.cat(per_base), truth, weight=weight, label_smoothing=smoothing)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_labels_that_a_batch_lacks_and_a_label_without_bases_do_no_harm():
    labels = PerBase(np.zeros(3, np.int32), np.array([3]))
    table, _ = table_of(["AAC"], frames=1)
    targets = learning().batch_targets(labels, np.array([0]), table, np.array([0]))
    for imbalance in ("none", "class_weights"):
        loss = learning().loss({**PLAIN, "imbalance": imbalance}, labels, CLASSES)
        assert torch.isfinite(loss(torch.randn(1, 2, CLASSES), targets))


def test_each_base_gets_the_mean_of_all_tokens_that_cover_it():
    """Windows, frames, an N that restarts the frame: against a sum over tokens found by their letters."""
    table, encoder = table_of(SEQUENCES, k=3, max_tokens=5)
    assert (table.n_windows > 1).any()
    torch.manual_seed(0)
    model = Lookup(encoder.vocabulary_size)
    views = np.arange(3)
    records = np.array([1, 0, 2])
    inputs = TokenInputs(table, encoder.pad_id)
    found = score_records(model, inputs, records, views=views, outputs=CLASSES, task=task("token"), precision="fp32")
    probabilities = model.table.weight.softmax(-1).detach().numpy().astype(np.float64)
    letters = vocabulary(3)
    expected = []
    for record in records:
        sequence = SEQUENCES[record]
        sums, counts = np.zeros((len(sequence), CLASSES)), np.zeros(len(sequence))
        for row in table.rows_of(np.array([record])):
            tokens = [letters[i] for i in table.ids(row)[1:]]
            text = "".join(tokens)
            start = int(table.start[row])
            assert sequence[start : start + len(text)] == text
            for token in tokens:
                sums[start : start + len(token)] += probabilities[letters.index(token)]
                counts[start : start + len(token)] += 1
                start += len(token)
        assert (counts > 0).all()
        expected.append(np.log(sums / counts[:, None]))
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 30, 31, 32, 61])
@pytest.mark.parametrize("max_tokens", [4, 9])
def test_no_base_is_left_without_a_token(length, max_tokens):
    sequence = "".join(np.random.default_rng(length).choice(list("ACGTN"), length))
    table, encoder = table_of([sequence, "ACGT"], k=6, max_tokens=max_tokens)
    inputs = TokenInputs(table, encoder.pad_id)
    settings = {"views": np.arange(6), "outputs": CLASSES, "task": task("token"), "precision": "fp32"}
    found = score_records(Lookup(encoder.vocabulary_size), inputs, np.arange(2), **settings)
    assert found.shape == (length + 4, CLASSES)
    np.testing.assert_allclose(np.exp(found).sum(1), 1, rtol=1e-5)


def test_six_frames_give_single_bases():
    """A label that changes within a token of the first frame is found from the others."""
    table, encoder = table_of(["AAAAAACCCCCC" * 2], k=6, max_tokens=20)
    model = Lookup(encoder.vocabulary_size)
    inputs = TokenInputs(table, encoder.pad_id)
    settings = {"outputs": CLASSES, "task": task("token"), "precision": "fp32"}
    one = score_records(model, inputs, np.array([0]), views=np.array([0]), **settings)
    six = score_records(model, inputs, np.array([0]), views=np.arange(6), **settings)
    inside = slice(6, 12)
    assert np.ptp(one[inside], axis=0).max() == 0
    assert (np.abs(np.diff(six[inside], axis=0)).max(axis=1) > 1e-6).all()


def test_a_base_that_no_token_covers_is_never_passed_over():
    table, _ = table_of(["ACGTAC"], k=3)
    mean = learning().collector(table, np.array([0]), np.array([0]), CLASSES)
    with pytest.raises(ValueError, match="6 bases are covered by no token"):
        mean.result()


def test_a_tokenizer_that_swallows_bases_is_refused():
    table, _ = table_of(["ACGTAC"], k=3)
    learning().check(table, PerBase(np.zeros(6, int), np.array([6])), "somebody/model")
    with pytest.raises(UserError, match="somebody/model reads a sequence of 8 bases as tokens of 6 bases"):
        learning().check(table, PerBase(np.zeros(8, int), np.array([8])), "somebody/model")


def test_curve_metrics_are_over_bases():
    labels = labels_of(SEQUENCES)
    scores = np.log(np.random.default_rng(0).dirichlet(np.ones(CLASSES), len(labels.values))).astype(np.float32)
    found = learning().curve_metrics(scores, labels)
    assert set(found) == set(task("token").curve)
    assert found["accuracy"] == pytest.approx((scores.argmax(1) == labels.values).mean())
    assert found["log_loss"] == pytest.approx(log_loss(labels.values, np.exp(scores)), rel=1e-4)


def test_a_batch_has_targets_as_wide_as_its_tokens():
    table, encoder = table_of(SEQUENCES, frames=1)
    collate = TrainingCollator(TokenInputs(table, encoder.pad_id), labels_of(SEQUENCES), task("token"))
    batch = collate([(int(table.first_row[r, 0]), r) for r in range(3)])
    assert batch["labels"].shape[:2] == batch["input_ids"].shape
    assert batch["labels"].sum() == sum(table.spans(int(table.first_row[r, 0]))[1].sum() for r in range(3))


def test_targets_are_read_from_the_label_table():
    texts = pa.chunked_array([["ab", "bba"]])
    found = task("token").labels.targets(texts, np.ones(2, bool), ["a", "b"])
    assert found.values.tolist() == [0, 1, 1, 1, 0]
