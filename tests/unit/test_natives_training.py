"""Native architectures are trained, saved and loaded like any other."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from dnatune import tuning
from dnatune.backbones import find_backbone
from dnatune.fold_training import embed_rows
from dnatune.inputs import EmbeddingInputs
from dnatune.prediction import saved_encoder
from dnatune.saved_models import load_model
from miniatures import model_settings
from native_miniatures import WRITERS
from small_fold import CLASSES, LABEL_IDS, fit, job_of, tokens_for
from test_packaging import LOADER, SEQUENCES, Saved

KINDS = ("aido", "nt_v2", "dnabert2")
TARGETS = {"aido": ("query", "value"), "nt_v2": ("query", "key", "value"), "dnabert2": ("Wqkv",)}
OWN_TYPE = {"aido": "rnabert", "nt_v2": "dnatune-gated-esm", "dnabert2": "dnatune-dnabert2"}
# name: (architecture, model settings, mode, folds)
PACKAGES = {
    **{f"{kind} mean": (kind, {}, "refit", 1) for kind in KINDS},
    **{f"{kind} architecture": (kind, {"pooling": "architecture"}, "refit", 1) for kind in KINDS},
    "aido ensemble": ("aido", {}, "ensemble", 2),
    "nt_v2 ensemble architecture": ("nt_v2", {"pooling": "architecture"}, "ensemble", 2),
    "dnabert2 lora": ("dnabert2", {"tuning": "lora"}, "refit", 1),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of published checkpoints in small, by kind."""
    return {kind: WRITERS[kind](tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["full", "lora", "probe"])
def test_training_lowers_the_loss_and_what_is_saved_comes_back(folders, kind, way, tmp_path):
    rate = {"full": 2e-3, "lora": 1e-2, "probe": 5e-2}[way]
    settings = model_settings({"epochs": 3, "learning_rate": rate}, backbone=str(folders[kind]), tuning=way)
    inputs = table = tokens_for(settings)
    if way == "probe":
        embed_rows(job_of(tmp_path, settings), table, CLASSES, tmp_path / "e.npy")
        inputs = EmbeddingInputs(table.table, np.load(tmp_path / "e.npy"))
    trained, scores, _ = fit(tmp_path, settings, inputs)
    assert trained.history["train_loss"].iloc[-1] < trained.history["train_loss"].iloc[0]
    assert np.isfinite(scores.logits).all()
    names = [name for name, p in trained.model.named_parameters() if p.requires_grad]
    if way == "lora":
        assert {n.split(".lora_")[0].rsplit(".", 1)[-1] for n in names if ".lora_" in n} == set(TARGETS[kind])
    tuning.save(trained.model, tmp_path / "w", way)
    restored = tuning.restore(tmp_path / "w", settings, LABEL_IDS, 0).eval()
    given = [0, 5, 30]
    with torch.inference_mode():
        expected = trained.model.eval()(**inputs.batch(given)).logits
        torch.testing.assert_close(restored(**table.batch(given)).logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["mean", "architecture"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_checkpointing_gives_the_same_gradients(folders, kind, pooling):
    backbone = find_backbone(str(folders[kind]))
    torch.manual_seed(0)
    model = backbone.model(LABEL_IDS, pooling, 0.0).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    batch = tokens_for(model_settings(backbone=str(folders[kind]))).batch([0, 1, 40])
    found = []
    for on in (False, True):
        if on:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        seen = []
        layer = model.base_model.encoder.layer[0]
        handle = layer.register_forward_pre_hook(lambda *_, seen=seen: seen.append(1))
        model.zero_grad()
        model(**batch, labels=torch.tensor([0, 1, 2])).loss.backward()
        handle.remove()
        assert len(seen) == (2 if on else 1)  # the layer is run again on the way back
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert any("encoder.layer.0" in name for name in found[0])
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-6, rtol=1e-5)


@pytest.fixture(scope="module")
def saved(folders, tmp_path_factory):
    """All packages, by name."""
    root = tmp_path_factory.mktemp("packages")
    found = {}
    for number, (name, (kind, changes, mode, folds)) in enumerate(PACKAGES.items()):
        (root / str(number)).mkdir()
        found[name] = Saved(root / str(number), model_settings(**changes, backbone=str(folders[kind])), mode, folds)
        if found[name].problem:
            raise found[name].problem
    return found


@pytest.fixture(scope="module")
def loaded(saved, tmp_path_factory):
    """What a new process with plain transformers, and no dnatune, gets from each package."""
    folder = tmp_path_factory.mktemp("loaded")
    jobs = [(name, str(package.folder), True) for name, package in saved.items()]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    env = {**kept, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = [sys.executable, "-c", LOADER, json.dumps(jobs), json.dumps(SEQUENCES), str(folder / "out.json")]
    done = subprocess.run(arguments, env=env, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "out.json").read_text())


@pytest.mark.parametrize("name", PACKAGES)
def test_a_new_process_gives_the_logits_of_the_trained_model(saved, loaded, name):
    found, expected = loaded[name], saved[name].expected()
    np.testing.assert_allclose(found["logits"], expected, atol=1e-5)
    np.testing.assert_allclose(found["batch"], expected, atol=1e-4)
    assert found["keys"] == [[], []]


@pytest.mark.parametrize("name", PACKAGES)
def test_the_saved_folder_names_our_classes_and_loads_here_without_its_code(saved, loaded, name):
    package = saved[name]
    config = json.loads((package.folder / "config.json").read_text())
    assert package.about["own_model_code"]
    assert all((package.folder / f"{code.split('.')[0]}.py").is_file() for code in config["auto_map"].values())
    config = config.get("member", config)
    assert config.get("backbone", config)["model_type"] == OWN_TYPE[PACKAGES[name][0]]
    for file in package.folder.glob("*.py"):
        file.write_text("raise ImportError('run')")
    load_model(package.folder)
    encoder = find_backbone(package.settings["backbone"]).encoder()
    again = saved_encoder(package.folder, json.loads((package.folder / "dnatune.json").read_text())["tokens"])
    assert (again.prefix, again.suffix, again.pad_id) == (encoder.prefix, encoder.suffix, encoder.pad_id)
    assert (again.frames, again.context) == (encoder.frames, encoder.context)
    for frame in range(encoder.frames):
        for one, two in zip(encoder.encode(SEQUENCES, frame), again.encode(SEQUENCES, frame), strict=True):
            np.testing.assert_array_equal(one, two)
