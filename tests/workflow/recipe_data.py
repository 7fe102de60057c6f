"""Small data for each recipe: what its user brings, simulated, with a signal that can be learned.

Every function writes the tables of one kind of task into a folder and returns the ``data`` section that names them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from workflow_runs import inputs_in, simulate, write_inputs

MOTIFS = ("TATAAT", "GGCCGG", "CATCAT")
LENGTH = 90


def random_sequence(rng: np.random.Generator, length: int = LENGTH) -> list[str]:
    """Return letters of a random sequence."""
    return list(rng.choice(list("ACGT"), length))


def planted(rng: np.random.Generator, motifs: list[str]) -> str:
    """Return a random sequence in which each of ``motifs`` stands three times."""
    letters = random_sequence(rng)
    for motif in motifs:
        for start in rng.integers(0, LENGTH - len(motif), size=3):
            letters[start : start + len(motif)] = motif
    return "".join(letters)


def write_tables(folder: Path, sequences: list[str], columns: dict[str, list[str]]) -> dict[str, Any]:
    """Write sequences.fasta and labels.csv; return the paths, and the column of the split if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"s{i:03d}" for i in range(len(sequences))]
    (folder / "sequences.fasta").write_text(
        "".join(f">{name}\n{text}\n" for name, text in zip(ids, sequences, strict=True))
    )
    rows = [["id", *columns], *(list(row) for row in zip(ids, *columns.values(), strict=True))]
    (folder / "labels.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    paths = {"sequences": str(folder / "sequences.fasta"), "labels": str(folder / "labels.csv")}
    return {**paths, "columns": {"split": "split"}} if "split" in columns else paths


def split(n: int) -> list[str]:
    """Return the parts of ``n`` records: one fold, where folds are not what a recipe is about."""
    return [("train", "train", "dev", "train", "test")[i % 5] for i in range(n)]


def species(folder: Path) -> dict[str, Any]:
    """Return species with the four tables: sequences, labels, vectors, clusters."""
    records = simulate(species=("Anolis carolinensis", "Gekko gecko", "Lacerta agilis"), of_each=12)
    inputs = write_inputs(folder, records)
    rng = np.random.default_rng(0)
    vectors = "".join(f"{r.id},{rng.normal():.3f},{rng.normal():.3f}\n" for r in records)
    (folder / "vectors.csv").write_text("id,depth,salinity\n" + vectors)
    clusters = "".join(f"{r.id},c{i}\n" for i, r in enumerate(records))
    (folder / "clusters.csv").write_text("id,cluster\n" + clusters)
    made = inputs_in(folder, records)
    tables = {name: str(folder / f"{name}.csv") for name in ("vectors", "clusters")}
    return {"sequences": str(made.sequences), "labels": str(inputs.labels), **tables}


def strangers(folder: Path) -> dict[str, Any]:
    """Return species with their own split, and records of other species that a column marks as unknown."""
    known = simulate(species=("Anolis carolinensis", "Gekko gecko", "Lacerta agilis"), of_each=16)[:48]
    unknown = simulate(seed=9, species=("Zootoca vivipara",), of_each=6)[:6]
    sequences = [record.sequence for record in (*known, *unknown)]
    columns = {"label": [record.species for record in known] + ["Zootoca"] * 6}
    columns |= {
        rank: [label.split()[0] for label in columns["label"]] for rank in ("genus", "family", "order", "class")
    }
    # The first two records of a species are identical: both are in train.
    columns["split"] = [*(["train"] * 10 + ["valid"] * 3 + ["test"] * 3) * 3, *["test"] * 6]
    columns["known"] = ["1"] * 48 + ["0"] * 6
    return write_tables(folder, sequences, columns)


def classes(folder: Path) -> dict[str, Any]:
    """Return two classes of sequences."""
    rng = np.random.default_rng(1)
    sequences = [planted(rng, [MOTIFS[i % 2]]) for i in range(40)]
    labels = ["promoter" if i % 2 else "intron" for i in range(40)]
    return write_tables(folder, sequences, {"label": labels, "split": split(40)})


def bound(folder: Path) -> dict[str, Any]:
    """Return bound and free sequences with a split."""
    rng = np.random.default_rng(2)
    sequences = [planted(rng, [MOTIFS[0]] if i % 2 else []) for i in range(64)]
    split = ["train"] * 40 + ["dev"] * 12 + ["test"] * 12
    return write_tables(folder, sequences, {"label": [str(i % 2) for i in range(64)], "split": split})


def open_regions(folder: Path) -> dict[str, Any]:
    """Return sequences with none, one or several of three labels."""
    rng = np.random.default_rng(3)
    names = ("leaf", "root", "seed")
    chosen = [[k for k in range(3) if rng.random() < 0.4] for _ in range(60)]
    sequences = [planted(rng, [MOTIFS[k] for k in own]) for own in chosen]
    labels = [";".join(names[k] for k in own) for own in chosen]
    return write_tables(folder, sequences, {"labels": labels, "split": split(60)})


def strengths(folder: Path) -> dict[str, Any]:
    """Return sequences with two values, the second often not measured."""
    rng = np.random.default_rng(4)
    shares = rng.uniform(0.2, 0.8, size=60)
    sequences = ["".join(rng.choice(list("GCAT"), LENGTH, p=[g / 2, g / 2, (1 - g) / 2, (1 - g) / 2])) for g in shares]
    leaf = [f"{5 * g + rng.normal(0, 0.1):.3f}" for g in shares]
    proto = [f"{100 - 50 * g:.2f}" if i % 3 else "" for i, g in enumerate(shares)]
    return write_tables(folder, sequences, {"leaf": leaf, "proto": proto, "split": split(60)})


def genes(folder: Path) -> dict[str, Any]:
    """Return sequences with a letter per base: G within a run rich in G and C, O outside."""
    rng = np.random.default_rng(5)
    sequences, tags = [], []
    for _ in range(40):
        parts = [int(n) for n in rng.integers(20, 40, size=3)]
        outside, inside = [0.4, 0.1, 0.1, 0.4], [0.1, 0.4, 0.4, 0.1]
        pieces = [rng.choice(list("ACGT"), n, p=inside if i == 1 else outside) for i, n in enumerate(parts)]
        sequences.append("".join("".join(piece) for piece in pieces))
        tags.append("O" * parts[0] + "G" * parts[1] + "O" * parts[2])
    return write_tables(folder, sequences, {"labels": tags})


def unlabelled(folder: Path) -> dict[str, Any]:
    """Return sequences alone."""
    return {"sequences": classes(folder)["sequences"]}
