"""Losses agree with formulas written out by hand and with scikit-learn's class weights."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from dnatune.losses import LOSSES, classification_loss

GENERATOR = torch.Generator().manual_seed(3)
LOGITS = torch.randn(12, 3, generator=GENERATOR)
LABELS = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
COUNTS = np.array([70, 25, 5])
SETTINGS = {"label_smoothing": 0.0, "focal_gamma": 2.0, "logit_adjustment_tau": 1.0}


def loss(imbalance, counts=COUNTS, logits=LOGITS, **changes):
    return classification_loss({**SETTINGS, "imbalance": imbalance, **changes}, counts)(logits, LABELS).item()


def log_softmax(logits):
    values = logits.double().numpy()
    return values - np.log(np.exp(values).sum(1, keepdims=True))


LOG_P = log_softmax(LOGITS)
EACH = -LOG_P[np.arange(12), LABELS.numpy()]


@pytest.mark.parametrize("imbalance", ["none", "balanced_sampling"])
def test_cross_entropy(imbalance):
    assert loss(imbalance) == pytest.approx(EACH.mean(), abs=1e-6)


def test_label_smoothing_spreads_over_all_classes():
    expected = (0.9 * EACH + 0.1 * -LOG_P.mean(1)).mean()
    assert loss("none", label_smoothing=0.1) == pytest.approx(expected, abs=1e-6)


def test_class_weights_are_those_of_scikit_learn():
    labels = np.repeat([0, 1, 2], COUNTS)
    weights = compute_class_weight("balanced", classes=np.arange(3), y=labels)[LABELS.numpy()]
    assert loss("class_weights") == pytest.approx((weights * EACH).sum() / weights.sum(), abs=1e-6)


def test_focal_loss_by_hand():
    expected = ((1 - np.exp(-EACH)) ** 2 * EACH).mean()
    assert loss("focal") == pytest.approx(expected, abs=1e-6)


def test_focal_loss_without_focus_is_cross_entropy():
    assert loss("focal", focal_gamma=0.0) == pytest.approx(loss("none"), abs=1e-7)


def test_focal_loss_cares_less_for_what_is_easy():
    assert loss("focal", logits=20 * torch.eye(3)[LABELS]) < 1e-6


def test_logit_adjustment_adds_the_log_prior():
    adjusted = log_softmax(LOGITS.double() + 0.7 * torch.log(torch.tensor(COUNTS / 100)))
    expected = -adjusted[np.arange(12), LABELS.numpy()].mean()
    assert loss("logit_adjustment", logit_adjustment_tau=0.7) == pytest.approx(expected, abs=1e-6)
    assert loss("logit_adjustment", logit_adjustment_tau=0.0) == pytest.approx(loss("none"), abs=1e-6)


@pytest.mark.parametrize("imbalance", LOSSES)
def test_a_class_without_a_training_sequence_breaks_nothing(imbalance):
    logits = LOGITS.clone().requires_grad_()
    value = classification_loss({**SETTINGS, "imbalance": imbalance}, np.array([7, 3, 0]))(logits, LABELS)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("imbalance", LOSSES)
def test_extreme_logits_stay_finite(imbalance):
    logits = torch.tensor([[1e4, 0.0, -1e4]]).repeat(12, 1).requires_grad_()
    value = classification_loss({**SETTINGS, "imbalance": imbalance}, COUNTS)(logits, LABELS)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


def test_focal_loss_with_a_small_gamma_has_finite_gradients_when_sure():
    logits = (40 * torch.eye(3)[LABELS]).requires_grad_()
    classification_loss({**SETTINGS, "imbalance": "focal", "focal_gamma": 0.5}, COUNTS)(logits, LABELS).backward()
    assert torch.isfinite(logits.grad).all()
