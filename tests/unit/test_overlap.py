"""Overlapping k-mers: one token per base, and the embedding of the k-mer around it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from dnatune import tuning
from dnatune.backbones.kmer_tokenizer import BaseTokens, KmerTokens, array_encoder, rust_base_tokenizer
from dnatune.backbones.modeling_overlap import kmer_ids
from dnatune.errors import UserError
from dnatune.files import write_json
from dnatune.kmer_encoding import vocabulary
from dnatune.prediction import saved_encoder
from miniatures import SIZES, model_settings
from small_fold import LABEL_IDS, assert_same, fit, tokens_for

ENCODER = BaseTokens(1000)
RUST = rust_base_tokenizer(1000)
OVERLAP = {**SIZES, "k": 4, "overlapping": True}


def test_worked_ids():
    assert ENCODER.encode(["GATTACAN"], 0)[0].tolist() == [7, 4, 5, 5, 4, 6, 4, 8]
    assert RUST("GATTACAN")["input_ids"] == [3, 7, 4, 5, 5, 4, 6, 4, 8]
    assert RUST("AxxYA")["input_ids"] == [3, 4, 0, 0, 0, 4]


@given(st.text(alphabet="ACGTN", max_size=80))
def test_rust_and_array_encoders_agree(sequence):
    ids = ENCODER.encode([sequence], 0)[0].tolist()
    assert RUST(sequence)["input_ids"] == [*ENCODER.prefix, *ids, *ENCODER.suffix]
    assert len(ids) == len(sequence)


@pytest.mark.parametrize("letter", ["a", "R", "-"])
def test_other_letters_are_refused(letter):
    with pytest.raises(ValueError):
        ENCODER.encode(["ACG" + letter], 0)


def spelled(sequence, k):
    """Ids of the k-mers centred on each base, by strings: a table lookup, 4**k for what is no k-mer."""
    table = {kmer: i for i, kmer in enumerate(vocabulary(k, ())[: 4**k])}
    before, framed = (k - 1) // 2, "-" * k + sequence + "-" * k
    return [table.get(framed[k + i - before : 2 * k + i - before], 4**k) for i in range(len(sequence))]


def test_kmer_ids_by_hand():
    # <cls> A T C G N A: 3-mers centred on T and C are ATC and TCG; A 0, T 1, C 2, G 3.
    found = kmer_ids(torch.tensor([[3, 4, 5, 6, 7, 8, 4]]), 3, 4)
    assert found.tolist() == [[64, 64, 0 * 16 + 1 * 4 + 2, 1 * 16 + 2 * 4 + 3, 64, 64, 64]]


@given(st.text(alphabet="ACGTN", min_size=1, max_size=40), st.integers(1, 6), st.integers(0, 7))
def test_kmer_ids_of_any_sequence(sequence, k, padding):
    row = [3, *ENCODER.encode([sequence], 0)[0].tolist(), *[1] * padding]
    found = kmer_ids(torch.tensor([row]), k, 4)[0].tolist()
    assert found == [4**k, *spelled(sequence, k), *[4**k] * padding]


def test_the_embedding_of_a_base_is_its_own_plus_that_of_its_kmer():
    model = tuning.base_model(model_settings(backbone_config=OVERLAP), LABEL_IDS, 0)
    embeddings = model.backbone.embeddings
    ids = torch.tensor([[3, 7, 4, 5, 5, 4, 6, 4]])
    found = embeddings(input_ids=ids, attention_mask=torch.ones_like(ids))
    kmers = torch.tensor([4**4, *spelled("GATTACA", 4)])
    expected = embeddings.word_embeddings.weight[ids[0]] + embeddings.kmer_embeddings.weight[kmers]
    torch.testing.assert_close(found[0], expected)
    assert embeddings.kmer_embeddings.num_embeddings == 257


@pytest.mark.parametrize("changed", [0, 3, 11])
def test_every_base_counts_also_at_the_ends(changed):
    model = tuning.base_model(model_settings(backbone_config=OVERLAP), LABEL_IDS, 0).eval()
    sequence = list("ACGTACGTACGT")
    rows = [ENCODER.encode(["".join(sequence)], 0)[0]]
    sequence[changed] = "G" if sequence[changed] != "G" else "A"
    rows.append(ENCODER.encode(["".join(sequence)], 0)[0])
    ids = torch.tensor(np.array([[3, *row] for row in rows]))
    with torch.inference_mode():
        one, two = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    assert (one - two).abs().max() > 1e-5


def test_vocabularies_find_their_encoder():
    for k in (2, 4, 6):
        encoder = array_encoder(vocabulary(k), 50)
        assert (type(encoder), encoder.frames, encoder.context) == (KmerTokens, k, 50)
    assert type(array_encoder(["<unk>", "<pad>", "<mask>", "<cls>", *"ATCGN"], 50)) is BaseTokens
    assert array_encoder(["<unk>", "<pad>", "AAA", "C"], 50) is None
    assert array_encoder([], 50) is None


@pytest.mark.parametrize("kmers", [{"k": 4, "overlapping": True}, {"k": 3}, {}])
def test_a_saved_tokenizer_gives_the_encoder_of_its_model(tmp_path, kmers):
    backbone = tuning.backbone_of(model_settings(backbone_config={**SIZES, **kmers}))
    backbone.saved_tokenizer().save_pretrained(tmp_path)
    write_json(tmp_path / "config.json", {"model_type": "esm"})
    encoder, saved = (
        backbone.encoder(),
        saved_encoder(tmp_path, {"context": 1000, "vocabulary_size": 5000, "frames": 1}),
    )
    assert type(saved) is type(encoder)
    sequence = "ACGTTGCANNACGATCGATTACAG"
    assert saved.encode([sequence], 0)[0].tolist() == encoder.encode([sequence], 0)[0].tolist()
    rust = AutoTokenizer.from_pretrained(tmp_path)
    assert rust(sequence)["input_ids"] == [3, *encoder.encode([sequence], 0)[0].tolist()]
    assert rust.model_max_length == 1000


def test_it_learns_and_does_so_again(tmp_path):
    """Both strands, dropout: the same seed gives the same numbers."""
    settings = model_settings(
        {"epochs": 3}, backbone_config={**OVERLAP, "hidden_dropout_prob": 0.1}, tokens={"random_strand": True}
    )
    inputs = tokens_for(settings)
    assert (inputs.table.frames, len(inputs.table.views)) == (1, 2)
    whole = fit(tmp_path / "whole", settings, inputs)
    again = fit(tmp_path / "again", settings, inputs)
    assert_same(whole, again)
    losses = whole[0].history["train_loss"]
    assert losses.iloc[-1] < losses.iloc[0]


def test_k_and_overlapping_are_no_sizes_of_the_model():
    plain = tuning.backbone_of(model_settings(backbone_config={"k": 4}))
    assert (plain.config.vocab_size, plain.encoder().frames) == (4 + 256 + 5, 4)
    assert tuning.backbone_of(model_settings(backbone_config={"overlapping": True})).config.kmer_length == 6
    with pytest.raises(UserError, match="overlaping"):
        tuning.backbone_of(model_settings(backbone_config={"overlaping": True}))


STEM = {**OVERLAP, "stem_kernel": 5, "stem_pooling": 4}


def stem_by_hand(stem, embeddings):
    """What the stem gives for one sequence (tokens, hidden), position by position."""
    x = torch.nn.functional.layer_norm(embeddings, embeddings.shape[1:], stem.before.weight, stem.before.bias, 1e-12)
    x = torch.cat([torch.zeros(2, x.shape[1]), x, torch.zeros(2, x.shape[1])])
    found = []
    for i in range(len(embeddings)):
        windows = x[i : i + 5].T  # (hidden, 5)
        found.append((stem.convolution.weight * windows).sum((1, 2)) + stem.convolution.bias)
    found = torch.nn.functional.gelu(torch.stack(found))
    largest = torch.stack([found[i : i + 4].amax(0) for i in range(0, len(found), 4)])
    after = (stem.after.weight, stem.after.bias, 1e-12)
    return tuple(torch.nn.functional.layer_norm(part, part.shape[1:], *after) for part in (found, largest))


def test_the_stem_by_hand():
    torch.manual_seed(0)
    model = tuning.base_model(model_settings(backbone_config=STEM), LABEL_IDS, 0).eval()
    embeddings = torch.randn(10, SIZES["hidden_size"])
    with torch.inference_mode():
        each, largest, mask = model.backbone.stem(embeddings[None], None)
        expected = stem_by_hand(model.backbone.stem, embeddings)
    torch.testing.assert_close(each[0], expected[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(largest[0], expected[1], atol=1e-5, rtol=0)
    assert mask.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("padding", [1, 3, 4, 9])
def test_padding_is_nothing_to_a_model_with_a_stem(padding):
    model = tuning.base_model(model_settings(backbone_config=STEM), LABEL_IDS, 0).eval()
    ids = torch.tensor([[3, *ENCODER.encode(["ACGTTGCANGATTACA"], 0)[0].tolist()]])
    padded = torch.nn.functional.pad(ids, (0, padding), value=1)
    with torch.inference_mode():
        alone = model.backbone(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        beside = model.backbone(input_ids=padded, attention_mask=(padded != 1).long()).last_hidden_state
    assert alone.shape == (1, 17, SIZES["hidden_size"])
    torch.testing.assert_close(beside[:, :17], alone, atol=1e-5, rtol=0)


def test_a_model_with_a_stem_learns_and_is_restored(tmp_path):
    settings = model_settings({"epochs": 3}, backbone_config=STEM)
    trained, _, _ = fit(tmp_path, settings, tokens := tokens_for(settings))
    losses = trained.history["train_loss"]
    assert losses.iloc[-1] < losses.iloc[0]
    tuning.save(trained.model, tmp_path / "w", "full")
    restored = tuning.restore(tmp_path / "w", settings, LABEL_IDS, 0).eval()
    with torch.inference_mode():
        expected = trained.model.eval()(**tokens.batch([0, 7])).logits
        torch.testing.assert_close(restored(**tokens.batch([0, 7])).logits, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"overlapping": True, "stem_kernel": 4}, "odd"),
        ({"overlapping": True, "stem_kernel": -1}, "from 0"),
        ({"overlapping": True, "stem_kernel": 5, "stem_pooling": 0}, "from 1"),
        ({"overlapping": True, "stem_pooling": 2}, "add stem_kernel"),
        ({"stem_kernel": 5}, "add overlapping: true"),
    ],
)
def test_stems_that_cannot_be(wrong, words):
    with pytest.raises(UserError, match=words):
        tuning.backbone_of(model_settings(backbone_config=wrong))
