"""Full, LoRA and probe: what learns is what should, and what is saved is what was learnt."""

import numpy as np
import pytest
import torch

from dnatune import hardware, tuning
from dnatune.errors import UserError
from dnatune.fold_training import embed_rows
from dnatune.inputs import EmbeddingInputs
from miniature_entries import write_mistral_dna
from miniatures import model_settings, write_generic, write_nt
from small_fold import CLASSES, INPUTS, LABEL_IDS, fit, job_of, tokens_for


@pytest.mark.parametrize("kind", ["nt-mini", "nt", "bert", "mixtral"])
@pytest.mark.parametrize("pooling", ["mean", "architecture"])
def test_what_is_saved_is_what_was_trained(kind, pooling, tmp_path):
    """Weights that transformers stores under names of older checkpoints come back too."""
    source = {"nt-mini": "builtin:nt-mini", "nt": tmp_path / "nt"}.get(kind, tmp_path / kind)
    if kind != "nt-mini":
        write_nt(source) if kind == "nt" else write_generic(source, kind)
    settings = model_settings(backbone=str(source), pooling=pooling)
    model = tuning.build(settings, LABEL_IDS, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    tuning.save(model, tmp_path / "w", "full")
    restored = tuning.restore(tmp_path / "w", settings, LABEL_IDS, 1).state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(restored[name], value), name


def test_lora_trains_adapters_and_head_alone(tmp_path):
    settings = model_settings({"epochs": 2, "learning_rate": 1e-2}, tuning="lora")
    trained, _, run = fit(tmp_path, settings)
    names = [name for name, p in trained.model.named_parameters() if p.requires_grad]
    assert names
    assert all("lora_" in name or "classifier.modules_to_save" in name for name in names)
    assert any("lora_" in name for name in names)
    assert any("classifier" in name for name in names)
    assert run["trainable_parameters"] < 0.1 * run["parameters"]
    before = tuning.base_model(settings, LABEL_IDS, 0).state_dict()
    after = {
        k.removeprefix("base_model.model.").replace(".base_layer", ""): v for k, v in trained.model.state_dict().items()
    }
    frozen = [k for k in before if k in after and not k.startswith("classifier")]
    assert len(frozen) > 10
    assert all(torch.equal(before[k], after[k]) for k in frozen)


def test_lora_target_that_matches_nothing():
    settings = model_settings(tuning="lora", lora={"targets": ["Wqkv"]})
    with pytest.raises(UserError, match=r"lora\.targets.*Wqkv.*query"):
        tuning.build(settings, LABEL_IDS, 0)


def test_ia3_trains_factors_and_head_alone_and_learns(tmp_path):
    settings = model_settings({"epochs": 6, "learning_rate": 3e-2}, tuning="ia3", ia3={"feedforward": ["output.dense"]})
    trained, _, run = fit(tmp_path, settings)
    learning = {name: p for name, p in trained.model.named_parameters() if p.requires_grad}
    assert all("ia3_l" in name or "classifier.modules_to_save" in name for name in learning)
    # One layer of width 32 and 64: query, key, value by output; two layers called output.dense by input.
    width, inner = 32, trained.model.config.backbone.intermediate_size
    assert sum(p.numel() for name, p in learning.items() if "ia3_l" in name) == 3 * width + width + inner
    assert run["trainable_parameters"] < 0.05 * run["parameters"]
    assert trained.history["train_loss"].iloc[-1] < 0.95 * trained.history["train_loss"].iloc[0]
    before = tuning.base_model(settings, LABEL_IDS, 0).state_dict()
    after = {
        k.removeprefix("base_model.model.").replace(".base_layer", ""): v for k, v in trained.model.state_dict().items()
    }
    frozen = [k for k in before if k in after and not k.startswith("classifier")]
    assert len(frozen) > 10
    assert all(torch.equal(before[k], after[k]) for k in frozen)


def test_factors_of_ia3_rest_at_one(tmp_path):
    """Weight decay pulls toward 0, where a factor would silence its layer."""
    training = {"epochs": 1, "learning_rate": 1e-2, "weight_decay": 10.0}
    found = [
        fit(tmp_path / str(decay), model_settings({**training, "weight_decay": decay}, tuning="ia3"))[0].model
        for decay in (0.0, 10.0)
    ]
    factors = [{n: p for n, p in model.named_parameters() if "ia3_l" in n} for model in found]
    assert factors[0]
    for name, factor in factors[0].items():
        torch.testing.assert_close(factors[1][name], factor, atol=0.02, rtol=0)


@pytest.mark.parametrize("key", ["targets", "feedforward"])
def test_ia3_layer_that_is_not_there(key):
    settings = model_settings(tuning="ia3", ia3={key: ["Wqkv"]})
    with pytest.raises(UserError, match=rf"ia3\.{key}.*Wqkv.*query"):
        tuning.build(settings, LABEL_IDS, 0)


@pytest.mark.parametrize(("kind", "layer"), [("gpt2", "c_attn"), ("mixtral", "q_proj"), ("bert", "query")])
def test_lora_on_a_generic_backbone(kind, layer, tmp_path):
    settings = model_settings({"epochs": 1}, backbone=str(write_generic(tmp_path / kind, kind)), tuning="lora")
    inputs = tokens_for(settings)
    assert inputs.table.frames == 1
    trained, scores, run = fit(tmp_path, settings, inputs)
    assert any(f"{layer}.lora_A" in name for name, _ in trained.model.named_parameters())
    assert 0 < run["trainable_parameters"] < run["parameters"]
    assert np.isfinite(scores.logits).all()


@pytest.mark.parametrize("way", ["lora", "ia3"])
@pytest.mark.parametrize("kind", ["nt-mini", "gpt2", "mixtral", "bert"])
def test_a_frozen_backbone_in_half_precision(kind, way, tmp_path, monkeypatch):
    """What is frozen takes half the memory, what learns stays in float32, and the numbers are those of autocast."""
    monkeypatch.setattr(hardware, "_cpu_computes_bf16", lambda: True)
    source = {} if kind == "nt-mini" else {"backbone": str(write_generic(tmp_path / kind, kind))}
    whole, half = (
        model_settings({"precision": "bf16"}, tuning=way, base_precision=base, **source) for base in ("auto", "bf16")
    )
    inputs, found = tokens_for(half), []
    for settings in (whole, half):
        model = tuning.build(settings, LABEL_IDS, 0).train()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(**inputs.batch([0, 1, 30])).logits.float()
        logits.square().sum().backward()
        assert all(p.grad is not None and p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
        found.append((logits.detach(), {p.dtype for p in model.parameters() if p.ndim == 1}, model))
    assert found[0][1] == found[1][1] == {torch.float32}
    torch.testing.assert_close(found[1][0], found[0][0], atol=5e-3, rtol=0)
    tables = ("embeddings", "wte", "wpe", "embed_tokens", "mlp.gate.", "classifier")
    frozen = [
        {
            p.dtype
            for name, p in model.named_parameters()
            if p.ndim > 1 and not p.requires_grad and not any(table in name for table in tables)
        }
        for _, _, model in found
    ]
    assert frozen == [{torch.float32}, {torch.bfloat16}]
    # The saved model holds the checkpoint's own digits, not the halved ones.
    tuning.save(found[1][2], tmp_path / "w", way)
    restored = tuning.restore(tmp_path / "w", half, LABEL_IDS, 0)
    assert {p.dtype for p in restored.parameters()} == {torch.float32}
    base = tuning.base_model(half, LABEL_IDS, 0).state_dict()
    name = next(name for name in base if name.endswith(("query.weight", "c_attn.weight", "q_proj.weight")))
    torch.testing.assert_close(restored.state_dict()[name], base[name], atol=1e-7, rtol=0)


def test_it_trains_on_a_backbone_in_half_precision(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "_cpu_computes_bf16", lambda: True)
    training = {"epochs": 3, "learning_rate": 1e-2, "precision": "bf16"}
    _, scores, run = fit(tmp_path, model_settings(training, tuning="lora", base_precision="bf16"))
    assert run["precision"] == "bf16"
    assert np.isfinite(scores.logits).all()


def test_probe_embeddings_are_those_the_backbone_gives_in_training(tmp_path):
    settings = model_settings({"epochs": 3, "learning_rate": 0.1}, tuning="probe")
    embed_rows(job_of(tmp_path, settings), INPUTS, CLASSES, tmp_path / "e.npy")
    embedded = np.load(tmp_path / "e.npy")
    assert embedded.shape == (len(INPUTS.table), 32)
    model = tuning.base_model(settings, LABEL_IDS, 0).eval()
    for rows in ([0, 1, 2], [7], [100, 3]):
        with torch.inference_mode():
            direct = model.embed(**INPUTS.batch(rows)).numpy()
        np.testing.assert_allclose(embedded[rows], direct, atol=1e-5)
    trained, _, run = fit(tmp_path, settings, EmbeddingInputs(INPUTS.table, embedded))
    assert run["trainable_parameters"] == run["parameters"] == 32 * 3 + 3
    assert trained.history["train_loss"].iloc[-1] < trained.history["train_loss"].iloc[0]
    # The restored model (backbone and head) gives what the head gave on the embeddings.
    tuning.save(trained.model, tmp_path / "w", "probe")
    whole = tuning.restore(tmp_path / "w", settings, LABEL_IDS, 0).eval()
    row = int(INPUTS.table.first_row[3, 2])
    with torch.inference_mode():
        expected = trained.model.eval()(embeddings=torch.from_numpy(embedded[[row]])).logits
        torch.testing.assert_close(whole(**INPUTS.batch([row])).logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["lora", "qlora"])
def test_adapters_of_a_mixture_of_experts_with_its_own_head_are_chosen_and_read_again(kind, tmp_path):
    settings = model_settings(
        {"epochs": 2}, backbone=str(write_mistral_dna(tmp_path / "m")), tuning=kind, pooling="architecture"
    )
    trained, _, _ = fit(tmp_path / "checkpoints", settings, tokens_for(settings))
    tuning.save(trained.model, tmp_path / "w", kind)
    restored = tuning.restore(tmp_path / "w", settings, LABEL_IDS, 0).eval()
    batch = tokens_for(settings).batch([0, 1, 2])
    with torch.inference_mode():
        expected, found = (model(**batch).logits for model in (trained.model.eval(), restored))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
