"""Token ids of the non-overlapping k-mer tokenizer, and of single bases, computed on arrays instead of strings.

In: cleaned sequences (A, C, G, T, N). Out: exactly the ids of the Nucleotide Transformer's ``EsmTokenizer``:
greedy k-mers from the left; an N is its own token and restarts the frame; left-over bases are single tokens.
"""

from __future__ import annotations

import itertools

import numpy as np

# The order in which the Nucleotide Transformer lists its 4,096 6-mers (constants.py, NUCLEOTIDES).
BASES = "ATCG"
SPECIAL_TOKENS = ("<unk>", "<pad>", "<mask>", "<cls>")
_CODE_OF_BYTE = np.full(256, 255, dtype=np.uint8)
for _code, _base in enumerate(BASES + "N"):
    _CODE_OF_BYTE[ord(_base)] = _code


def vocabulary(k: int = 6, special_tokens: tuple[str, ...] = SPECIAL_TOKENS) -> list[str]:
    """Return the token list: special tokens, all k-mers in A T C G order, then A T C G N."""
    return [*special_tokens, *("".join(p) for p in itertools.product(BASES, repeat=k)), *BASES, "N"]


def base_ids(sequence: str, first_base_id: int) -> np.ndarray:
    """Return the ids (bases,) int32 of single bases; ``first_base_id`` is that of A, then T, C, G, N.

    Raises ValueError for letters other than A, C, G, T and N: clean the sequence first.
    """
    return _codes(sequence).astype(np.int32) + first_base_id


def _codes(sequence: str) -> np.ndarray:
    codes = _CODE_OF_BYTE[np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)]
    if codes.size and codes.max() > 4:
        raise ValueError("a sequence to encode may hold A, C, G, T and N only")
    return codes


class KmerEncoder:
    """Encodes sequences of A, C, G, T, N at a reading-frame offset.

    ``first_kmer_id`` is the id of the first k-mer (AAAAAA), ``first_base_id`` that of the single base A.
    """

    def __init__(self, k: int, first_kmer_id: int, first_base_id: int) -> None:
        self.k = k
        self.first_kmer_id = first_kmer_id
        self.first_base_id = first_base_id
        self._powers = 4 ** np.arange(k - 1, -1, -1, dtype=np.int32)

    def encode(self, sequence: str, frame: int = 0) -> np.ndarray:
        """Return the ids (tokens,) int32 of ``sequence`` without its first ``frame`` bases, no special tokens.

        Raises ValueError for letters other than A, C, G, T and N: clean the sequence first.
        """
        codes = _codes(sequence)[frame:]
        if codes.size == 0:
            return np.empty(0, dtype=np.int32)
        if codes.max() < 4:
            return self._segment(codes)
        pieces: list[np.ndarray] = []
        start = 0
        unknown = np.array([self.first_base_id + 4], dtype=np.int32)
        for position in np.flatnonzero(codes == 4):
            if position > start:
                pieces.append(self._segment(codes[start:position]))
            pieces.append(unknown)
            start = position + 1
        if start < codes.size:
            pieces.append(self._segment(codes[start:]))
        return np.concatenate(pieces)

    def _segment(self, codes: np.ndarray) -> np.ndarray:
        whole = codes.size // self.k
        ids = np.empty(whole + codes.size - whole * self.k, dtype=np.int32)
        ids[:whole] = codes[: whole * self.k].reshape(whole, self.k) @ self._powers + self.first_kmer_id
        ids[whole:] = codes[whole * self.k :].astype(np.int32) + self.first_base_id
        return ids
