"""The fast tokenizers give the ids of the real EsmTokenizer, on real and on hostile sequences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnatune.backbones.kmer_tokenizer import KmerTokens, is_kmer_vocabulary, rust_tokenizer
from dnatune.kmer_encoding import KmerEncoder, vocabulary
from miniatures import nt_vocabulary, write_nt_tokenizer

RNG = np.random.default_rng(1)
HOSTILE = {
    "one N": "N",
    "run of N": "NNNNNNNNNNNN",
    "one base": "G",
    "shorter than k": "ACGTA",
    "exactly k": "ACGTAC",
    "leftovers": "ACGTACGTACG",
    "N at the start": "NACGTACG",
    "N at the end": "ACGTACGN",
    "N every base": "NANCNGNT",
    "N inside a k-mer": "ACGNACGTACGTA",
    "two N runs": "ACGTACGTNNNNACGTTTNNA",
    "poly A": "A" * 100,
    "long": "".join(RNG.choice(list("ACGT"), 5000)),
    "long with N": "".join(RNG.choice(list("ACGTN"), 3000)),
}
dna = st.text(alphabet="ACGTN", max_size=60)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The slow tokenizer of transformers, as the Nucleotide Transformer sets it up."""
    from transformers import EsmTokenizer

    folder = write_nt_tokenizer(tmp_path_factory.mktemp("nt"))
    return EsmTokenizer(vocab_file=str(folder / "vocab.txt"), eos_token=None, cls_token="<cls>")


@pytest.fixture(scope="module")
def fast():
    return KmerTokens(vocabulary(6), 6, 1000)


@pytest.fixture(scope="module")
def rust():
    return rust_tokenizer(vocabulary(6), 6, 1000)


def all_three(sequence, real, fast, rust):
    """Return the ids of one sequence, special tokens included, from each tokenizer."""
    array = [*fast.prefix, *fast.encode([sequence], 0)[0].tolist(), *fast.suffix]
    return real(sequence)["input_ids"], array, rust(sequence)["input_ids"]


def test_the_vocabulary_is_the_published_one():
    assert vocabulary(6) == nt_vocabulary()
    assert len(vocabulary(6)) == 4105
    ids = {token: i for i, token in enumerate(vocabulary(6))}
    assert (ids["AAAAAA"], ids["AAAAAT"], ids["AAAAAC"], ids["A"], ids["N"]) == (4, 5, 6, 4100, 4104)


@pytest.mark.parametrize(
    ("sequence", "tokens"),
    [
        ("ACGTGTACGTGCACGGACGACTAGTCAGCA", "<cls> ACGTGT ACGTGC ACGGAC GACTAG TCAGCA"),
        ("ACGTGTACNTGCACGGANCGACTAGTCTGA", "<cls> ACGTGT A C N TGCACG G A N CGACTA GTCTGA"),
    ],
)
def test_worked_examples_of_the_publication(sequence, tokens, real, fast, rust):
    expected = [nt_vocabulary().index(token) for token in tokens.split()]
    for ids in all_three(sequence, real, fast, rust):
        assert ids == expected


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_sequences(name, real, fast, rust):
    slow, array, compiled = all_three(HOSTILE[name], real, fast, rust)
    assert array == slow
    assert compiled == slow


def test_empty_sequence_is_the_first_token_alone(real, fast, rust):
    assert all_three("", real, fast, rust) == ([3], [3], [3])


@given(dna)
def test_any_sequence(real, fast, rust, sequence):
    slow, array, compiled = all_three(sequence, real, fast, rust)
    assert array == slow == compiled


@given(dna, st.integers(0, 5))
def test_a_frame_leaves_out_the_first_bases(real, fast, sequence, frame):
    assert fast.encode([sequence], frame)[0].tolist() == real(sequence[frame:])["input_ids"][1:]


def test_real_barcodes(real, fast, rust, coi_sequences):
    slow = [ids[1:] for ids in real(coi_sequences)["input_ids"]]
    assert [ids.tolist() for ids in fast.encode(coi_sequences, 0)] == slow
    assert [ids[1:] for ids in rust(coi_sequences)["input_ids"]] == slow


def test_batches_are_padded_alike(real, rust):
    batch = ["ACGTACGTACGTA", "N", "ACG"]
    slow, compiled = (t(batch, padding=True, return_tensors="np") for t in (real, rust))
    np.testing.assert_array_equal(compiled["input_ids"], slow["input_ids"])
    np.testing.assert_array_equal(compiled["attention_mask"], slow["attention_mask"])


def test_rust_tokenizer_survives_saving(tmp_path, rust):
    from transformers import AutoTokenizer

    rust.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again("ACGTACNG")["input_ids"] == rust("ACGTACNG")["input_ids"]
    assert (again.pad_token_id, again.cls_token_id, again.model_max_length) == (1, 3, 1000)
    assert again.eos_token_id is None


def test_ids_come_back_as_bases():
    encoder = KmerEncoder(3, 4, 4 + 64)
    names = vocabulary(3)
    assert [names[i] for i in encoder.encode("GATTACA")] == ["GAT", "TAC", "A"]


@pytest.mark.parametrize("letter", ["a", "R", "U", "-", "é"])
def test_other_letters_are_refused_not_guessed(letter):
    with pytest.raises(ValueError):
        KmerEncoder(6, 4, 4100).encode("ACGT" + letter)


def test_kmer_vocabularies_are_recognised():
    assert is_kmer_vocabulary(vocabulary(6), 6)
    assert not is_kmer_vocabulary(vocabulary(4), 6)
    assert not is_kmer_vocabulary(vocabulary(6)[:-1], 6)
    assert not is_kmer_vocabulary([], 6)
