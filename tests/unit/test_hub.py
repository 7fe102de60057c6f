"""Downloading a backbone: the files that are needed, of one commit, verified; offline it is one sentence."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from dnatune.backbones import find_backbone
from dnatune.backbones.hub import fetch as download
from dnatune.backbones.local_copies import located, manifest_path, on_a_hub, published, read_manifest
from dnatune.errors import UserError
from local_hub import LocalHub, commit_of
from miniatures import model_settings, write_generic, write_nt

SCRIPTS = Path(__file__).parents[2] / "scripts"
FETCH = """
import json, sys
from dnatune.backbones.hub import fetch
fetch(*json.loads(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A miniature as a repository has it: weights twice, code, a subfolder, things nobody needs."""
    folder = write_generic(tmp_path_factory.mktemp("checkpoint"), "bert")
    (folder / "pytorch_model.bin").write_bytes(b"the same weights again")
    (folder / "modeling_own.py").write_text("raise SystemExit('code of the checkpoint runs')\n")
    (folder / "README.md").write_text("a card\n")
    (folder / "LICENSE").write_text("MIT\n")
    (folder / "training_args.bin").write_bytes(b"a pickle")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch, tmp_path):
    """Hub settings as in a process of its own."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 2)


def fetch(hub, into, revision=None, with_code=False, repository="owner/model"):
    """Download from ``hub``; return what was said where it was refused, and the manifest's path."""
    manifest = manifest_path(into, repository, revision, with_code)
    try:
        download(repository, revision, with_code, manifest, hub)
    except UserError as mistake:
        return str(mistake), manifest
    return "", manifest


def whole(result):
    """Return the manifest of a download that must have worked, and its folder."""
    said, manifest = result
    assert said == ""
    return read_manifest(manifest)


def told(result):
    """Return the one sentence of a download that must have been refused; nothing may be left that looks whole."""
    said, manifest = result
    assert said.endswith(".") and "\n" not in said
    assert not manifest.exists()
    assert [path.name for path in manifest.parent.glob("[0-9a-f]*")] == []
    return said


def test_a_branch_becomes_a_commit_and_only_what_is_needed_arrives(checkpoint, tmp_path):
    with LocalHub({"owner/model": {"main": checkpoint}}) as hub:
        manifest, folder = whole(fetch(hub.url, tmp_path))
        asked = len(hub.requests)
        again, _ = whole(fetch(hub.url, tmp_path))
        assert len(hub.requests) == asked, "what lies here is not asked for again"
    assert (manifest["repository"], manifest["revision"]) == ("owner/model", "main")
    assert manifest["commit"] == commit_of(checkpoint) == folder.name
    assert again == manifest
    names = {"LICENSE", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    optional = {"generation_config.json", "special_tokens_map.json"}
    assert names <= {file["name"] for file in manifest["files"]} <= names | optional
    for file in manifest["files"]:
        content = (checkpoint / file["name"]).read_bytes()
        assert (folder / file["name"]).read_bytes() == content
        assert (file["size"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*(file["name"] for file in manifest["files"]), "dnatune-download.json"]
    )
    assert not (tmp_path / "home").exists(), "nothing is left in the user's own cache"
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".partial")] == []


def test_a_moved_branch_is_not_followed_and_a_commit_is_what_it_says(checkpoint, tmp_path):
    newer = shutil.copytree(checkpoint, tmp_path / "newer")
    (newer / "LICENSE").write_text("another\n")
    with LocalHub({"owner/model": {"main": checkpoint}}) as hub:
        first, _ = whole(fetch(hub.url, tmp_path / "into"))
    with LocalHub({"owner/model": {"main": newer, "refs/pr/1": checkpoint}}) as hub:
        manifest_path(tmp_path / "into", "owner/model", None, False).unlink()
        assert whole(fetch(hub.url, tmp_path / "into"))[0] == first
        assert whole(fetch(hub.url, tmp_path / "into", commit_of(checkpoint)))[0]["commit"] == first["commit"]
        assert hub.requests == []
        # Another name of the same commit needs one question and no download.
        assert whole(fetch(hub.url, tmp_path / "into", "refs/pr/1"))[0]["commit"] == first["commit"]
        assert hub.downloads() == []
        assert whole(fetch(hub.url, tmp_path / "into", commit_of(newer)))[0]["commit"] == commit_of(newer)


def test_code_comes_only_where_it_is_wanted_and_lies_apart(checkpoint, tmp_path):
    with LocalHub({"owner/model": {"main": checkpoint}}) as hub:
        commit = commit_of(checkpoint)
        _, without = whole(fetch(hub.url, tmp_path, commit))
        _, folder = whole(fetch(hub.url, tmp_path, commit, with_code=True))
    assert not list(without.glob("*.py"))
    assert (folder / "modeling_own.py").is_file()
    assert folder != without


def test_code_of_the_repository_itself_is_found_in_the_folder(checkpoint, tmp_path):
    source = shutil.copytree(checkpoint, tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "owner/model--modeling_own.Own", "AutoConfig": "foreign/model--x.Config"}
    (source / "config.json").write_text(json.dumps(config))
    with LocalHub({"owner/model": {"main": source}}) as hub:
        _, folder = whole(fetch(hub.url, tmp_path, commit_of(source), with_code=True))
    found = json.loads((folder / "config.json").read_text())["auto_map"]
    assert found == {"AutoModel": "modeling_own.Own", "AutoConfig": "foreign/model--x.Config"}
    with pytest.raises(UserError, match="another repository"):
        find_backbone(str(folder), None, True)


def test_shards_that_the_index_names_arrive_and_no_others(checkpoint, tmp_path):
    import torch
    from transformers import AutoModelForMaskedLM

    source = tmp_path / "source"
    AutoModelForMaskedLM.from_pretrained(checkpoint).save_pretrained(source, max_shard_size="20KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoint / name, source)
    shutil.copy(checkpoint / "model.safetensors", source / "consolidated.safetensors")
    shards = sorted(path.name for path in source.glob("model-*.safetensors"))
    assert len(shards) > 1
    with LocalHub({"owner/model": {"main": source}}) as hub:
        _, folder = whole(fetch(hub.url, tmp_path / "into"))
        assert "consolidated.safetensors" not in hub.downloads()
    assert sorted(path.name for path in folder.glob("*.safetensors")) == shards
    labels = {"a": 0, "b": 1}
    models = [
        find_backbone(str(path)).model(labels, "mean", 0.0).backbone.state_dict() for path in (checkpoint, folder)
    ]
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])
    (source / shards[1]).unlink()
    with LocalHub({"owner/model": {"main": source}}) as hub:
        assert f"lacks {shards[1]}" in told(fetch(hub.url, tmp_path / "other"))
        assert not [name for name in hub.downloads() if name in shards], "it is known before gigabytes arrive"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("how", ["cut short", "altered"])
def test_what_is_not_the_file_of_the_hub_is_refused(checkpoint, tmp_path, name, how):
    content = (checkpoint / name).read_bytes()
    with LocalHub({"owner/model": {"main": checkpoint}}) as hub:
        hub.spoiled[name] = content[:-7] if how == "cut short" else content[:-1] + bytes([content[-1] ^ 1])
        sentence = told(fetch(hub.url, tmp_path))
        assert name in sentence or "cannot be downloaded" in sentence
        hub.spoiled.clear()
        _, folder = whole(fetch(hub.url, tmp_path))
    assert (folder / name).read_bytes() == content


def test_what_was_changed_after_the_download_is_refused(checkpoint, tmp_path):
    with LocalHub({"owner/model": {"main": checkpoint}}) as hub:
        _, manifest = fetch(hub.url, tmp_path)
        _, folder = read_manifest(manifest)
        weights = folder / "model.safetensors"
        content = weights.read_bytes()
        weights.write_bytes(content[:100])
        with pytest.raises(UserError, match=r"has 100 bytes, expected \d+ bytes as downloaded from owner/model"):
            located(model_settings(backbone="owner/model"), manifest)
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert "its hash differs" in fetch(hub.url, tmp_path)[0]
        weights.unlink()
        with pytest.raises(UserError, match="is missing"):
            located(model_settings(backbone="owner/model"), manifest)


def test_two_processes_at_once_download_once(checkpoint, tmp_path):
    manifest = manifest_path(tmp_path, "owner/model", None, False)
    arguments = [sys.executable, "-c", FETCH, json.dumps(["owner/model", None, False, str(manifest)])]
    with LocalHub({"owner/model": {"main": checkpoint}}) as hub:
        settings = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(SCRIPTS)}
        both = [subprocess.Popen(arguments, env={**os.environ, **settings}) for _ in range(2)]
        assert [process.wait(timeout=120) for process in both] == [0, 0]
        assert hub.downloads().count("model.safetensors") == 1
    read_manifest(manifest)


def test_without_a_hub_it_is_one_sentence_that_says_what_to_do(tmp_path, monkeypatch):
    closed = "http://127.0.0.1:9"
    sentence = told(fetch(closed, tmp_path))
    assert "owner/model" in sentence and closed in sentence and "snakemake backbones" in sentence
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    sentence = told(fetch(closed, tmp_path))
    assert "HF_HUB_OFFLINE is set" in sentence


def test_what_the_hub_does_not_have_is_one_sentence(checkpoint, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(checkpoint / "config.json", empty)
    with LocalHub({"owner/model": {"main": checkpoint}, "owner/empty": {"main": empty}}) as hub:
        assert "no repository of that name" in told(fetch(hub.url, tmp_path, repository="models/mine"))
        assert "no revision 'v9'" in told(fetch(hub.url, tmp_path, "v9"))
        assert "no weights" in told(fetch(hub.url, tmp_path, repository="owner/empty"))


def test_located_settings_read_the_folder_and_published_ones_name_the_hub(tmp_path):
    from dnatune import tuning

    source = write_nt(tmp_path / "source")
    with LocalHub({"owner/nt": {"main": source}}) as hub:
        _, manifest = fetch(hub.url, tmp_path, repository="owner/nt")
    settings = model_settings(backbone="owner/nt")
    found = located(settings, manifest)
    assert tuning.backbone_of(found).encoder().frames == 6
    assert published(found) == {**settings, "revision": commit_of(source)}
    assert located(settings, None) == settings


@pytest.mark.parametrize("tuning_name", ["full", "lora"])
@pytest.mark.parametrize("pooling", ["mean", "architecture"])
def test_no_folder_of_this_machine_stands_in_what_is_saved(tmp_path, tuning_name, pooling):
    from dnatune import tuning
    from dnatune.saved_models import save_model

    source = write_nt(tmp_path / "source")
    with LocalHub({"owner/nt": {"main": source}}) as hub:
        _, manifest = fetch(hub.url, tmp_path, repository="owner/nt")
    settings = located(model_settings(backbone="owner/nt", tuning=tuning_name, pooling=pooling), manifest)
    labels = {"a": 0, "b": 1}
    tuning.save(tuning.build(settings, labels, 0), tmp_path / "weights", tuning_name)
    saved = [path.read_text("utf-8") for path in (tmp_path / "weights").glob("*.json")]
    assert saved and not [text for text in saved if str(tmp_path) in text]
    if tuning_name == "lora":
        adapter = json.loads((tmp_path / "weights" / "adapter_config.json").read_text())
        assert (adapter["base_model_name_or_path"], adapter["revision"]) == ("owner/nt", commit_of(source))
    again = tuning.restore(tmp_path / "weights", settings, labels, 0)
    save_model(again, tuning.backbone_of(settings).saved_tokenizer(), tmp_path / "final")
    saved = [path.read_text("utf-8") for path in (tmp_path / "final").glob("*.json")]
    assert saved and not [text for text in saved if str(tmp_path) in text]


def test_manifests_have_a_place_for_each_revision(tmp_path):
    names = [manifest_path("x", "o/m", revision, False) for revision in (None, "main", "refs/pr/1", "refs-pr-1")]
    assert names[0] == names[1] == Path("x/o--m/main.json")
    assert len(set(names)) == 3
    assert manifest_path("x", "o/m", "main", True) not in names
    assert on_a_hub("o/m") and not on_a_hub(str(tmp_path)) and not on_a_hub("builtin:nt-mini")
