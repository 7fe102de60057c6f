"""Simulate the bundled example: barcodes of a small species tree, with the faults that real data have.

    python scripts/simulate_example.py --out config/example

In: a seed. Out: sequences.fasta, labels.tsv, vectors.tsv, clusters.tsv, query.fasta, README.md.
The same seed gives the same files, byte for byte.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LETTERS = np.frombuffer(b"ACGT", np.uint8)
ANCESTOR_LENGTH = 420
FAMILIES = ("Albidae", "Brunnidae", "Caeruleidae", "Doridae")
GENERA = ("Alba", "Alveola", "Brunna", "Bulla", "Caerula", "Celsa", "Dora", "Dulcia", "Densa")
EPITHETS = ("minor", "major", "australis", "borealis", "pallida", "rubra", "vulgaris", "gracilis")
# Sequences of each species: unbalanced as real collections are; the last five are singletons.
SIZES = (
    45,
    42,
    38,
    35,
    32,
    30,
    28,
    26,
    24,
    22,
    20,
    18,
    16,
    15,
    14,
    13,
    12,
    11,
    10,
    9,
    8,
    7,
    6,
    5,
    5,
    4,
    4,
    3,
) + (1,) * 5
QUERY_SPECIES = 24
UNSEEN_SPECIES = 6
CLUSTER_IDENTITY = 0.995
# Share of a young species that kept its sister's lineage: the errors no method can avoid.
INTROGRESSION = 0.1


@dataclass
class Species:
    """A species: its names, and the letters (0 to 3) of its ancestor and of a near sister's."""

    name: str
    genus: str
    family: str
    ancestor: np.ndarray
    sister: np.ndarray | None = None


def mutate(sequence: np.ndarray, distance: float, rng: np.random.Generator) -> np.ndarray:
    """Return a copy in which a share ``distance`` of the sites was replaced by another base (Jukes-Cantor).

    Third codon positions take eight tenths of the changes, as in a coding barcode.
    """
    weight = np.where(np.arange(len(sequence)) % 3 == 2, 8.0, 1.0)
    sites = rng.choice(len(sequence), rng.binomial(len(sequence), distance), False, weight / weight.sum())
    copy = sequence.copy()
    copy[sites] = (copy[sites] + rng.integers(1, 4, len(sites))) % 4
    return copy


def species_tree(count: int, rng: np.random.Generator) -> list[Species]:
    """Return species within genera within families; every fifth is 1.5 to 2 % from the one before it."""
    root = rng.choice(4, ANCESTOR_LENGTH, p=(0.27, 0.22, 0.17, 0.34))
    families = {name: mutate(root, 0.10, rng) for name in FAMILIES}
    family_of = {genus: next(f for f in FAMILIES if f[0] == genus[0]) for genus in GENERA}
    genera = {genus: mutate(families[family_of[genus]], 0.07, rng) for genus in GENERA}
    free = {genus: list(EPITHETS) for genus in GENERA}
    made: list[Species] = []
    for i in range(count):
        sister = i % 5 == 4
        genus = made[-1].genus if sister else GENERA[i % len(GENERA)]
        origin = made[-1].ancestor if sister else genera[genus]
        distance = rng.uniform(0.015, 0.02) if sister else rng.uniform(0.05, 0.09)
        name = f"{genus} {free[genus].pop(0)}"
        made.append(Species(name, genus, family_of[genus], mutate(origin, distance, rng), origin if sister else None))
    return made


def individuals(species: Species, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return ``count`` sequences of a few lineages; some are identical, some carry the sister's lineage."""
    lineages = [mutate(species.ancestor, rng.uniform(0.006, 0.012), rng) for _ in range(2 + count // 8)]
    made: list[np.ndarray] = []
    for i in range(count):
        if i > 2 and rng.random() < 0.15:
            made.append(made[rng.integers(len(made))].copy())
            continue
        # The first two differ, so that a small species has two clusters: one to train with, one to test with.
        lineage = lineages[i if i < 2 else rng.integers(len(lineages))]
        if i > 1 and species.sister is not None and rng.random() < INTROGRESSION:
            lineage = mutate(species.sister, rng.uniform(0.006, 0.012), rng)
        whole = mutate(lineage, rng.uniform(0, 0.004), rng)
        # Some laboratories sequence a shorter piece.
        if i < 2 or rng.random() < 0.7:
            length = ANCESTOR_LENGTH - 3 * int(rng.integers(0, 12))
        else:
            length = int(rng.integers(200, 380))
        start = int(rng.integers(0, ANCESTOR_LENGTH - length + 1))
        made.append(whole[start : start + length])
    return made


def as_written(sequence: np.ndarray, rng: np.random.Generator) -> str:
    """Return the sequence as people write it: now and then N, IUPAC letters, lower case, U, gaps."""
    letters = LETTERS[sequence].copy()
    chance = rng.random()
    if chance < 0.08:
        letters[rng.choice(len(letters), rng.integers(1, 9), False)] = ord("N")
    elif chance < 0.12:
        letters[rng.choice(len(letters), 2, False)] = np.frombuffer(rng.choice([b"RY", b"WS", b"KM"]), np.uint8)
    text = letters.tobytes().decode()
    if 0.2 < chance < 0.26:
        text = text.lower()
    elif 0.3 < chance < 0.32:
        text = text.replace("T", "U")
    elif 0.4 < chance < 0.43:
        text = "-" * int(rng.integers(1, 10)) + text + "---"
    return text


def cleaned(text: str) -> str:
    """Return the sequence in A, C, G, T, N only."""
    kept = text.upper().replace("U", "T").replace("-", "")
    return "".join(c if c in "ACGT" else "N" for c in kept)


def kmer_axes(sequences: list[str], k: int = 4, axes: int = 8) -> np.ndarray:
    """Return (n, axes): the shares of the k-mers of each sequence, on their first principal axes."""
    code = {c: i for i, c in enumerate("ACGT")}
    counts = np.zeros((len(sequences), 4**k))
    for row, text in enumerate(sequences):
        for start in range(len(text) - k + 1):
            word = text[start : start + k]
            if "N" not in word:
                counts[row, sum(code[c] * 4**j for j, c in enumerate(word))] += 1
    shares = counts / counts.sum(axis=1, keepdims=True)
    centred = shares - shares.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    # The sign of an axis is free; fixing it keeps the file the same on every machine.
    directions *= np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)])[:, None]
    return 100 * centred @ directions[:axes].T


def greedy_clusters(sequences: list[np.ndarray], identity: float) -> list[int]:
    """Return a cluster number for each full-length sequence: the first centre near enough, or a new one."""
    centres: list[np.ndarray] = []
    numbers = []
    for sequence in sequences:
        near = [i for i, c in enumerate(centres) if (c == sequence).mean() >= identity]
        if not near:
            centres.append(sequence)
        numbers.append(near[0] if near else len(centres) - 1)
    return numbers


def aligned(sequence: np.ndarray, ancestor: np.ndarray) -> np.ndarray:
    """Return the piece laid over its species' ancestor, so that different pieces can be compared."""
    starts = range(len(ancestor) - len(sequence) + 1)
    best = max(starts, key=lambda s: (ancestor[s : s + len(sequence)] == sequence).sum())
    full = ancestor.copy()
    full[best : best + len(sequence)] = sequence
    return full


def write_fasta(path: Path, records: list[tuple[str, str]]) -> None:
    """Write records with 80 letters a line."""
    with open(path, "w", encoding="ascii", newline="\n") as handle:
        for name, text in records:
            handle.write(f">{name}\n")
            handle.writelines(text[i : i + 80] + "\n" for i in range(0, len(text), 80))


def write_rows(path: Path, header: list[str], ids: list[str], rows: list[list[str]]) -> None:
    """Write a tab separated table of an id and cells."""
    with open(path, "w", encoding="ascii", newline="\n") as handle:
        handle.write("\t".join(header) + "\n")
        handle.writelines("\t".join([name, *row]) + "\n" for name, row in zip(ids, rows, strict=True))


def main(out: Path, seed: int) -> None:
    """Simulate and write all files of the example."""
    rng = np.random.default_rng(seed)
    out.mkdir(parents=True, exist_ok=True)
    tree = species_tree(len(SIZES) + UNSEEN_SPECIES, rng)
    sizes = rng.permutation(SIZES)
    seen, unseen = tree[: len(SIZES)], tree[len(SIZES) :]
    rows: list[tuple[Species, np.ndarray, str]] = []
    for species, count in zip(seen, sizes, strict=True):
        rows += [(species, s, as_written(s, rng)) for s in individuals(species, int(count), rng)]
    # One mistake every collection has: the same sequence under the names of two sister species.
    sister = next(i for i in range(4, len(seen), 5) if min(sizes[i - 1], sizes[i]) > 4)
    original = next(r for r in rows if r[0] is seen[sister - 1] and set(r[2]) <= set("ACGT"))
    rows.append((seen[sister], *original[1:]))
    rows = [rows[i] for i in rng.permutation(len(rows))]
    ids = [f"EX{i:04d}" for i in range(1, len(rows) + 1)]

    texts = [text for _, _, text in rows]
    write_fasta(out / "sequences.fasta", list(zip(ids, texts, strict=True)))
    write_rows(
        out / "labels.tsv",
        ["id", "label", "genus", "family"],
        ids,
        [[species.name, species.genus, species.family] for species, _, _ in rows],
    )
    axes = kmer_axes([cleaned(text) for text in texts])
    names = [f"axis_{j + 1}" for j in range(axes.shape[1])]
    write_rows(out / "vectors.tsv", ["id", *names], ids, [[f"{x:.4f}" for x in row] for row in axes])
    clusters = greedy_clusters([aligned(s, species.ancestor) for species, s, _ in rows], CLUSTER_IDENTITY)
    write_rows(out / "clusters.tsv", ["id", "cluster"], ids, [[f"C{c + 1:03d}"] for c in clusters])

    query = []
    named = [seen[int(j)] for j in rng.permutation(28)[:QUERY_SPECIES]]
    for i, species in enumerate([*named, *unseen]):
        kind = "seen" if i < QUERY_SPECIES else "unseen"
        text = as_written(individuals(species, 1, rng)[0], rng)
        query.append((f"Q{i + 1:02d} {kind} species={species.name.replace(' ', '_')}", text))
    write_fasta(out / "query.fasta", query)
    (out / "README.md").write_text(describe(rows, clusters, len(query), seed), "utf-8")


def describe(rows: list[tuple[Species, np.ndarray, str]], clusters: list[int], queries: int, seed: int) -> str:
    """Return the text of README.md, with the counts as they came out."""
    copies = Counter(cleaned(text) for _, _, text in rows)
    sizes = Counter(species.name for species, _, _ in rows).values()
    several = [n for n in sizes if n > 1]
    repeated = sum(n for n in copies.values() if n > 1)
    return f"""# The example

Simulated barcodes (of no real organism): {len(rows)} sequences of {len(sizes)} species in {len(GENERA)}
genera and {len(FAMILIES)} families, 200 to {ANCESTOR_LENGTH} bases long. {len(several)} species
have {min(several)} to {max(several)} sequences, {len(sizes) - len(several)} have one.

| file | what |
|---|---|
| `sequences.fasta` | the sequences; some with N, IUPAC letters, lower case, U or gaps |
| `labels.tsv` | id, label (species), genus, family |
| `vectors.tsv` | id and 8 numbers: shares of the 4-mers on their first 8 principal axes, times 100 |
| `clusters.tsv` | id and cluster: {len(set(clusters))} clusters at {100 * CLUSTER_IDENTITY:g} % identity |
| `query.fasta` | {queries} new sequences to name, {UNSEEN_SPECIES} of them of species not in the example |

Made by

    python scripts/simulate_example.py --out config/example --seed {seed}

A random ancestor evolves into families (10 % of sites), genera (7 %) and species (5 to 9 %); every fifth
species is a sister only 1.5 to 2 % away from the one before it. Within a species, lineages are 0.6 to 1.2 %
from the ancestor and individuals up to 0.4 % from their lineage; one in ten of a sister species carries the
lineage of the other. Third codon positions take most of the changes.
{repeated} sequences have an exact duplicate, and one sequence stands under two species names, as in
every real collection.

Free of rights (CC0).
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("config/example"), help="folder to write to")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random numbers")
    arguments = parser.parse_args()
    main(arguments.out, arguments.seed)
