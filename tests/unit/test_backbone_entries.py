"""Published models: tokens as documented, padding without effect, and each tuning trained, saved and restored."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoTokenizer, BertForTokenClassification

from dnatune import tuning
from dnatune.backbones import find_backbone
from dnatune.errors import UserError
from dnatune.prediction import saved_encoder
from dnatune.views import all_views
from miniature_entries import (
    WRITERS,
    write_barcodebert,
    write_entry,
    write_gena_bert,
    write_mistral_codon,
    write_plant_dnagpt_6mer,
)
from miniatures import families, model_settings

LABELS = {"Aus": 0, "Bus": 1}
RECORDS = families(2, 4, 70, seed=2)
SEQUENCES = [RECORDS[0][0], RECORDS[4][0][:41], "ACGTNACGTTACGTA"]
POOLINGS = ("mean", "last", "architecture")
TUNINGS = ("full", "lora", "probe")
# As docs/backbones.md says: LoRA targets, longest input in tokens, reading frames.
DOCUMENTED = {
    "nucleotide-transformer": (["query", "key", "value"], 1000, 6),
    "mistral-dna": (["q_proj", "k_proj", "v_proj", "o_proj"], 256, 1),
    "plant-dnagpt": (["c_attn"], 512, 1),
    "plant-dnagpt-singlebase": (["c_attn"], 512, 1),
    "plant-dnabert-6mer": (["query", "key", "value"], 512, 6),
    "barcodebert": (["query", "key", "value"], 165, 4),
    "moderngena": (["Wqkv", "Wo"], 1024, 1),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of all miniatures, by name."""
    return {name: write_entry(tmp_path_factory.mktemp(name), name) for name in WRITERS}


def token_rows(encoder, sequences, frame=0):
    """Return token ids with special tokens, a list per sequence."""
    return [[*encoder.prefix, *ids.tolist(), *encoder.suffix] for ids in encoder.encode(sequences, frame)]


def batch(encoder, sequences, width=0):
    """Return input_ids and attention_mask, padded to the longest sequence or ``width``."""
    rows = token_rows(encoder, sequences)
    width = max([width, *map(len, rows)])
    ids = [row + [encoder.pad_id] * (width - len(row)) for row in rows]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def logits(model, inputs):
    """Return logits (sequences, labels) without dropout."""
    with torch.inference_mode():
        return model.eval()(**inputs).logits


def six_mers(sequence):
    """Return the Nucleotide Transformer's tokens, read letter by letter."""
    tokens, start = [], 0
    while start < len(sequence):
        piece = sequence[start : start + 6]
        size = 6 if len(piece) == 6 and "N" not in piece else 1
        tokens.append(sequence[start : start + size])
        start += size
    return tokens


@pytest.mark.parametrize("name", WRITERS)
def test_entry_is_as_documented(folders, name):
    backbone = find_backbone(str(folders[name]))
    encoder = backbone.encoder()
    assert (backbone.lora_targets(), encoder.context, encoder.frames) == DOCUMENTED[name]
    assert backbone.pooling == "mean"
    table = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text()
    assert f"| mean | {', '.join(DOCUMENTED[name][0])} |" in table


@pytest.mark.parametrize("name", ["nucleotide-transformer", "plant-dnabert-6mer"])
def test_worked_examples_of_the_six_mer_tokenizer(folders, name):
    encoder = find_backbone(str(folders[name])).encoder()
    vocabulary = (folders[name] / "vocab.txt").read_text().split()
    examples = {
        "ACGTGTACGTGCACGGACGACTAGTCAGCA": "<cls> ACGTGT ACGTGC ACGGAC GACTAG TCAGCA",
        "ACGTGTACNTGCACGGANCGACTAGTCTGA": "<cls> ACGTGT A C N TGCACG G A N CGACTA GTCTGA",
    }
    for sequence, expected in examples.items():
        (row,) = token_rows(encoder, [sequence])
        assert " ".join(vocabulary[i] for i in row) == expected
        assert row == AutoTokenizer.from_pretrained(folders[name])(sequence)["input_ids"]
    shifted = token_rows(encoder, ["ACGTGTACGTGCACGG"], 2)[0][1:]
    assert [vocabulary[i] for i in shifted] == six_mers("GTGTACGTGCACGG")


def test_mistral_dna_reads_every_unknown_letter_as_one_token(folders):
    encoder = find_backbone(str(folders["mistral-dna"])).encoder()
    pairs = {"A": 5, "C": 6, "G": 7, "T": 8, "AA": 9, "TT": 10, "TG": 11, "CA": 12, "CC": 13, "TA": 14, "GG": 15}
    for text, expected in pairs.items():
        assert token_rows(encoder, [text]) == [[1, expected, 2]]
    assert token_rows(encoder, ["AANNNTT"]) == [[1, 9, 0, 0, 0, 10, 2]]


def test_truncation_that_a_tokenizer_was_saved_with_has_no_effect(folders):
    backbone = find_backbone(str(folders["mistral-dna"]))
    (row,) = token_rows(backbone.encoder(), ["ACGT" * 200])
    assert len(row) > 100
    assert row == backbone.saved_tokenizer()("ACGT" * 200)["input_ids"]


def test_plant_dnagpt_pads_with_8001_and_adds_nothing(folders):
    encoder = find_backbone(str(folders["plant-dnagpt"])).encoder()
    vocabulary = json.loads((folders["plant-dnagpt"] / "vocab.json").read_text())
    names = {i: token for token, i in vocabulary.items()}
    assert (encoder.prefix, encoder.suffix, encoder.pad_id, encoder.vocabulary_size) == ([], [], 8001, 8002)
    (row,) = token_rows(encoder, ["ACGGTNNACGATTA"])
    assert "".join(names[i] for i in row) == "ACGGTNNACGATTA"
    assert len(row) < 14


def test_single_bases(folders):
    encoder = find_backbone(str(folders["plant-dnagpt-singlebase"])).encoder()
    assert token_rows(encoder, ["ACGTN"]) == [[3, 4, 6, 7, 5, 8, 9]]


@pytest.mark.parametrize("name", [n for n in WRITERS if n != "barcodebert"])
def test_ids_are_those_of_the_published_tokenizer(folders, name):
    backbone = find_backbone(str(folders[name]))
    rows = token_rows(backbone.encoder(), SEQUENCES)
    assert rows == AutoTokenizer.from_pretrained(folders[name])(SEQUENCES)["input_ids"]
    assert rows == backbone.saved_tokenizer()(SEQUENCES)["input_ids"]


def assert_saved(backbone, folder):
    """Check that the saved tokenizer, alone and in prediction, gives the ids, mask and frames of training."""
    backbone.saved_tokenizer().save_pretrained(folder)
    encoder = backbone.encoder()
    alone = AutoTokenizer.from_pretrained(folder)(SEQUENCES, padding=True, return_tensors="pt")
    for key, value in batch(encoder, SEQUENCES).items():
        assert torch.equal(alone[key], value), key
    named = {"vocabulary_size": encoder.vocabulary_size, "context": encoder.context, "frames": encoder.frames}
    restored = saved_encoder(folder, named)
    assert (restored.frames, restored.pad_id, restored.context) == (encoder.frames, encoder.pad_id, encoder.context)
    for frame in range(encoder.frames):
        assert token_rows(restored, SEQUENCES, frame) == token_rows(encoder, SEQUENCES, frame)


@pytest.mark.parametrize("name", WRITERS)
def test_saved_tokenizer_gives_the_ids_of_training(folders, name, tmp_path):
    assert_saved(find_backbone(str(folders[name])), tmp_path)


def test_six_mers_that_end_with_eos(tmp_path):
    """plant-dnagpt-6mer: the vocabulary of plant-dnabert-6mer, but with an <eos> at the end."""
    folder = write_plant_dnagpt_6mer(tmp_path / "model")
    encoder = find_backbone(str(folder)).encoder()
    assert (encoder.prefix, encoder.suffix, encoder.frames) == ([3], [4105], 6)
    assert token_rows(encoder, SEQUENCES) == AutoTokenizer.from_pretrained(folder)(SEQUENCES)["input_ids"]
    assert_saved(find_backbone(str(folder)), tmp_path / "saved")


@pytest.mark.parametrize("k", [3, 4, 7])
def test_barcodebert_tokens(tmp_path, k):
    """As the authors cut them: from base 0, side by side, padded with N to 660; a mask over whole k-mers."""
    backbone = find_backbone(str(write_barcodebert(tmp_path, k)))
    encoder, tokenizer = backbone.encoder(), backbone.saved_tokenizer()
    tokens = ["[MASK]", "[UNK]", *("".join(p) for p in itertools.product("ACGT", repeat=k))]
    number = {token: i for i, token in enumerate(tokens)}
    assert (len(tokens), encoder.frames, encoder.context) == (4**k + 2, k, 660 // k)
    for sequence in [*SEQUENCES, "ACGT" * 164 + "AC"]:
        padded = sequence + "N" * (660 - len(sequence))
        kmers = [padded[i : i + k] for i in range(0, 660 - k + 1, k)]
        expected = [number[kmer] if "N" not in kmer else 1 for kmer in kmers]
        mask = [int(i < len(sequence) // k) for i in range(660 // k)]
        inputs = batch(encoder, [sequence], 660 // k)
        assert inputs["input_ids"].tolist() == [expected]
        assert inputs["attention_mask"].tolist() == [mask]
        assert tokenizer(sequence)["input_ids"] == token_rows(encoder, [sequence])[0]
    assert token_rows(encoder, [SEQUENCES[0]], 2) == token_rows(encoder, [SEQUENCES[0][2:]])


def test_barcodebert_with_ids_for_kmers_with_n(tmp_path):
    from transformers import BertConfig

    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertForTokenClassification(BertConfig(**small, vocab_size=2 + 5**3)).save_pretrained(tmp_path)
    kmers = ["".join(p) for p in itertools.product("ACGTN", repeat=3)]
    tokens = ["[MASK]", "[UNK]", *(k for k in kmers if "N" not in k), *(k for k in kmers if "N" in k)]
    (row,) = token_rows(find_backbone(str(tmp_path)).encoder(), ["ACGANTNNN"])
    assert row == [tokens.index("ACG"), tokens.index("ANT"), tokens.index("NNN")]


def test_barcodebert_embedding_is_the_authors_masked_mean(folders):
    model = find_backbone(str(folders["barcodebert"])).model(LABELS, "mean", 0.0).eval()
    inputs = batch(find_backbone(str(folders["barcodebert"])).encoder(), SEQUENCES, 165)
    authors = BertForTokenClassification.from_pretrained(folders["barcodebert"]).eval()
    with torch.inference_mode():
        hidden = authors(**inputs).hidden_states[-1]
        mask = inputs["attention_mask"].unsqueeze(-1)
        torch.testing.assert_close(model.embed(**inputs), (hidden * mask).sum(1) / mask.sum(1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["cls", "architecture"])
def test_barcodebert_has_no_cls(folders, pooling):
    with pytest.raises(UserError, match=r"no \[CLS\] token"):
        find_backbone(str(folders["barcodebert"])).model(LABELS, pooling, 0.0)


def test_a_bert_with_a_tokenizer_of_its_own_is_no_barcodebert(tmp_path, folders):
    write_barcodebert(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"ACGT"]))
    assert type(find_backbone(str(tmp_path))).__name__ == "GenericBackbone"


def test_a_sequence_shorter_than_a_token(folders):
    from dnatune.inputs import TokenInputs
    from dnatune.tokens import TokenSettings, TokenTable

    backbone = find_backbone(str(folders["barcodebert"]))
    encoder = backbone.encoder()
    table = TokenTable.of_sequences(["AC", "ACGTA"], encoder, TokenSettings(165, None, all_views(4)))
    model = backbone.model(LABELS, "mean", 0.0)
    for rows in ([0], [0, 4], [7]):
        assert torch.isfinite(logits(model, TokenInputs(table, encoder.pad_id).batch(rows))).all()


@pytest.mark.parametrize(
    ("name", "pooling"),
    [pair for pair in itertools.product(WRITERS, POOLINGS) if pair != ("barcodebert", "architecture")],
)
def test_padding_does_not_change_logits(folders, name, pooling):
    backbone = find_backbone(str(folders[name]))
    model, encoder = backbone.model(LABELS, pooling, 0.0), backbone.encoder()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter *= 5  # fresh weights are so small that attention hardly looks at anything
    alone = torch.cat([logits(model, batch(encoder, [sequence])) for sequence in SEQUENCES])
    together = logits(model, batch(encoder, SEQUENCES, 120))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert alone.std(0).min() > 1e-3


@pytest.mark.parametrize("pooling", ["mean", "architecture"])
def test_loss_of_a_mixture_of_experts_is_cross_entropy_alone(folders, tmp_path, pooling):
    for path in folders["mistral-dna"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "output_router_logits": True}))
    backbone = find_backbone(str(tmp_path))
    model, labels = backbone.model(LABELS, pooling, 0.0).eval(), torch.tensor([0, 1, 1])
    with torch.inference_mode():
        found = model(**batch(backbone.encoder(), SEQUENCES), labels=labels)
    torch.testing.assert_close(found.loss, nn.functional.cross_entropy(found.logits, labels))


def test_experts_of_an_older_checkpoint_are_fused(folders):
    """The published file has one tensor per expert; the model of transformers 5 has them in one."""
    from safetensors.torch import load_file

    stored = load_file(folders["mistral-dna"] / "model.safetensors")
    expert = "model.layers.0.block_sparse_moe.experts.3.w2.weight"
    model = find_backbone(str(folders["mistral-dna"])).model(LABELS, "mean", 0.0)
    torch.testing.assert_close(model.state_dict()["backbone.layers.0.mlp.experts.down_proj"][3], stored[expert])


def test_padding_id_outside_the_embedding_table(tmp_path):
    write_mistral_codon(tmp_path)
    with pytest.raises(UserError, match="pad_token_id 69, outside its embedding table of 69"):
        find_backbone(str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "pad_token_id": 67}))
    with pytest.raises(UserError, match="tokenizer"):  # it reads codons between blanks, and pads with an id of its own
        find_backbone(str(tmp_path)).encoder()


@pytest.mark.parametrize("pooling", ["mean", "architecture"])
def test_gena_lm_through_plain_bert(tmp_path, pooling):
    write_gena_bert(tmp_path)
    with pytest.raises(UserError, match=r"does not fit the architecture 'bert'.*LayerNorm"):
        find_backbone(str(tmp_path)).model(LABELS, pooling, 0.0)


@pytest.mark.parametrize("name", WRITERS)
def test_lora_target_that_matches_nothing(folders, name):
    settings = model_settings(backbone=str(folders[name]), tuning="lora", lora={"targets": ["gate_project"]})
    with pytest.raises(UserError, match=r"no layer of .* is named 'gate_project'"):
        tuning.build(settings, LABELS, 0)


def trained(model, inputs, labels):
    """Train on one batch; return the losses of the steps."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 3e-3)
    model.eval()  # without dropout, so that the loss may only fall
    losses = []
    for _ in range(5):
        loss = nn.functional.cross_entropy(model(**inputs).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.fixture(scope="module")
def runs(folders, tmp_path_factory):
    """Every entry with every tuning: losses in training, logits of the trained model, and where it was saved."""
    found = {}
    for name, kind in itertools.product(WRITERS, TUNINGS):
        settings = model_settings(backbone=str(folders[name]), tuning=kind, pooling="mean")
        inputs = batch(tuning.backbone_of(settings).encoder(), [sequence for sequence, _ in RECORDS])
        labels = torch.tensor([label for _, label in RECORDS])
        base = tuning.base_model(settings, LABELS, 0).eval()
        if kind == "probe":
            with torch.no_grad():
                given = {"embeddings": base.embed(**inputs)}
            model = tuning.build(settings, LABELS, 0, given["embeddings"].shape[1])
        else:
            given, model = inputs, tuning.build(settings, LABELS, 0)
        losses = trained(model, given, labels)
        folder = tmp_path_factory.mktemp("saved")
        tuning.save(model, folder, kind)
        written = {"folder": str(folder), "settings": settings, "inputs": {k: v.tolist() for k, v in inputs.items()}}
        found[name, kind] = (losses, logits(model, given).numpy(), written)
    return found


@pytest.mark.parametrize("kind", TUNINGS)
@pytest.mark.parametrize("name", WRITERS)
def test_loss_falls(runs, name, kind):
    losses, _, _ = runs[name, kind]
    assert losses[-1] < losses[0]


RESTORE = """
import json, sys
import torch
from pathlib import Path
from dnatune import tuning

found = []
for run in json.load(open(sys.argv[1])):
    model = tuning.restore(Path(run["folder"]), run["settings"], {"Aus": 0, "Bus": 1}, 7).eval()
    with torch.inference_mode():
        found.append(model(**{k: torch.tensor(v) for k, v in run["inputs"].items()}).logits.tolist())
json.dump(found, open(sys.argv[2], "w"))
"""


def test_a_new_process_gives_the_same_logits(runs, tmp_path):
    (tmp_path / "runs.json").write_text(json.dumps([written for _, _, written in runs.values()]))
    arguments = [str(tmp_path / "runs.json"), str(tmp_path / "logits.json")]
    scripts = Path(__file__).parents[2] / "scripts"
    subprocess.run([sys.executable, "-c", RESTORE, *arguments], check=True, cwd=scripts, capture_output=True)
    restored = json.loads((tmp_path / "logits.json").read_text())
    for (run, (_, expected, _)), found in zip(runs.items(), restored, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=str(run))
