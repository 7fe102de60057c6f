"""What is read from a checkpoint's files: whole or in shards, as safetensors or .bin; code only when it is allowed."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from dnatune.backbones import check_backbone, find_backbone
from dnatune.errors import UserError
from miniatures import write_bpe_tokenizer, write_generic

LABELS = {"Aus": 0, "Bus": 1}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def whole(tmp_path):
    """Folder of a small BERT, and its weights."""
    folder = write_generic(tmp_path / "bert", "bert")
    return folder, load_file(folder / "model.safetensors")


def weights_of(folder):
    """Return the backbone's weights as loaded."""
    return find_backbone(str(folder)).model(LABELS, "mean", 0.0).backbone.state_dict()


def assert_loads(folder, weights):
    """Check that what is loaded is what ``weights`` holds."""
    loaded = weights_of(folder)
    assert loaded
    for name, value in loaded.items():
        assert torch.equal(value, weights[f"bert.{name}"]), name


def shards(weights, names):
    """Return two halves of the weights by file name, and the index that says what is where."""
    keys = sorted(weights)
    parts = dict(zip(names, (keys[::2], keys[1::2]), strict=True))
    index = {"metadata": {}, "weight_map": {key: name for name, part in parts.items() for key in part}}
    return {name: {key: weights[key] for key in part} for name, part in parts.items()}, index


def test_bin(whole):
    folder, weights = whole
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert_loads(folder, weights)


def test_bin_of_old_torch(whole):
    folder, weights = whole
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert_loads(folder, weights)


def test_sharded_bin(whole):
    folder, weights = whole
    (folder / "model.safetensors").unlink()
    parts, index = shards(weights, ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"))
    for name, part in parts.items():
        torch.save(part, folder / name)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    check_backbone("m", settings(str(folder)))
    assert_loads(folder, weights)


def test_sharded_safetensors(whole):
    folder, weights = whole
    (folder / "model.safetensors").unlink()
    parts, index = shards(weights, ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"))
    for name, part in parts.items():
        save_file(part, folder / name, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    check_backbone("m", settings(str(folder)))
    assert_loads(folder, weights)


def test_missing_shard(whole):
    folder, weights = whole
    (folder / "model.safetensors").unlink()
    parts, index = shards(weights, ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"))
    save_file(parts["model-00001-of-00002.safetensors"], folder / "model-00001-of-00002.safetensors", {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="cannot be loaded"):
        weights_of(folder)


def test_weight_that_no_module_takes(whole):
    folder, weights = whole
    save_file({**weights, "bert.encoder.extra.weight": torch.ones(3)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"unexpected 1 weights \(.*encoder\.extra\.weight"):
        weights_of(folder)


class Malicious:
    """Unpickling this writes a file."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, "w")


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "architecture"])
def test_pickle_that_would_run_code(whole, tmp_path, new_format, pooling):
    folder, weights = whole
    (folder / "model.safetensors").unlink()
    content, marker = {**weights, "extra": Malicious(tmp_path / "executed")}, tmp_path / "executed"
    torch.save(content, folder / "pytorch_model.bin", _use_new_zipfile_serialization=new_format)
    with pytest.raises(UserError, match="pickle that holds more than tensors"):
        find_backbone(str(folder)).model(LABELS, pooling, 0.0)
    assert not marker.exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)  # it would have
    assert marker.exists()


def test_plain_pickle_under_the_name_of_weights(whole, tmp_path):
    folder, _ = whole
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Malicious(tmp_path / "executed")))
    with pytest.raises(UserError):
        weights_of(folder)
    assert not (tmp_path / "executed").exists()


CODE = """
from pathlib import Path
from transformers import BertConfig, BertForSequenceClassification

Path("{marker}").touch()

class OwnConfig(BertConfig):
    model_type = "own"

class OwnForSequenceClassification(BertForSequenceClassification):
    config_class = OwnConfig
"""


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    """Folder of a model with code of its own, and the file that this code writes when it runs."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder, marker = write_generic(tmp_path / "own", "bert"), tmp_path / "executed"
    (folder / "own.py").write_text(CODE.replace("{marker}", str(marker)))
    names = {"AutoConfig": "own.OwnConfig", "AutoModelForSequenceClassification": "own.OwnForSequenceClassification"}
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": names}))
    return folder, marker


def settings(backbone, **changes):
    """Return what ``check_backbone`` looks at."""
    fixed = {"backbone": backbone, "backbone_config": {}, "revision": None, "trust_remote_code": False}
    return {**fixed, "pooling": "architecture", **changes}


def test_code_of_a_checkpoint_does_not_run_unasked(own_code):
    folder, marker = own_code
    with pytest.raises(UserError, match="trust_remote_code"):
        find_backbone(str(folder))
    assert not marker.exists()


def test_code_of_a_folder_runs_when_asked(own_code):
    folder, marker = own_code
    check_backbone("m", settings(str(folder), trust_remote_code=True))
    model = find_backbone(str(folder), None, True).model(LABELS, "architecture", 0.0)
    assert type(model).__name__ == "OwnForSequenceClassification"
    assert marker.exists()


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT[:12], COMMIT.upper()])
def test_code_from_a_hub_needs_a_commit(revision):
    with pytest.raises(UserError, match=r"m\.revision.*40 hexadecimal digits"):
        check_backbone("m", settings("owner/model", trust_remote_code=True, revision=revision))
    with pytest.raises(UserError, match="40 hexadecimal digits"):
        find_backbone("owner/model", revision, True)


def test_a_commit_is_a_pin():
    check_backbone("m", settings("owner/model", trust_remote_code=True, revision=COMMIT))


def test_without_code_a_branch_will_do():
    check_backbone("m", settings("owner/model", revision="main"))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_that_lies_in_another_repository(own_code, name):
    folder, marker = own_code
    content = json.loads((folder / name).read_text())
    references = {
        "config.json": {**content.get("auto_map", {}), "AutoModel": "someone/else--modeling.Model"},
        "tokenizer_config.json": {"AutoTokenizer": ["someone/else--tokens.Tokens", None]},
    }
    (folder / name).write_text(json.dumps({**content, "auto_map": references[name]}))
    with pytest.raises(UserError, match=r"another repository \(someone/else\)"):
        find_backbone(str(folder), None, True)
    assert not marker.exists()


def test_a_tokenizer_with_code_of_its_own(whole):
    folder, _ = whole
    write_bpe_tokenizer(folder)
    (folder / "tokenizer.json").unlink()
    named = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    with pytest.raises(UserError, match="tokenizer"):
        find_backbone(str(folder)).encoder()
