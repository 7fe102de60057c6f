"""The saved model: plain transformers loads it in a new process, and it gives the numbers it gave before."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dnatune import tuning
from dnatune.files import read_json
from dnatune.packaging import Package, best_fold, fit_calibration, settled_epochs, write_package
from dnatune.scores import Scores
from dnatune.tasks import task
from dnatune.tasks.base import EvaluationSettings
from dnatune.tokens import TokenSettings
from miniatures import SIZES, families, model_settings, write_generic, write_nt

TASK = task("multiclass")
OVERLAP = {**SIZES, "k": 4, "overlapping": True}
CLASSES = ["Aus bus", "Cus dus", "Ünus"]
LABELS = {name: i for i, name in enumerate(CLASSES)}
SEQUENCES = [s for s, _ in families(3, 1, 90)] + ["ACGTACGTACGTACNNACGTTGA"]
RUNS = [
    {"best_epoch": e, "best_metric": m, "metric_for_best": "pr_auc_macro", "precision": "fp32"}
    for e, m in ((3.0, 0.7), (9.0, 0.9), (4.0, 0.8))
]
# What a user would write: Auto classes alone, in a process that has never heard of dnatune.
LOADER = """
import json, sys, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
found = {}
for name, folder, own_code in json.loads(sys.argv[1]):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True, **({"trust_remote_code": True} if own_code else {}))
    model = model.float().eval()
    with torch.inference_mode():
        logits = [model(**tokenizer(s, return_tensors="pt")).logits[0].tolist() for s in json.loads(sys.argv[2])]
        batch = model(**tokenizer(json.loads(sys.argv[2]), padding=True, return_tensors="pt")).logits.tolist()
    labels = [model.config.id2label[i] for i in range(len(model.config.id2label))]
    keys = [sorted(str(k) for k in loading[what]) for what in ("missing_keys", "unexpected_keys")]
    found[name] = {"logits": logits, "batch": batch, "labels": labels, "label2id": model.config.label2id, "keys": keys}
assert "dnatune" not in sys.modules
json.dump(found, open(sys.argv[3], "w"))
"""
# name: (model settings, mode, folds)
KINDS = {
    "mean": ({}, "refit", 1),
    "last": ({"pooling": "last"}, "refit", 1),
    "architecture": ({"pooling": "architecture"}, "refit", 1),
    "lora": ({"tuning": "lora"}, "refit", 1),
    "qlora": ({"tuning": "qlora"}, "refit", 1),
    "probe": ({"tuning": "probe"}, "refit", 1),
    "best_fold": ({}, "best_fold", 3),
    "ensemble": ({}, "ensemble", 3),
    "ensemble_architecture": ({"pooling": "architecture"}, "ensemble", 2),
    "ensemble_lora": ({"tuning": "lora"}, "ensemble", 2),
    "overlap": ({"backbone_config": OVERLAP}, "refit", 1),
    "overlap_last": ({"backbone_config": {**OVERLAP, "k": 3}, "pooling": "last"}, "refit", 1),
    "overlap_lora": ({"backbone_config": OVERLAP, "tuning": "lora"}, "refit", 1),
    "overlap_ensemble": ({"backbone_config": OVERLAP}, "ensemble", 2),
    "fours": ({"backbone_config": {**SIZES, "k": 4}}, "refit", 1),
    "nt": ({"backbone": "nt"}, "refit", 1),
    "nt_lora": ({"backbone": "nt", "tuning": "lora"}, "refit", 1),
    "nt_lora_architecture": ({"backbone": "nt", "tuning": "lora", "pooling": "architecture"}, "refit", 1),
    "nt_ensemble": ({"backbone": "nt"}, "ensemble", 2),
    "nt_qlora": ({"backbone": "nt", "tuning": "qlora"}, "refit", 1),
    "gpt2_lora": ({"backbone": "gpt2", "tuning": "lora"}, "refit", 1),
    "gpt2_ia3": ({"backbone": "gpt2", "tuning": "ia3"}, "refit", 1),
    "mixtral": ({"backbone": "mixtral"}, "refit", 1),
    "mixtral_architecture": ({"backbone": "mixtral", "pooling": "architecture"}, "refit", 1),
}
ADAPTER_ALONE = ["nt_lora", "nt_lora_architecture", "nt_qlora", "gpt2_lora", "gpt2_ia3"]


class Saved:
    """A package on disk, and the logits that its members gave before they were saved."""

    def __init__(self, folder: Path, settings: dict, mode: str, folds: int) -> None:
        settings = {**settings, "head": TASK.head()}
        self.folder, self.settings, self.mode = folder / "final", settings, mode
        backbone = tuning.backbone_of(settings)
        encoder = backbone.encoder()
        self.members, self.weights = [], [folder / f"fold_{i}" for i in range(folds)]
        for fold, weights in enumerate(self.weights):
            base = tuning.base_model(settings, LABELS, 0).eval()
            width = base.classifier.in_features if settings["tuning"] == "probe" else None
            prepared = tuning.build(settings, LABELS, 0, width)
            torch.manual_seed(fold)
            with torch.no_grad():
                for parameter in prepared.parameters():
                    if parameter.requires_grad:
                        parameter += 0.1 * torch.randn_like(parameter)
            prepared.eval()
            self.members.append(self.logits(prepared, base, encoder))
            tuning.save(prepared, weights, settings["tuning"])
        self.package = Package("m", settings, 0, CLASSES, mode, light=True, task={"name": "multiclass"})
        tokens = {"max_tokens": encoder.context, "frames": encoder.frames, "context": encoder.context}
        tokens["vocabulary_size"] = encoder.vocabulary_size
        assert TokenSettings.of(settings["tokens"], encoder).frames == encoder.frames
        self.folder.mkdir()
        calibrator = {"method": "none"}
        self.problem: Exception | None = None
        try:
            self.about = write_package(self.package, self.weights, RUNS[:folds], calibrator, tokens, self.folder)
        except Exception as problem:  # told by the tests of this kind, not by all
            self.problem = problem

    def logits(self, prepared, base, encoder):
        """Return logits (sequences, classes) of what is trained, before anything is saved."""
        found = []
        for ids in encoder.encode(SEQUENCES, 0):
            row = torch.tensor([[*encoder.prefix, *ids.tolist(), *encoder.suffix]])
            inputs = {"input_ids": row, "attention_mask": torch.ones_like(row)}
            with torch.inference_mode():
                if self.settings["tuning"] == "probe":
                    inputs = {"embeddings": base.embed(**inputs)}
                found.append(prepared(**inputs).logits[0].numpy().copy())
        return np.stack(found)

    def expected(self):
        """Return the logits that the saved model must give."""
        if self.mode == "best_fold":
            return self.members[1]
        if len(self.members) == 1:
            return self.members[0]
        each = [np.exp(m - m.max(1, keepdims=True)) for m in np.array(self.members, dtype=np.float64)]
        return np.log(np.mean([e / e.sum(1, keepdims=True) for e in each], axis=0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """All kinds of packages, by name."""
    root = tmp_path_factory.mktemp("packages")
    sources = {"nt": write_nt(root / "nt_base")}
    sources |= {kind: write_generic(root / f"{kind}_base", kind) for kind in ("gpt2", "mixtral")}
    found = {}
    for name, (changes, mode, folds) in KINDS.items():
        given = {**changes, "backbone": str(sources[changes["backbone"]])} if "backbone" in changes else changes
        (root / name).mkdir()
        found[name] = Saved(root / name, model_settings(**given), mode, folds)
    return found


@pytest.fixture(scope="module")
def loaded(saved, tmp_path_factory):
    """What a new process with plain transformers gets from each package (and its light version)."""
    folder = tmp_path_factory.mktemp("loaded")
    jobs = []
    for name, package in saved.items():
        if package.problem is None:
            own = package.about["own_model_code"]
            jobs.append((name, str(package.folder), own))
            if (package.folder / "light" / "config.json").is_file():
                jobs.append((f"{name} light", str(package.folder / "light"), own))
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    env = {**kept, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = [sys.executable, "-c", LOADER, json.dumps(jobs), json.dumps(SEQUENCES), str(folder / "out.json")]
    done = subprocess.run(arguments, env=env, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "out.json").read_text())


def whole(saved, name):
    """Return a package, or fail with the reason why it could not be written."""
    if saved[name].problem is not None:
        pytest.fail(f"the package could not be written: {saved[name].problem}", pytrace=False)
    return saved[name]


@pytest.mark.parametrize("name", KINDS)
def test_a_new_process_gives_the_logits_of_the_trained_model(saved, loaded, name):
    expected = whole(saved, name).expected()
    np.testing.assert_allclose(loaded[name]["logits"], expected, atol=1e-5)
    np.testing.assert_allclose(loaded[name]["batch"], expected, atol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_missing_or_left_over_when_it_loads(saved, loaded, name):
    whole(saved, name)
    assert loaded[name]["keys"] == [[], []]


@pytest.mark.parametrize("name", KINDS)
def test_label_names_are_in_the_config(saved, loaded, name):
    whole(saved, name)
    assert loaded[name]["labels"] == CLASSES
    assert loaded[name]["label2id"] == LABELS


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ADAPTER_ALONE])
def test_the_light_version_loads_and_is_half_the_size(saved, loaded, name):
    package = whole(saved, name)
    np.testing.assert_allclose(loaded[f"{name} light"]["logits"], package.expected(), atol=0.1)
    sizes = [sum(p.stat().st_size for p in f.glob("*.safetensors")) for f in (package.folder, package.folder / "light")]
    assert 0.4 < sizes[1] / sizes[0] < 0.6


@pytest.mark.parametrize("name", ADAPTER_ALONE)
def test_the_light_version_of_lora_is_adapter_and_head(saved, name):
    package = whole(saved, name)
    light = package.folder / "light"
    files = {path.name for path in light.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= files
    assert (light / "adapter_model.safetensors").stat().st_size < 0.2 * (
        package.folder / "model.safetensors"
    ).stat().st_size
    encoder = tuning.backbone_of(package.settings).encoder()
    for restore in (tuning.restore, tuning.restore_adapter):
        model = restore(light, package.settings, LABELS, 99).eval()
        np.testing.assert_allclose(package.logits(model, model, encoder), package.members[0], atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_own_model_code_is_there_where_it_is_needed_and_only_there(saved, name):
    package = whole(saved, name)
    code = {path.name for path in package.folder.glob("*.py")}
    config = read_json(package.folder / "config.json")
    assert package.about["own_model_code"] == bool(code) == ("auto_map" in config)
    assert package.about["own_model_code"] == (
        package.mode == "ensemble" or package.settings["pooling"] != "architecture"
    )


def test_what_stands_beside_the_weights(saved):
    package = whole(saved, "mean")
    about = read_json(package.folder / "dnatune.json")
    assert {"torch", "transformers", "python", "dnatune"} <= set(about["versions"])
    assert (about["model"], about["mode"], about["seed"], about["precision"]) == ("m", "refit", 0, "fp32")
    assert about["settings"]["training"]["epochs"] == 3
    assert read_json(package.folder / "calibration.json") == {"method": "none"}
    assert not [p for p in package.folder.rglob("*") if p.suffix in (".bin", ".pkl", ".pt")]


def test_the_head_of_lora_is_the_trained_one(saved):
    """peft forgets the head unless told to save it, and prediction then uses a random one."""
    package = whole(saved, "lora")
    restored = [tuning.restore(package.weights[0], package.settings, LABELS, seed).state_dict() for seed in (0, 1)]
    torch.testing.assert_close(restored[0]["classifier.weight"], restored[1]["classifier.weight"])


def test_epochs_and_best_fold_are_chosen_by_validation():
    assert settled_epochs(RUNS) == 4.0
    assert best_fold(RUNS, TASK) == 1
    assert best_fold([{**run, "metric_for_best": "log_loss"} for run in RUNS], TASK) == 0
    assert best_fold([{**RUNS[0], "best_metric": None}, RUNS[0]], TASK) == 1


def scores_of(seed):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, 60)
    logits = (3 * np.eye(3)[label] + rng.normal(0, 2, (60, 3))).astype(np.float32)
    return Scores(np.array([f"s{i}" for i in range(60)]), np.repeat(["validation", "test"], 30), label, logits)


def test_calibration_is_fitted_on_validation_scores_alone():
    scores, judged = [scores_of(i) for i in range(3)], EvaluationSettings("temperature")
    spoilt = [Scores(s.id, s.role, s.label, np.where((s.role == "test")[:, None], -s.logits, s.logits)) for s in scores]
    for mode in ("refit", "best_fold", "ensemble"):
        one, two = (fit_calibration(given, RUNS, mode, TASK, judged) for given in (scores, spoilt))
        assert one == two
    changed = [scores[0], Scores(scores[1].id, scores[1].role, scores[1].label, scores[1].logits * 3), scores[2]]
    alone = [fit_calibration(given, RUNS, "best_fold", TASK, judged) for given in (scores, changed)]
    assert alone[0] != alone[1]
    assert fit_calibration([scores[1]], RUNS[1:2], "refit", TASK, judged) == alone[0]
