"""Backbones in the format of the real ones load whole or not at all, and their quirks change no number."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, EsmModel
from transformers.models.esm.modeling_esm import EsmIntermediate

from dnatune.backbones import check_backbone, find_backbone
from dnatune.backbones.generic import GenericBackbone
from dnatune.backbones.nt_mini import NtMini
from dnatune.backbones.nucleotide_transformer import FusedIntermediate, NucleotideTransformer
from dnatune.errors import UserError
from miniatures import SIZES, families, nt_config, write_generic, write_nt

LABELS = {"Aus bus": 0, "Cus dus": 1, "Eus fus": 2}
SEQUENCES = [s for s, _ in families(3, 1, 100)] + ["ACGTNACGTACGTA"]
KINDS = ("bert", "gpt2", "mixtral")


@pytest.fixture(scope="module")
def nt(tmp_path_factory):
    """Folder of a miniature Nucleotide Transformer."""
    return write_nt(tmp_path_factory.mktemp("nt"))


@pytest.fixture(scope="module")
def generic(tmp_path_factory):
    """Folders of miniatures with byte-pair tokenizers, by architecture."""
    return {kind: write_generic(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


def logits(model, encoder, sequences, width=None):
    """Return logits (sequences, labels); all sequences padded to ``width`` tokens, or one at a time if None."""
    model.eval()
    rows = [[*encoder.prefix, *ids.tolist(), *encoder.suffix] for ids in encoder.encode(sequences, 0)]
    found = []
    for row in rows:
        padding = (width or len(row)) - len(row)
        ids = torch.tensor([row + [encoder.pad_id] * padding])
        mask = torch.tensor([[1] * len(row) + [0] * padding])
        with torch.inference_mode():
            found.append(model(input_ids=ids, attention_mask=mask).logits)
    return torch.cat(found)


def problem(**changes):
    """Return the sentence with which a model of the configuration is refused."""
    model = {"backbone": "builtin:nt-mini", "revision": None, "trust_remote_code": False, "backbone_config": {}}
    with pytest.raises(UserError) as caught:
        check_backbone("models.m", {**model, **changes})
    assert "models.m" in str(caught.value)
    return str(caught.value)


def test_unknown_builtin_names_the_nearest():
    assert "did you mean 'builtin:nt-mini'" in problem(backbone="builtin:nt-mni")
    assert "builtin:nt-mini" in problem(backbone="builtin:hyena")


def test_builtin_without_its_prefix_is_not_told_to_write_the_same():
    sentence = problem(backbone="nt-mini")
    assert "builtin:nt-mini" in sentence
    assert "did you mean 'nt-mini'" not in sentence


@pytest.mark.parametrize("source", ["./nowhere", "/no/such/folder", "~/models/x"])
def test_folder_that_is_missing(source):
    assert "does not exist" in problem(backbone=source)


def test_folder_without_config_and_without_weights(tmp_path):
    assert "config.json" in problem(backbone=str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert "no weights" in problem(backbone=str(tmp_path))
    (tmp_path / "model.safetensors").touch()
    check_backbone(
        "m", {"backbone": str(tmp_path), "revision": None, "trust_remote_code": False, "backbone_config": {}}
    )


@pytest.mark.parametrize("source", ["a b/c", "nucleotide-transformer", "a/b/c"])
def test_what_is_no_hub_id(source):
    assert "unknown backbone" in problem(backbone=source)


def test_downloaded_weights_have_their_own_config():
    assert "backbone_config" in problem(backbone="owner/model", backbone_config={"hidden_size": 64})


def test_code_from_a_hub_needs_a_revision():
    assert "revision" in problem(backbone="owner/model", trust_remote_code=True, pooling="architecture")


@pytest.mark.parametrize(
    "sizes",
    [
        {"vocab_size": 100},
        {"hidden_size": 100, "num_attention_heads": 3},
        {"k": 9},
        {"k": 1},
        {"k": 2.5},
        {"k": True},
        {"k": 0, "overlapping": True},
        {"overlapping": 1},
    ],
)
def test_builtin_with_sizes_that_do_not_fit(sizes):
    with pytest.raises(UserError, match="backbone_config"):
        NtMini("builtin:nt-mini", None, False).with_config(sizes)


def test_overlapping_has_no_head_of_its_own():
    assert "pooling" in problem(backbone_config={"overlapping": True}, pooling="architecture")


def test_builtin_with_an_unknown_size():
    with pytest.raises(UserError, match="hidden_size"):
        NtMini("builtin:nt-mini", None, False).with_config({"hiden_size": 64})


def test_broken_config_is_one_sentence(tmp_path):
    (tmp_path / "config.json").write_text("{not json")
    with pytest.raises(UserError, match="cannot be loaded"):
        find_backbone(str(tmp_path))


@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "architecture"])
def test_nucleotide_transformer_loads_with_its_weights(nt, pooling):
    backbone = find_backbone(str(nt))
    assert type(backbone) is NucleotideTransformer
    assert (backbone.context, backbone.lora_targets()) == (1000, ["query", "key", "value"])
    model = backbone.model(LABELS, pooling, 0.0)
    published = EsmModel.from_pretrained(nt, add_pooling_layer=False).state_dict()
    loaded = dict(model.base_model.state_dict())
    for name, weight in published.items():
        torch.testing.assert_close(loaded[name], weight, msg=name)
    assert model.config.id2label == {0: "Aus bus", 1: "Cus dus", 2: "Eus fus"}
    assert model.config.num_labels == 3
    found = logits(model, backbone.encoder(), SEQUENCES)
    assert found.shape == (4, 3)
    assert torch.isfinite(found).all()


def test_mean_pooling_is_the_mean_over_real_tokens(nt):
    backbone = find_backbone(str(nt))
    model = backbone.model(LABELS, "mean", 0.0)
    ids = torch.tensor([AutoTokenizer.from_pretrained(nt)(SEQUENCES[0])["input_ids"]])
    with torch.inference_mode():
        hidden = EsmModel.from_pretrained(nt).eval()(ids).last_hidden_state.mean(1)
        expected = hidden @ model.classifier.weight.T + model.classifier.bias
    torch.testing.assert_close(logits(model, backbone.encoder(), SEQUENCES[:1]), expected, atol=1e-5, rtol=0)


def test_tokenizer_to_save_gives_the_ids_of_training(nt):
    backbone = find_backbone(str(nt))
    encoder, tokenizer = backbone.encoder(), backbone.saved_tokenizer()
    for sequence in SEQUENCES:
        assert tokenizer(sequence)["input_ids"] == [*encoder.prefix, *encoder.encode([sequence], 0)[0].tolist()]


@pytest.mark.parametrize("pooling", ["mean", "architecture"])
def test_a_sequence_of_the_longest_context_runs(nt, pooling):
    backbone = find_backbone(str(nt))
    found = logits(backbone.model(LABELS, pooling, 0.0), backbone.encoder(), ["ACGTAC" * 999])
    assert torch.isfinite(found).all()


def test_same_seed_same_head(nt):
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        heads.append(find_backbone(str(nt)).model(LABELS, "mean", 0.0).classifier.weight.detach().clone())
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize("kind", KINDS)
def test_generic_backbones_load(generic, kind):
    backbone = find_backbone(str(generic[kind]))
    assert type(backbone) is GenericBackbone
    assert backbone.context == 128
    encoder = backbone.encoder()
    assert (encoder.prefix, encoder.suffix, encoder.pad_id, encoder.frames) == ([1], [2], 3, 1)
    tokenizer = AutoTokenizer.from_pretrained(generic[kind])
    ids = [[1, *row.tolist(), 2] for row in encoder.encode(SEQUENCES, 0)]
    assert ids == tokenizer(SEQUENCES)["input_ids"]
    found = logits(backbone.model(LABELS, "mean", 0.0), encoder, SEQUENCES)
    assert found.shape == (4, 3)
    assert torch.isfinite(found).all()
    assert backbone.lora_targets()


@pytest.mark.parametrize("kind", KINDS)
def test_generic_backbones_load_with_their_own_head(generic, kind):
    backbone = find_backbone(str(generic[kind]))
    model = backbone.model(LABELS, "architecture", 0.0)
    assert model.config.pad_token_id == 3
    assert logits(model, backbone.encoder(), SEQUENCES).shape == (4, 3)


@pytest.mark.parametrize("pooling", ["mean", "last", "architecture"])
@pytest.mark.parametrize("kind", ["nt", "nt-mini", "nt-mini overlapping", "gpt2", "mixtral"])
def test_padding_does_not_change_logits(nt, generic, kind, pooling):
    if pooling == "architecture" and "overlapping" in kind:
        pytest.skip("has no head of its own")
    source = {"nt": nt}.get(kind) or generic.get(kind, "builtin:nt-mini")
    backbone = find_backbone(str(source))
    if source == "builtin:nt-mini":
        backbone = backbone.with_config({**SIZES, "overlapping": "overlapping" in kind})
    model, encoder = backbone.model(LABELS, pooling, 0.0), backbone.encoder()
    alone, padded = (logits(model, encoder, SEQUENCES, width) for width in (None, 110))
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=0)


def test_missing_weights_are_an_error_not_random_numbers(nt, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(nt / "model.safetensors")
    name = next(k for k in weights if k.endswith("self.query.weight"))
    for copied in nt.iterdir():
        (tmp_path / copied.name).write_bytes(copied.read_bytes())
    save_file({k: v for k, v in weights.items() if k != name}, tmp_path / "model.safetensors", {"format": "pt"})
    for pooling in ("mean", "architecture"):
        with pytest.raises(UserError, match=r"lacks 1 weights.*query"):
            find_backbone(str(tmp_path)).model(LABELS, pooling, 0.0)


@pytest.mark.parametrize("pooling", ["mean", "architecture"])
def test_weights_of_another_architecture(generic, tmp_path, pooling):
    """GENA-LM or DNABERT-2 through native BERT: the names differ, transformers only warns."""
    from safetensors.torch import load_file, save_file

    weights = load_file(generic["bert"] / "model.safetensors")
    for copied in generic["bert"].iterdir():
        (tmp_path / copied.name).write_bytes(copied.read_bytes())
    renamed = {k.replace("attention.output.LayerNorm", "pre_attention_ln"): v for k, v in weights.items()}
    save_file(renamed, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="does not fit the architecture 'bert'"):
        find_backbone(str(tmp_path)).model(LABELS, pooling, 0.0)


@pytest.mark.parametrize("pooling", ["mean", "architecture"])
def test_weights_of_other_shapes(nt, tmp_path, pooling):
    """Nucleotide Transformer v2 through native ESM: the feed-forward layer has twice the width."""
    for copied in nt.iterdir():
        (tmp_path / copied.name).write_bytes(copied.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 128}))
    with pytest.raises(UserError):
        find_backbone(str(tmp_path)).model(LABELS, pooling, 0.0)


def test_tokenizer_outside_the_embedding_table(tmp_path):
    write_generic(tmp_path, "bert", vocabulary_size=100)
    with pytest.raises(UserError, match="id 119, outside the model's embedding table of 100"):
        find_backbone(str(tmp_path)).encoder()


def test_kmer_tokenizer_outside_the_embedding_table(tmp_path):
    write_nt(tmp_path, vocab_size=4000)
    with pytest.raises(UserError, match="embedding table"):
        find_backbone(str(tmp_path)).encoder()


def test_tokenizer_that_cannot_pad(generic, tmp_path):
    for copied in generic["gpt2"].iterdir():
        (tmp_path / copied.name).write_bytes(copied.read_bytes())
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings.pop("pad_token")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="padding token"):
        find_backbone(str(tmp_path)).encoder()


def test_architecture_without_known_lora_targets(generic, tmp_path):
    config = json.loads((generic["bert"] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "electra"}))
    with pytest.raises(UserError, match=r"lora\.targets"):
        GenericBackbone(str(tmp_path), None, False).lora_targets()


def test_fused_activation_is_esm_s_own():
    torch.manual_seed(0)
    own, hidden = EsmIntermediate(nt_config()), torch.randn(4, 50, 32) * 5
    with torch.inference_mode():
        expected = own(hidden)
        own.__class__ = FusedIntermediate
        torch.testing.assert_close(own(hidden), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["mean", "architecture"])
def test_adjusted_model_gives_the_logits_of_the_plain_one(nt, tmp_path, pooling):
    backbone = find_backbone(str(nt))
    model = backbone.model(LABELS, pooling, 0.0)
    kinds = [type(m) for m in model.modules()]
    assert FusedIntermediate in kinds
    assert EsmIntermediate not in kinds
    fused = logits(model, backbone.encoder(), SEQUENCES)
    for module in model.modules():
        if type(module) is FusedIntermediate:
            module.__class__ = EsmIntermediate
    plain = logits(model, backbone.encoder(), SEQUENCES)
    np.testing.assert_allclose(fused, plain, atol=1e-5)


def test_folder_without_a_tokenizer(tmp_path, generic):
    """transformers makes up an empty one by the model's type, and every sequence is one unknown token."""
    (tmp_path / "config.json").write_bytes((generic["bert"] / "config.json").read_bytes())
    with pytest.raises(UserError, match="tokenizer"):
        find_backbone(str(tmp_path)).encoder()
