"""Heads of all kinds: what they compute by hand, and that plain transformers loads models with them."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.special import expit, logit, softmax

from dnatune import tuning
from dnatune.backbones.modeling_ensemble import mean_of
from dnatune.backbones.modeling_heads import GroupedHeads, ScaledLinear, loss_of, make_head
from dnatune.packaging import Package, write_package
from dnatune.saved_models import load_model
from miniatures import model_settings

NAMES = ["one", "two", "three"]
LABELS = {name: i for i, name in enumerate(NAMES)}
MEAN, SD = [20.5, -3.0, 0.25], [4.0, 0.5, 100.0]
HEADS = {
    "regression": {"problem_type": "regression", "per_token": False},
    "multilabel": {"problem_type": "multi_label_classification", "per_token": False},
    "groups": {"problem_type": "multi_label_classification", "per_token": False, "groups": [[2], [0, 1]]},
    "token": {"problem_type": "single_label_classification", "per_token": True},
}
FITTED = {"regression": {"mean": MEAN, "sd": SD}}
PACKAGES = (
    "regression-full", "regression-lora", "regression-probe", "regression-ensemble", "multilabel-ensemble",
    "groups-full", "groups-lora", "groups-ensemble", "token-full", "token-lora", "token-ensemble",
)  # fmt: skip
TOKENS = [[3, *range(10 + i, 22 + 2 * i)] for i in range(3)]
RUNS = [
    {"best_epoch": 1.0, "best_metric": value, "metric_for_best": "accuracy", "precision": "fp32"}
    for value in (0.7, 0.9)
]
# Auto classes alone, in a process that has never heard of dnatune.
LOADER = """
import json, sys, torch, transformers
found = {}
for name, folder, auto in json.loads(sys.argv[1]):
    model, loading = getattr(transformers, auto).from_pretrained(
        folder, output_loading_info=True, trust_remote_code=True)
    with torch.inference_mode():
        logits = [model.eval()(input_ids=torch.tensor([ids])).logits[0].tolist() for ids in json.loads(sys.argv[2])]
    keys = [sorted(map(str, loading[what])) for what in ("missing_keys", "unexpected_keys")]
    found[name] = {"logits": logits, "keys": keys, "problem": model.config.problem_type, "class": type(model).__name__}
assert "dnatune" not in sys.modules
json.dump(found, open(sys.argv[3], "w"))
"""


def test_a_regression_head_gives_values_in_their_units():
    head = ScaledLinear(4, 3, MEAN, SD)
    embedding = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    standardised = embedding.numpy() @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    np.testing.assert_allclose(head(embedding).detach(), standardised * SD + MEAN, rtol=1e-5)
    assert head(embedding.bfloat16().float()).dtype == torch.float32
    assert {"weight", "bias", "mean", "sd"} == set(head.state_dict())
    other = ScaledLinear(4, 3)
    torch.testing.assert_close(other(embedding), torch.nn.functional.linear(embedding, other.weight, other.bias))
    other.load_state_dict(head.state_dict())
    torch.testing.assert_close(other(embedding), head(embedding))


def test_a_fresh_regression_head_starts_at_the_mean():
    head = make_head(8, 3, {"problem_type": "regression", "mean": MEAN, "sd": SD}, 0.0)
    np.testing.assert_allclose(head(torch.zeros(2, 8)).detach(), [MEAN, MEAN])


def test_grouped_heads_give_their_labels_in_the_order_of_the_label_map():
    groups = [[3, 1], [4], [0, 2]]
    head = GroupedHeads(6, groups, 0.0).eval()
    embedding = torch.randn(2, 7, 6, generator=torch.Generator().manual_seed(1))
    found = head(embedding)
    assert found.shape == (2, 7, 5)
    for own, labels in zip(head.heads, groups, strict=True):
        torch.testing.assert_close(found[..., labels], own(embedding))
    # A group is a head of its own: it learns nothing from the labels of others.
    found[..., 4].sum().backward()
    assert [any(p.grad.any() for p in own.parameters()) for own in head.heads] == [False, True, False]


def test_the_head_follows_its_description():
    kinds = {name: type(make_head(6, 3, head, 0.0)) for name, head in HEADS.items()}
    assert kinds == {
        "regression": ScaledLinear, "multilabel": torch.nn.Linear, "groups": GroupedHeads, "token": torch.nn.Linear
    }  # fmt: skip
    assert type(make_head(6, 3, None, 0.0)) is torch.nn.Linear


def test_losses_of_plain_training_by_hand():
    rng = np.random.default_rng(0)
    logits, values = rng.normal(0, 1, (4, 3)), rng.normal(0, 1, (4, 3))
    values[1, 2] = np.nan
    found = loss_of(torch.tensor(logits), torch.tensor(values), "regression")
    assert found.item() == pytest.approx(np.nanmean((logits - values) ** 2), rel=1e-6)
    there = rng.integers(0, 2, (4, 3))
    found = loss_of(torch.tensor(logits), torch.tensor(there), "multi_label_classification")
    p = expit(logits)
    assert found.item() == pytest.approx(-np.where(there, np.log(p), np.log(1 - p)).mean(), rel=1e-6)
    per_token, label = rng.normal(0, 1, (2, 5, 3)), rng.integers(0, 3, (2, 5))
    label[0, 3:] = -100  # padding
    p = softmax(per_token, axis=-1)
    each = [-np.log(p[i, j, label[i, j]]) for i in range(2) for j in range(5) if label[i, j] >= 0]
    for problem in ("single_label_classification", None):
        found = loss_of(torch.tensor(per_token), torch.tensor(label), problem)
        assert found.item() == pytest.approx(np.mean(each), rel=1e-6)


def test_labels_that_all_members_are_sure_of_keep_finite_logits():
    found = mean_of([torch.tensor([[40.0, -40.0, 100.0]])] * 3, "multi_label_classification")
    np.testing.assert_allclose(found, [[40, -40, 100]], rtol=1e-5)


@pytest.mark.parametrize("scale", [1, 30])
def test_the_mean_of_an_ensemble_by_hand(scale):
    members = scale * np.random.default_rng(2).normal(0, 1, (3, 6, 4)).astype(np.float32)
    tensors = [torch.tensor(member) for member in members]
    wide = members.astype(np.float64)
    np.testing.assert_allclose(mean_of(tensors, "regression"), wide.mean(0), rtol=1e-5, atol=1e-6)
    found = mean_of(tensors, "multi_label_classification").double().numpy()
    assert np.isfinite(found).all()
    expected = np.log(expit(wide).mean(0)) - np.log(expit(-wide).mean(0))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    found = mean_of(tensors, None).double().numpy()
    np.testing.assert_allclose(softmax(found, -1), softmax(wide, -1).mean(0), rtol=1e-4, atol=1e-30)


def trained(settings, seed, folder, head):
    """Save what training would leave, with a head fitted to its training part; return its logits per sequence."""
    width = None
    if settings["tuning"] == "probe":
        base = tuning.base_model({**settings, "head": head}, LABELS, 0).eval()
        width = base.config.backbone.hidden_size
    model = tuning.build({**settings, "head": head}, LABELS, 0, width)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.2 * torch.randn_like(parameter)
    tuning.save(model.eval(), folder, settings["tuning"])
    found = []
    for ids in TOKENS:
        row = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        with torch.inference_mode():
            if width:
                row = {"embeddings": base.embed(**row)}
            found.append(model(**row).logits[0].double().numpy())
    return found


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Packages: {name: (folder, logits of the members)}; the package knows the head before it was fitted."""
    root = tmp_path_factory.mktemp("heads")
    made, plain = {}, {name: model_settings(tuning=name) for name in ("full", "lora", "probe")}
    for name in PACKAGES:
        kind, way = name.split("-")
        tuning_name, mode = ("full", "ensemble") if way == "ensemble" else (way, "refit")
        head = HEADS[kind]
        settings = {**plain[tuning_name], "head": head}
        weights = [root / name / f"fold_{i}" for i in range(2 if mode == "ensemble" else 1)]
        fitted = {**head, **FITTED.get(kind, {})}
        members = [trained(settings, i, folder, fitted) for i, folder in enumerate(weights)]
        package = Package("m", settings, 0, NAMES, mode, light=False, task={"name": "multiclass"})
        tokens = {"max_tokens": 1000, "frames": 6, "context": 1000, "vocabulary_size": 4105}
        write_package(package, weights, RUNS[: len(weights)], {"method": "none"}, tokens, root / name / "final")
        made[name] = (root / name / "final", members)
    return made


@pytest.fixture(scope="module")
def loaded(saved, tmp_path_factory):
    """What a new process with plain transformers gets from each package."""
    folder = tmp_path_factory.mktemp("loaded")
    auto = {True: "AutoModelForTokenClassification", False: "AutoModelForSequenceClassification"}
    jobs = [(name, str(path), auto[name.startswith("token")]) for name, (path, _) in saved.items()]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    env = {**kept, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = [sys.executable, "-c", LOADER, json.dumps(jobs), json.dumps(TOKENS), str(folder / "out.json")]
    done = subprocess.run(arguments, env=env, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "out.json").read_text())


def expected_of(members, kind):
    """Return the logits of an ensemble by hand."""
    if len(members) == 1:
        return members[0]
    together = [np.stack(each) for each in zip(*members, strict=True)]
    if kind == "regression":
        return [each.mean(0) for each in together]
    if kind in ("multilabel", "groups"):
        return [logit(expit(each).mean(0)) for each in together]
    return [np.log(softmax(each, -1).mean(0)) for each in together]


@pytest.mark.parametrize("name", PACKAGES)
def test_plain_transformers_gives_what_was_trained(saved, loaded, name):
    kind = name.split("-")[0]
    folder, members = saved[name]
    expected = expected_of(members, kind)
    assert loaded[name]["keys"] == [[], []]
    assert loaded[name]["problem"] == HEADS[kind]["problem_type"]
    own = load_model(folder, HEADS[kind]["per_token"])
    for ids, plain, right in zip(TOKENS, loaded[name]["logits"], expected, strict=True):
        assert np.shape(plain) == ((len(ids), 3) if kind == "token" else (3,))
        np.testing.assert_allclose(plain, right, rtol=1e-4, atol=1e-4)
        with torch.inference_mode():
            np.testing.assert_allclose(own(input_ids=torch.tensor([ids])).logits[0], right, rtol=1e-4, atol=1e-4)


def test_padding_does_not_change_the_output_of_real_tokens(saved):
    model = load_model(saved["token-full"][0], per_token=True)
    assert type(model).__name__ == "PooledForTokenClassification"
    longest = max(map(len, TOKENS))
    padded = torch.tensor([ids + [1] * (longest - len(ids)) for ids in TOKENS])
    with torch.inference_mode():
        found = model(input_ids=padded).logits
        for row, ids in zip(found, TOKENS, strict=True):
            alone = model(input_ids=torch.tensor([ids])).logits[0]
            np.testing.assert_allclose(row[: len(ids)], alone, atol=1e-5)
