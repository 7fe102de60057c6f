"""A backbone in 4 bits: what is rounded, what learns, and that the saved model gives what was evaluated."""

import sys

import numpy as np
import pytest
import torch

from dnatune import quantisation, tuning
from dnatune.errors import UserError
from miniatures import model_settings, write_generic, write_nt
from small_fold import FOLD, INPUTS, LABEL_IDS, fit, tokens_for

# The 16 values of NF4 (Dettmers 2023, appendix E), written out independently of the library.
NF4 = [-1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0]
NF4 += [0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0]
KINDS = ["nt-mini", "nt", "bert", "gpt2", "mixtral"]


WIDE = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


def mini(training=None, **changes):
    """Return the settings of an nt-mini as wide as a block of 4-bit weights."""
    return model_settings(training, backbone_config=WIDE, **{"tuning": "qlora", **changes})


def settings_of(kind, folder, **changes):
    """Return the settings of a small model of some kind, tuned by qlora unless changed."""
    if kind == "nt-mini":
        return mini(**changes)
    write = write_nt(folder / kind, **WIDE) if kind == "nt" else write_generic(folder / kind, kind, width=64)
    return model_settings(backbone=str(write), **{"tuning": "qlora", **changes})


def disturbed(model):
    """Move everything that learns, as if it had been trained; return the model."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def logits(model, inputs, rows=(0, 1, 7, 30)):
    """Return the logits (rows, classes) of some token rows."""
    with torch.inference_mode():
        return model(**inputs.batch(list(rows))).logits.float()


def test_weights_are_rounded_to_the_sixteen_values_of_nf4():
    settings = mini(qlora={"double_quantization": False})
    before = tuning.base_model(settings, LABEL_IDS, 0).state_dict()
    rounded = tuning.base_model(settings, LABEL_IDS, 0)
    quantisation.round_to_four_bits(rounded, settings["qlora"])
    name = next(name for name in before if name.endswith("attention.self.query.weight"))
    blocks = before[name].reshape(-1, 64).double()
    scale = blocks.abs().max(1, keepdim=True).values
    values = torch.tensor(NF4, dtype=torch.float64)
    nearest = values[((blocks / scale)[..., None] - values).abs().argmin(-1)] * scale
    found = rounded.state_dict()[name].reshape(-1, 64).double()
    torch.testing.assert_close(found, nearest, atol=1e-6, rtol=0)
    for kept in (n for n in before if "LayerNorm" in n or "embeddings" in n or n.startswith("classifier")):
        assert torch.equal(before[kept], rounded.state_dict()[kept]), kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooling", ["mean", "architecture"])
def test_the_backbone_is_in_four_bits_and_the_head_is_not(kind, pooling, tmp_path):
    model = tuning.build(settings_of(kind, tmp_path, pooling=pooling), LABEL_IDS, 0)
    layers = {name: type(module).__name__ for name, module in model.named_modules()}
    head = {name: kind for name, kind in layers.items() if ".classifier" in name or ".score" in name}
    assert head
    assert "Linear4bit" not in head.values()
    packed = [name for name, p in model.named_parameters() if p.dtype == torch.uint8]
    assert packed
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
    assert all(p.dtype == torch.float32 for name, p in model.named_parameters() if "norm" in name.lower())
    trained, total = tuning.parameter_counts(model)
    assert 0 < trained < total
    # Two weights to the byte, counted as two: the same model as without 4 bits.
    lora = settings_of(kind, tmp_path / "again", pooling=pooling, tuning="lora")
    assert tuning.parameter_counts(tuning.build(lora, LABEL_IDS, 0)) == (trained, total)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_gives_what_was_trained(kind, tmp_path):
    """Merged into the rounded weights (the saved model) and beside the 4 bits (the light version)."""
    settings = settings_of(kind, tmp_path)
    inputs = tokens_for(settings)
    model = disturbed(tuning.build(settings, LABEL_IDS, 0))
    expected = logits(model, inputs)
    tuning.save(model, tmp_path / "w", "qlora")
    seed = 0 if kind == "nt-mini" else 9  # only the weights of nt-mini are drawn from the seed
    merged = tuning.restore(tmp_path / "w", settings, LABEL_IDS, seed).eval()
    assert {p.dtype for p in merged.parameters()} == {torch.float32}
    torch.testing.assert_close(logits(merged, inputs), expected, atol=1e-4, rtol=0)
    beside = tuning.restore_adapter(tmp_path / "w", settings, LABEL_IDS, seed).eval()
    torch.testing.assert_close(logits(beside, inputs), expected, atol=1e-6, rtol=0)
    # The rounding is not a trifle: on the checkpoint's own weights the adapter would give other numbers.
    unrounded = {**settings, "tuning": "lora"}
    other = logits(tuning.restore(tmp_path / "w", unrounded, LABEL_IDS, seed).eval(), inputs)
    assert (other - expected).abs().max() > 10 * (logits(merged, inputs) - expected).abs().max()


def test_it_learns_and_the_weights_in_four_bits_stay(tmp_path):
    settings = mini({"epochs": 6, "learning_rate": 2e-2})
    before = tuning.frozen_model(settings, LABEL_IDS, 0).state_dict()
    trained, scores, run = fit(tmp_path, settings)
    assert trained.history["train_loss"].iloc[-1] < 0.9 * trained.history["train_loss"].iloc[0]
    part = scores.part("test")
    assert np.mean(part.logits.argmax(1) == part.label) > 0.6
    assert run["trainable_parameters"] < 0.1 * run["parameters"]
    after = {
        k.removeprefix("base_model.model.").replace(".base_layer", ""): v for k, v in trained.model.state_dict().items()
    }
    packed = [k for k, v in before.items() if v.dtype == torch.uint8]
    assert len(packed) >= 6
    assert all(torch.equal(before[k], after[k]) for k in packed)
    # The packaged model gives the probabilities that were evaluated.
    tuning.save(trained.model, tmp_path / "w", "qlora")
    merged = tuning.restore(tmp_path / "w", settings, LABEL_IDS, 0).eval()
    rows = INPUTS.table.rows_of(FOLD.test[:4], views=[0])
    torch.testing.assert_close(
        logits(merged, INPUTS, rows), logits(trained.model.eval(), INPUTS, rows), atol=1e-4, rtol=0
    )


def test_gradient_checkpointing_changes_no_gradient():
    settings = mini(lora={"dropout": 0})
    model = disturbed(tuning.build(settings, LABEL_IDS, 0)).train()
    found = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.zero_grad()
        model(**INPUTS.batch([0, 1, 7])).logits.square().sum().backward()
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad})
    assert all(gradient.abs().sum() > 0 for gradient in found[0].values())
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-6, rtol=1e-5)


def test_evaluations_in_bf16_leave_training_as_it_is():
    """A forward pass for inference may repack 4-bit weights; the pass after it must be that of before."""
    model = disturbed(tuning.build(mini(), LABEL_IDS, 0))
    first = logits(model, INPUTS)
    with torch.autocast("cpu", torch.bfloat16):
        rough = logits(model, INPUTS)
    assert 0 < (rough - first).abs().max() < 0.05
    torch.testing.assert_close(logits(model, INPUTS), first, atol=0, rtol=0)


def test_without_bitsandbytes_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UserError, match=r"bitsandbytes.*pip install"):
        tuning.build(mini(), LABEL_IDS, 0)
    tuning.build(mini(tuning="lora"), LABEL_IDS, 0)


@pytest.mark.parametrize("changes", [{"quant_type": "fp4"}, {"double_quantization": False}])
def test_every_key_of_the_section_has_an_effect(changes):
    models = [tuning.build(mini(qlora=given), LABEL_IDS, 0) for given in ({}, changes)]
    plain, other = (logits(model.eval(), INPUTS) for model in models)
    assert 0 < (plain - other).abs().max() < 0.5


def test_layers_of_other_widths_stay_as_they_are():
    sizes = {**WIDE, "hidden_size": 32, "intermediate_size": 64}
    settings = model_settings(tuning="qlora", backbone_config=sizes)
    model = tuning.frozen_model(settings, LABEL_IDS, 0)
    packed = [name for name, p in model.named_parameters() if p.dtype == torch.uint8]
    assert packed == ["backbone.encoder.layer.0.output.dense.weight"]
    sizes["intermediate_size"] = 96
    with pytest.raises(UserError, match="multiple of 64"):
        tuning.build(model_settings(tuning="qlora", backbone_config=sizes), LABEL_IDS, 0)


def test_targets_are_named_when_one_matches_nothing():
    with pytest.raises(UserError, match=r"lora\.targets.*Wqkv.*query"):
        tuning.build(mini(lora={"targets": ["Wqkv"]}), LABEL_IDS, 0)


INPUTS_OF = {"gpt2": ["mlp.c_proj"], "mixtral": [], "bert": ["output.dense"], "nt": ["output.dense"]}


@pytest.mark.parametrize("kind", ["gpt2", "mixtral", "bert", "nt"])
@pytest.mark.parametrize("way", ["lora", "ia3"])
def test_merged_and_unmerged_adapters_give_the_same_logits(kind, way, tmp_path):
    changes = {"ia3": {"feedforward": INPUTS_OF[kind]}} if way == "ia3" else {}
    settings = settings_of(kind, tmp_path, tuning=way, **changes)
    inputs = tokens_for(settings)
    model = disturbed(tuning.build(settings, LABEL_IDS, 0))
    expected = logits(model, inputs)
    unadapted = logits(tuning.base_model(settings, LABEL_IDS, 0).eval(), inputs)
    assert (expected - unadapted).abs().max() > 0.01
    tuning.save(model, tmp_path / "w", way)
    for restored in (tuning.restore, tuning.restore_adapter):
        given = restored(tmp_path / "w", settings, LABEL_IDS, 9).eval()
        torch.testing.assert_close(logits(given, inputs), expected, atol=1e-5, rtol=0)
