"""Probabilities are means over windows and frames, and batches neither lose nor overfill."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from dnatune import inference
from dnatune.backbones.kmer_tokenizer import KmerTokens
from dnatune.inference import batches_by_length, log_probabilities
from dnatune.inputs import TokenInputs, TrainingCollator
from dnatune.kmer_encoding import vocabulary
from dnatune.tokens import TokenSettings, TokenTable
from dnatune.views import all_views

RNG = np.random.default_rng(6)
SEQUENCES = ["".join(RNG.choice(list("ACGTN"), n, p=[0.24] * 4 + [0.04])) for n in (30, 200, 61, 333, 60)]


class Counter(nn.Module):
    """A model whose logits can be computed by hand: a fixed table of numbers per token, summed over real tokens."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4105, 3, generator=torch.Generator().manual_seed(0)))

    def forward(self, input_ids, attention_mask):
        return SequenceClassifierOutput(logits=(self.weight[input_ids] * attention_mask[..., None]).sum(1))


@pytest.fixture(scope="module")
def inputs():
    encoder = KmerTokens(vocabulary(6), 6, 1000)
    return TokenInputs(TokenTable.of_sequences(SEQUENCES, encoder, TokenSettings(16, 0.25, all_views(6, 2))), 1)


def by_hand(model, inputs, record, views):
    """Mean over views of the mean over windows of softmax, one row at a time."""
    table = inputs.table
    weight = model.weight.detach().double().numpy()
    means = []
    for strand, frame in views:
        rows = np.flatnonzero((table.record == record) & (table.strand == strand) & (table.frame == frame))
        logits = np.stack([weight[table.ids(row)].sum(0) for row in rows])
        each = np.exp(logits - logits.max(1, keepdims=True))
        means.append((each / each.sum(1, keepdims=True)).mean(0))
    return np.mean(means, axis=0)


@pytest.mark.parametrize("views", [[0], [0, 6], [0, 1, 2, 3, 4, 5], [*range(12)], [3, 7]])
@pytest.mark.parametrize("budget", [16, 64, 4096])
def test_average_over_windows_and_views(inputs, views, budget, monkeypatch):
    monkeypatch.setitem(inference.TOKENS_PER_BATCH, "cpu", budget)
    model, records = Counter(), np.array([3, 0, 1, 4, 2])
    assert inputs.table.n_windows[3, 0] > 2
    found = log_probabilities(
        model, inputs, records, views=views, classes=3, probabilities=lambda x: x.softmax(-1), precision="fp32"
    )
    expected = [by_hand(model, inputs, record, [divmod(view, 6) for view in views]) for record in records]
    np.testing.assert_allclose(np.exp(found), expected, atol=1e-6)
    assert found.dtype == np.float32


def test_impossible_classes_get_a_finite_logarithm(inputs):
    model = Counter()
    with torch.no_grad():
        model.weight *= 1000
    found = log_probabilities(
        model, inputs, np.arange(5), views=[0], classes=3, probabilities=lambda x: x.softmax(-1), precision="fp32"
    )
    assert np.isfinite(found).all()


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_in_its_mode(inputs, training):
    model = Counter().train(training)
    log_probabilities(model, inputs, np.arange(2), views=[0], classes=3, probabilities=torch.sigmoid, precision="fp32")
    assert model.training is training


@given(st.lists(st.integers(1, 100), max_size=200), st.integers(1, 500))
def test_batches_cover_all_rows_within_the_budget(lengths, budget):
    lengths = np.array(lengths, dtype=np.int64)
    found = list(batches_by_length(lengths, budget))
    rows = np.concatenate([*found, np.empty(0, dtype=np.int64)]).astype(int)
    assert sorted(rows) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or lengths[batch].max() * len(batch) <= budget
        assert len(batch) <= inference.ROWS_PER_BATCH


def test_a_batch_is_padded_to_its_longest_row(inputs):
    rows = [int(r) for r in inputs.table.rows_of(np.array([0, 1]), views=[0])]
    batch = TrainingCollator(inputs)([(row, 2) for row in rows])
    assert batch["labels"].tolist() == [2] * len(rows)
    for ids, mask, row in zip(batch["input_ids"], batch["attention_mask"], rows, strict=True):
        real = inputs.table.ids(row)
        assert ids.tolist() == [*real.tolist(), *[1] * (len(ids) - len(real))]
        assert mask.tolist() == [1] * len(real) + [0] * (len(ids) - len(real))
    assert batch["input_ids"].shape[1] == max(len(inputs.table.ids(row)) for row in rows)
