"""Architectures that transformers lacks: our classes load published checkpoints and give the published numbers."""

import json
import shutil

import pytest
import torch
from conftest import SHARED_DATA
from safetensors.torch import load_file
from transformers import AutoTokenizer

from dnatune.backbones import check_backbone, find_backbone
from dnatune.backbones.aido_dna import AidoDna, letter_tokenizer
from dnatune.backbones.dnabert2 import DNABert2
from dnatune.backbones.generic import GenericBackbone
from dnatune.backbones.modeling_dnabert2 import DNABert2Config, DNABert2Model, alibi_slopes
from dnatune.backbones.modeling_gated_esm import GatedEsmConfig, GatedEsmModel
from dnatune.backbones.modeling_rnabert import RNABertConfig, RNABertForSequenceClassification, RNABertModel
from dnatune.backbones.nucleotide_transformer_v2 import NucleotideTransformerV2
from dnatune.errors import UserError
from miniatures import families
from native_forwards import FORWARDS, affine
from native_miniatures import (
    WRITERS,
    aido_shapes,
    dnabert2_shapes,
    nt_v2_shapes,
    save,
    weights_of,
    write_aido,
    write_dnabert2,
    write_nt_v2,
)

LABELS = {"Aus bus": 0, "Cus dus": 1, "Eus fus": 2}
SEQUENCES = [s for s, _ in families(3, 1, 90)] + ["ACGTNACGTACGTA"]
ENTRIES = {"aido": AidoDna, "aido_rms": AidoDna, "nt_v2": NucleotideTransformerV2, "dnabert2": DNABert2}
SHAPES = {
    "aido": aido_shapes("LayerNorm", True),
    "aido_rms": aido_shapes("RMSNorm", False),
    "nt_v2": nt_v2_shapes(),
    "dnabert2": dnabert2_shapes(),
}
KINDS = tuple(WRITERS)
POOLINGS = ("mean", "architecture")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of published checkpoints in small, by kind."""
    return {kind: write(tmp_path_factory.mktemp(kind)) for kind, write in WRITERS.items()}


def copy(folder, target, **changes):
    """Copy a checkpoint and change its config.json; None takes a key out."""
    shutil.copytree(folder, target, dirs_exist_ok=True)
    config = {**json.loads((target / "config.json").read_text()), **changes}
    (target / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return target


def rows(backbone, sequences=SEQUENCES):
    """Return the ids of each sequence with its special tokens."""
    encoder = backbone.encoder()
    return [[*encoder.prefix, *ids.tolist(), *encoder.suffix] for ids in encoder.encode(sequences, 0)]


def batch(backbone, extra=0):
    """Return ids and mask of all sequences, padded to the longest and ``extra`` tokens more."""
    found, pad = rows(backbone), backbone.encoder().pad_id
    width = max(map(len, found)) + extra
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in found])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in found])
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_published_weights_are_in_the_model(folders, kind, pooling):
    backbone = find_backbone(str(folders[kind]))
    assert type(backbone) is ENTRIES[kind]
    loaded = backbone.model(LABELS, pooling, 0.0).base_model.state_dict()
    published = weights_of(SHAPES[kind])
    prefix = "esm." if kind == "nt_v2" else "bert."
    encoder = {k.removeprefix(prefix): v for k, v in published.items() if k.startswith(f"{prefix}e")}
    encoder = {k: v for k, v in encoder.items() if "inv_freq" not in k and "position" not in k}
    assert len(encoder) > 15
    for name, weight in encoder.items():
        assert torch.equal(loaded.pop(name), weight), name
    # What is left is a part of the head that no language model has.
    assert set(loaded) <= {"pooler.dense.weight", "pooler.dense.bias"}


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_are_those_of_the_published_function(folders, kind):
    backbone = find_backbone(str(folders[kind]))
    model, weights = backbone.model(LABELS, "mean", 0.0).eval(), weights_of(SHAPES[kind])
    with torch.inference_mode():
        found = model.backbone(**batch(backbone, extra=3)).last_hidden_state
        for row, hidden in zip(rows(backbone), found, strict=True):
            expected = FORWARDS[kind](weights, torch.tensor(row))
            torch.testing.assert_close(hidden[: len(row)], expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_published_heads(folders, kind):
    backbone = find_backbone(str(folders[kind]))
    model, weights = backbone.model(LABELS, "architecture", 0.0).eval(), weights_of(SHAPES[kind])
    with torch.inference_mode():
        logits = model(**batch(backbone)).logits
        first = torch.stack([FORWARDS[kind](weights, torch.tensor(row))[0] for row in rows(backbone)])
        layer, last = ("bert.pooler.dense", "classifier") if kind == "dnabert2" else ("classifier.dense",) * 2
        head = model.state_dict()
        expected = affine(head, last.replace("dense", "out_proj"), torch.tanh(affine(head, layer, first)))
    torch.testing.assert_close(logits, expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("hidden", "narrow"), [(64, 64), (128, 128), (256, 128), (2048, 512)])
def test_the_head_of_aido_narrows_as_published(hidden, narrow):
    config = RNABertConfig(hidden_size=hidden, num_hidden_layers=1, intermediate_size=8)
    with torch.device("meta"):
        assert RNABertForSequenceClassification(config).classifier.dense.weight.shape == (narrow, hidden)


@pytest.mark.parametrize("name", ["layernorm_bias", "rmsnorm_nobias"])
def test_aido_gives_the_numbers_of_the_reference_implementation(name):
    path = SHARED_DATA / "rnabert_reference" / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip("the reference numbers of ../shared/data are not here")
    tensors = load_file(path)
    config = RNABertConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=160,
        max_position_embeddings=128,
        normalization_type="LayerNorm" if name == "layernorm_bias" else "RMSNorm",
        add_linear_bias=name == "layernorm_bias",
        num_labels=3,
    )
    model = RNABertForSequenceClassification(config).eval()
    state = {k.removeprefix("state."): v for k, v in tensors.items() if k.startswith("state.")}
    model.load_state_dict(state, strict=True)
    inputs = {k: tensors[k] for k in ("input_ids", "attention_mask")}
    real = tensors["attention_mask"].bool()
    assert not real.all()
    with torch.inference_mode():
        hidden, logits = model.bert(**inputs).last_hidden_state, model(**inputs).logits
    torch.testing.assert_close(hidden[real], tensors["last_hidden_state"][real], atol=1e-5, rtol=0)
    torch.testing.assert_close(logits, tensors["logits"], atol=1e-5, rtol=0)


def test_aido_pools_the_mean_where_its_configuration_says_so(folders, tmp_path):
    backbone = find_backbone(str(copy(folders["aido"], tmp_path, classifier_pooling="mean_pooling")))
    model, weights = backbone.model(LABELS, "architecture", 0.0).eval(), weights_of(SHAPES["aido"])
    with torch.inference_mode():
        mean = torch.stack([FORWARDS["aido"](weights, torch.tensor(row)).mean(0) for row in rows(backbone)])
        head = model.state_dict()
        expected = affine(head, "classifier.out_proj", torch.tanh(affine(head, "classifier.dense", mean)))
        torch.testing.assert_close(model(**batch(backbone)).logits, expected, atol=2e-5, rtol=1e-5)


def test_twelve_heads_have_eight_slopes_and_four_between():
    expected = [2**-i for i in range(1, 9)] + [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]
    assert alibi_slopes(12) == pytest.approx(expected)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "architecture"])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_does_not_change_logits(folders, kind, pooling):
    backbone = find_backbone(str(folders[kind]))
    model = backbone.model(LABELS, pooling, 0.0).eval()
    with torch.inference_mode():
        alone = torch.cat([model(input_ids=torch.tensor([r]), attention_mask=None).logits for r in rows(backbone)])
        for extra in (0, 17):
            torch.testing.assert_close(model(**batch(backbone, extra)).logits, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_gives_nearly_the_same(folders, kind):
    backbone = find_backbone(str(folders[kind]))
    model, inputs = backbone.model(LABELS, "mean", 0.0).eval(), batch(backbone, extra=5)
    with torch.inference_mode():
        whole = model(**inputs).logits
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(**inputs).logits
        half = model.to(torch.bfloat16)(**inputs).logits
    assert (mixed.dtype, half.dtype) == (torch.bfloat16, torch.bfloat16)
    for found in (mixed, half):
        torch.testing.assert_close(found.float(), whole, atol=0.02, rtol=0)
        assert not torch.equal(found.float(), whole)


def test_aido_ids(folders):
    tokenizer = letter_tokenizer(4000)
    ids = {"A": 5, "G": 6, "C": 7, "T": 8, "U": 9, "N": 10}
    assert tokenizer("ACGTNU")["input_ids"] == [2, *(ids[letter] for letter in "ACGTNU"), 3]
    assert tokenizer("acgt")["input_ids"] == [2, 4, 3]
    assert tokenizer("ARYG")["input_ids"] == [2, 5, 4, 6, 3]
    special = tokenizer.convert_tokens_to_ids(["[PAD]", "[MASK]", "[CLS]", "[SEP]", "[UNK]", "[BOS]", "[EOS]"])
    assert special == [0, 1, 2, 3, 4, 11, 12]
    assert (len(tokenizer), tokenizer.pad_token_id, tokenizer.model_max_length) == (16, 0, 4000)
    backbone = find_backbone(str(folders["aido"]))
    assert rows(backbone) == tokenizer(SEQUENCES)["input_ids"]
    assert backbone.encoder().encode(["ACGTN"], 2)[0].tolist() == [6, 8, 10]


@pytest.mark.parametrize(
    ("sequence", "tokens"),
    [
        ("ACGTGTACGTGCACGGACGACTAGTCAGCA", "ACGTGT ACGTGC ACGGAC GACTAG TCAGCA"),
        ("ACGTGTACNTGCACGGANCGACTAGTCTGA", "ACGTGT A C N TGCACG G A N CGACTA GTCTGA"),
    ],
)
def test_nt_v2_ids(folders, sequence, tokens):
    backbone = find_backbone(str(folders["nt_v2"]))
    # Six special tokens, then the 6-mers counted in the order A, T, C, G.
    number = {"A": 4102, "T": 4103, "C": 4104, "G": 4105, "N": 4106}
    expected = [
        number[t] if len(t) == 1 else 6 + sum("ATCG".index(c) * 4 ** (5 - i) for i, c in enumerate(t))
        for t in tokens.split()
    ]
    assert rows(backbone, [sequence]) == [[3, *expected]]
    assert backbone.saved_tokenizer()(sequence)["input_ids"] == [3, *expected]
    published = AutoTokenizer.from_pretrained(folders["nt_v2"])
    assert published.convert_ids_to_tokens([3, *expected]) == ["<cls>", *tokens.split()]
    assert (backbone.context, backbone.encoder().frames, backbone.encoder().pad_id) == (2048, 6, 1)


def test_dnabert2_ids(folders):
    backbone = find_backbone(str(folders["dnabert2"]))
    table = json.loads((folders["dnabert2"] / "tokenizer.json").read_text())["model"]["vocab"]
    (row,) = rows(backbone, SEQUENCES[:1])
    assert (row[0], row[-1], backbone.encoder().pad_id, backbone.context) == (1, 2, 3, 512)
    names = {i: token for token, i in table.items()}
    assert "".join(names[i] for i in row[1:-1]) == SEQUENCES[0]
    assert rows(backbone, ["ANA"]) == [[1, table["A"], 0, table["A"], 2]]
    assert backbone.saved_tokenizer()(SEQUENCES[0])["input_ids"] == row


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_of_weights_gives_the_same_model(folders, kind, tmp_path):
    states = []
    for form in ("safetensors", "sharded-safetensors", "bin", "sharded-bin"):
        folder = WRITERS[kind](tmp_path / form, form=form)
        check_backbone(
            "m", {"backbone": str(folder), "revision": None, "trust_remote_code": False, "backbone_config": {}}
        )
        states.append(find_backbone(str(folder)).model(LABELS, "mean", 0.0).backbone.state_dict())
    assert all(torch.equal(states[0][name], other[name]) for other in states[1:] for name in states[0])


class Trace:
    """A pickle that would run code."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    write_aido(tmp_path)
    for file in tmp_path.glob("*.bin*"):
        file.unlink()
    torch.save({"a": Trace(tmp_path / "was_run")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="more than tensors"):
        find_backbone(str(tmp_path)).model(LABELS, "mean", 0.0)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_missing_or_unexpected_is_an_error(folders, kind, pooling, tmp_path):
    weights = weights_of(SHAPES[kind])
    name = next(n for n in weights if n.endswith(("value.weight", "Wqkv.weight")))
    for what, changed in (
        ("lacks 1 weights", {k: v for k, v in weights.items() if k != name}),
        ("has unexpected 1 weights", {**weights, name.replace("weight", "gamma_2"): weights[name].clone()}),
    ):
        folder = copy(folders[kind], tmp_path / what.split()[0])
        for file in [*folder.glob("*.bin*"), *folder.glob("*.safetensors*")]:
            file.unlink()
        with pytest.raises(UserError, match=what):
            find_backbone(str(save(folder, changed, "safetensors"))).model(LABELS, pooling, 0.0)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_dnabert2_weights_in_a_plain_bert_are_refused_in_one_sentence(tmp_path, pooling):
    write_dnabert2(tmp_path, alibi_starting_size="absent", auto_map="absent", intermediate_size=64)
    backbone = find_backbone(str(tmp_path))
    assert type(backbone) is GenericBackbone
    with pytest.raises(UserError, match=r"does not fit the architecture 'bert'.*lacks.*random numbers") as caught:
        backbone.model(LABELS, pooling, 0.0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "kept"),
    [("dnabert2", {"auto_map": None}), ("dnabert2", {"alibi_starting_size": None}), ("nt_v2", {"auto_map": None})],
)
def test_one_sign_is_enough_to_recognise_a_checkpoint(folders, tmp_path, kind, kept):
    backbone = find_backbone(str(copy(folders[kind], tmp_path, **kept)))
    assert type(backbone) is ENTRIES[kind]
    assert backbone.context in (512, 2048)
    backbone.model(LABELS, "mean", 0.0)


@pytest.mark.parametrize("kind", ["nt_v2", "dnabert2"])
def test_published_code_is_never_run(folders, kind):
    backbone = find_backbone(str(folders[kind]), None, trust_remote_code=True)
    assert type(backbone) is ENTRIES[kind]
    backbone.model(LABELS, "architecture", 0.0)
    backbone.encoder()
    assert not (folders[kind] / "was_run").exists()
    assert not hasattr(backbone.config, "auto_map")


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("aido", {"hidden_act": "gelu"}),
        ("aido", {"rotary_percent": 0.5}),
        ("aido", {"position_embedding_type": "absolute"}),
        ("aido", {"seq_len_interpolation_factor": 2.0}),
        ("aido", {"normalization_type": "BatchNorm"}),
        ("nt_v2", {"position_embedding_type": "absolute"}),
        ("nt_v2", {"token_dropout": True}),
        ("nt_v2", {"emb_layer_norm_before": True}),
    ],
)
def test_a_variant_that_is_not_known_is_refused(folders, tmp_path, kind, change):
    with pytest.raises(UserError, match=next(iter(change))):
        find_backbone(str(copy(folders[kind], tmp_path, **change))).model(LABELS, "mean", 0.0)


def test_nt_v2_without_its_vocabulary(tmp_path):
    write_nt_v2(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(UserError, match=r"vocab\.txt"):
        find_backbone(str(tmp_path)).encoder()


# What the model cards say of the encoders at full size, in millions.
FULL_SIZE = {
    "AIDO.DNA-300M": (RNABertModel, RNABertConfig(intermediate_size=2688, normalization_type="LayerNorm"), (295, 310)),
    "AIDO.DNA-7B": (
        RNABertModel,
        RNABertConfig(
            hidden_size=4352,
            num_hidden_layers=32,
            num_attention_heads=32,
            intermediate_size=11584,
            normalization_type="LayerNorm",
        ),
        (6900, 7300),
    ),
    "NTv2-500M": (
        GatedEsmModel,
        GatedEsmConfig(hidden_size=1024, num_hidden_layers=29, num_attention_heads=16, intermediate_size=4096),
        (480, 500),
    ),
    "DNABERT-2-117M": (DNABert2Model, DNABert2Config(), (116, 118)),
}


@pytest.mark.parametrize("name", FULL_SIZE)
def test_full_size_has_the_parameters_of_the_card(name):
    kind, config, (low, high) = FULL_SIZE[name]
    with torch.device("meta"):
        count = sum(p.numel() for p in kind(config).parameters())
    assert low < count / 1e6 < high, f"{count:,}"
