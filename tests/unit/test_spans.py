"""Tokens point at the bases they stand for; a tokenizer that merges unknown letters is found out."""

import numpy as np
import pytest

from dnatune.backbones import find_backbone
from dnatune.backbones.kmer_tokenizer import BaseTokens, KmerTokens
from dnatune.errors import UserError
from dnatune.kmer_encoding import vocabulary
from dnatune.spans import check_spans, token_starts, token_widths
from dnatune.tokens import TokenSettings, TokenTable
from dnatune.views import all_views
from miniatures import write_generic

SEQUENCE = "ACGTNNACGTACGTTAGCATTNACCGATTAGGCATNNNNNACG"


def test_widths_of_kmers_and_bases():
    ids = {token: i for i, token in enumerate(vocabulary(3))}
    widths = KmerTokens(vocabulary(3), 3, 100).widths
    assert [widths[ids[token]] for token in ("<unk>", "<pad>", "<cls>", "ACG", "A", "N")] == [1, 0, 0, 3, 1, 1]
    assert BaseTokens(100).widths.tolist() == [1, 0, 0, 0, 1, 1, 1, 1, 1]


def test_marks_of_a_tokenizer_are_no_bases():
    strings = [("[CLS]", 0), ("[UNK]", 1), ("ACG", 2), ("##acg", 3), ("ĠTT", 4), ("▁", 5)]
    assert token_widths(strings, 7, [0, 1], 1).tolist() == [0, 1, 3, 3, 2, 0, 0]


def test_starts_count_from_the_start_of_the_row():
    assert token_starts(5, np.array([0, 6, 1, 3])).tolist() == [5, 5, 11, 12]


def test_byte_pair_tokens_point_at_their_bases(tmp_path):
    encoder = find_backbone(str(write_generic(tmp_path, "bert"))).encoder()
    sequence = SEQUENCE.replace("N", "")
    check_spans(encoder, [sequence], "bert")
    table = TokenTable.of_sequences([sequence], encoder, TokenSettings(8, 0.25, all_views(1)))
    assert len(table) > 1
    names = {i: token for token, i in encoder._tokenizer.get_vocab().items()}
    for row in range(len(table)):
        starts, widths = table.spans(row)
        assert (widths[0], widths[-1]) == (0, 0)
        for i, start, width in zip(table.ids(row)[1:-1], starts[1:-1], widths[1:-1], strict=True):
            assert names[i] == sequence[start : start + width]


@pytest.mark.parametrize("encoder", [BaseTokens(100), KmerTokens(vocabulary(6), 6, 100)])
def test_no_base_is_lost_by_our_own_tokenizers(encoder):
    check_spans(encoder, [SEQUENCE, "", "N", "ACG"], "ours")


class Merging(BaseTokens):
    """A tokenizer that reads a run of N as one unknown token."""

    def encode(self, sequences, frame):
        rows = super().encode(sequences, frame)
        return [ids[~((ids == 8) & (np.append(0, ids[:-1]) == 8))] for ids in rows]


def test_a_tokenizer_that_merges_letters_is_refused():
    check_spans(Merging(100), ["ACGNACGT"], "merging")
    with pytest.raises(UserError, match="merging reads 43 bases as tokens of 38 bases"):
        check_spans(Merging(100), ["ACGNACGT", SEQUENCE], "merging")
