"""Training with a label per base: it learns with tokens of every kind, and the saved model gives the same labels."""

from __future__ import annotations

import numpy as np
import pytest

from dnatune import tuning
from dnatune.fold_data import FoldData
from dnatune.fold_training import Job, train_on_fold
from dnatune.inputs import TokenInputs
from dnatune.packaging import Package, write_package
from dnatune.per_base import PerBase
from dnatune.prediction import SavedModel
from dnatune.tasks import task
from dnatune.tokens import TokenSettings, TokenTable
from miniatures import SIZES, model_settings, write_generic, write_nt

NAMES = ["gc", "plain"]
TRAINING = {"epochs": 6, "batch_size": 4, "learning_rate": 1e-2}
WINDOWS = {"max_tokens": 24}
KINDS = {
    "kmers": {"tokens": WINDOWS},
    "bases": {"tokens": {"max_tokens": 60}, "backbone_config": {**SIZES, "k": 3, "overlapping": True}},
    "lora": {"tokens": WINDOWS, "tuning": "lora"},
    "own_head": {"tokens": WINDOWS, "pooling": "architecture"},
    "nt": {"backbone": write_nt, "tokens": WINDOWS},
    "bpe": {"backbone": lambda folder: write_generic(folder, "bert"), "tokens": WINDOWS},
    "bpe_own_head": {"backbone": lambda folder: write_generic(folder, "bert"), "pooling": "architecture"},
}


def simulate(count=30):
    """Return sequences of stretches of G and C among stretches of A and T, and the label of each base."""
    rng = np.random.default_rng(0)
    sequences, labels = [], []
    for _ in range(count):
        truth = np.repeat(rng.integers(0, 2, 6), rng.integers(8, 25, 6)).astype(np.int32)
        letters = np.where(truth == 0, rng.choice(list("GC"), len(truth)), rng.choice(list("AT"), len(truth)))
        sequences.append("".join(letters))
        labels.append(truth)
    return sequences, PerBase(np.concatenate(labels), np.array([len(part) for part in labels]))


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_the_saved_model_gives_the_same_labels(kind, tmp_path):
    sequences, labels = simulate()
    changes = dict(KINDS[kind])
    if "backbone" in changes:
        changes["backbone"] = str(changes["backbone"](tmp_path / "backbone"))
    per_base = task("token")
    settings = {**model_settings({**TRAINING, "metric": "f1_macro"}, **changes), "head": per_base.head()}
    encoder = tuning.backbone_of(settings).encoder()
    tokens = TokenSettings.of(settings["tokens"], encoder)
    table = TokenTable.of_sequences(sequences, encoder, tokens)
    ids, groups = np.array([f"s{i}" for i in range(30)]), np.arange(30)
    fold = FoldData(ids, labels, NAMES, groups, *np.split(np.arange(30), [18, 23]), np.arange(0))
    job = Job("m", settings, per_base, 0, tmp_path / "checkpoints", 0)
    trained, scores, run, _ = train_on_fold(job, fold, TokenInputs(table, encoder.pad_id), "sha")
    assert scores.counts.tolist() == [len(sequences[i]) for i in fold.scored]
    test = scores.part("test")
    right = (test.logits.argmax(1) == test.label).mean()
    assert right > 0.7, right  # about half of the bases have either label
    tuning.save(trained.model, tmp_path / "weights", settings["tuning"])
    named = {"name": "token", "options": {"labels": None}}
    package = Package("m", settings, 0, NAMES, "ensemble", False, named)
    about = {"max_tokens": tokens.max_tokens, "frames": tokens.frames, "context": encoder.context}
    about["vocabulary_size"] = encoder.vocabulary_size
    members = [tmp_path / "weights"] * (2 if kind in ("kmers", "bpe_own_head") else 1)
    (tmp_path / "final").mkdir()
    write_package(package, members, [run] * len(members), {"method": "none"}, about, tmp_path / "final")
    saved = SavedModel(tmp_path / "final")
    found, _ = saved.predict([sequences[i] for i in fold.test])
    # Prediction may run in bfloat16, training here did not.
    np.testing.assert_allclose(found, np.exp(test.logits), atol=0.02)
    assert (found.argmax(1) == test.logits.argmax(1)).mean() > 0.99
