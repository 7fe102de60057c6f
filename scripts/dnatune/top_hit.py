"""Programs that find similar sequences, as classifiers: vsearch's and BLAST's top hit of each class, and SINTAX.

Takes sequences and class ids; gives logits (n, classes). Those of a top hit are 100 x similarity, so that 1 %
identity is 1 nat.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dnatune.errors import UserError

# Candidates looked at for each query: enough that a near class beyond the best one gets its own identity.
ACCEPTED, REJECTED = 50, 128
# Targets of one query that BLAST writes down.
BLAST_TARGETS = 200
# How to install a program: package of bioconda and of Debian.
_BLAST = ("blast", "ncbi-blast+")
PACKAGES = {"vsearch": ("vsearch", "vsearch"), "blastn": _BLAST, "makeblastdb": _BLAST}
# SINTAX says how many of so many samples of k-mers agree.
SAMPLES = 100


def top_hit_logits(
    train: Sequence[str],
    labels: np.ndarray,
    query: Sequence[str],
    classes: int,
    min_identity: float = 0.7,
    threads: int = 1,
) -> np.ndarray:
    """Return float32 (queries, classes): 100 x the best identity (0 to 1) per class.

    A class without a hit at ``min_identity`` or more gets the floor, 100 x ``min_identity`` - 1, so a query
    without any hit has the same probability for every class. Only the plus strand is
    searched, because labelled barcodes are oriented. Raises ``UserError`` where vsearch is missing or fails.
    """
    program = _program("vsearch", "vsearch_top_hit")
    distinct, place = _distinct(query)
    logits = np.full((len(distinct), classes), 100 * min_identity - 1, dtype=np.float32)
    if not len(query) or not len(train):
        return logits[place]
    with tempfile.TemporaryDirectory(prefix="dnatune-vsearch-") as folder:
        database, queries, hits = (Path(folder) / name for name in ("train.fasta", "query.fasta", "hits.tsv"))
        _write_fasta(database, train)
        _write_fasta(queries, distinct)
        command = [program, "--usearch_global", str(queries), "--db", str(database)]
        command += ["--id", str(min_identity), "--strand", "plus", "--qmask", "none", "--dbmask", "none"]
        command += ["--maxaccepts", str(ACCEPTED), "--maxrejects", str(REJECTED)]
        command += ["--minseqlength", "1", "--maxseqlength", "1000000000"]
        command += ["--userout", str(hits), "--userfields", "query+target+id", "--threads", str(threads)]
        _run([*command, "--quiet"])
        text = hits.read_text("ascii")
    if text:
        found = np.array([line.split("\t") for line in text.splitlines()], dtype=np.float64)
        rows, targets = found[:, 0].astype(np.int64), found[:, 1].astype(np.int64)
        np.maximum.at(logits, (rows, labels[targets]), found[:, 2].astype(np.float32))
    return logits[place]


def blast_top_hit_logits(
    train: Sequence[str],
    labels: np.ndarray,
    query: Sequence[str],
    classes: int,
    min_similarity: float = 0.7,
    threads: int = 1,
) -> np.ndarray:
    """Return float32 (queries, classes): 100 x the best similarity (0 to 1) per class that blastn finds.

    Similarity is identity times the share of the shorter sequence that is aligned: identical bases of the best
    local alignment / length of the shorter. The floor is as in ``top_hit_logits``; only the plus strand is searched.
    Raises ``UserError`` where BLAST is missing or fails.
    """
    program, maker = (_program(name, "blast_top_hit") for name in ("blastn", "makeblastdb"))
    distinct, place = _distinct(query)
    logits = np.full((len(distinct), classes), 100 * min_similarity - 1, dtype=np.float32)
    if not len(query) or not len(train):
        return logits[place]
    lengths = [np.array([len(s) for s in part]) for part in (distinct, train)]
    with tempfile.TemporaryDirectory(prefix="dnatune-blast-") as folder:
        database, queries, hits = (Path(folder) / name for name in ("train.fasta", "query.fasta", "hits.tsv"))
        _write_fasta(database, train)
        _write_fasta(queries, distinct)
        _run([maker, "-in", str(database), "-dbtype", "nucl"])
        command = [program, "-task", "megablast", "-query", str(queries), "-db", str(database), "-strand", "plus"]
        command += ["-dust", "no", "-max_hsps", "1", "-max_target_seqs", str(BLAST_TARGETS)]
        _run([*command, "-outfmt", "6 qseqid sseqid nident", "-out", str(hits), "-num_threads", str(threads)])
        text = hits.read_text("ascii")
    if text:
        found = np.array([line.split("\t") for line in text.splitlines()], dtype=np.int64)
        rows, targets = found[:, 0], found[:, 1]
        similarity = np.minimum(found[:, 2] / np.minimum(lengths[0][rows], lengths[1][targets]), 1)
        kept = similarity >= min_similarity
        best = (100 * similarity[kept]).astype(np.float32)
        np.maximum.at(logits, (rows[kept], labels[targets[kept]]), best)
    return logits[place]


def sintax_logits(
    train: Sequence[str],
    labels: np.ndarray,
    query: Sequence[str],
    classes: int,
    seed: int = 0,
    threads: int = 1,
) -> np.ndarray:
    """Return float32 (queries, classes) logarithms of probabilities from SINTAX (Edgar 2016) in vsearch.

    The class found has as its probability the share of samples of k-mers that agree with it, with one more sample
    for it and one for all others, which have equal parts of the rest: SINTAX names no second. A query without an
    answer has the same probability for every class. vsearch repeats its answers for a seed with one thread only, so
    it gets one, and ``threads`` are not used. Raises ``UserError`` where vsearch is missing or fails.
    """
    program = _program("vsearch", "sintax")
    logits = np.full((len(query), classes), -np.log(classes), dtype=np.float32)
    if not len(query) or not len(train):
        return logits
    with tempfile.TemporaryDirectory(prefix="dnatune-sintax-") as folder:
        database, queries, answers = (Path(folder) / name for name in ("train.fasta", "query.fasta", "names.tsv"))
        _write_fasta(database, train, [f";tax=s:{label};" for label in labels])
        _write_fasta(queries, query)
        command = [program, "--sintax", str(queries), "--db", str(database), "--tabbedout", str(answers)]
        command += ["--strand", "plus", "--randseed", str(seed + 1), "--threads", "1", "--quiet"]
        _run([*command, "--minseqlength", "1", "--maxseqlength", "1000000000"])
        for line in answers.read_text("ascii").splitlines():
            row, answer = line.split("\t")[:2]
            match = re.fullmatch(r"s:(\d+)\(([\d.]+)\)", answer)
            if match and classes > 1:
                probability = (SAMPLES * float(match[2]) + 1) / (SAMPLES + 2)
                logits[int(row)] = np.log((1 - probability) / (classes - 1))
                logits[int(row), int(match[1])] = np.log(probability)
    return logits


def _distinct(query: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the sequences that differ, each of which is searched once, and the place of every query among them."""
    number: dict[str, int] = {}
    place = np.array([number.setdefault(sequence, len(number)) for sequence in query], dtype=np.int64)
    return list(number), place


def _program(name: str, method: str) -> str:
    """Return the path of a program, or say how to get it."""
    path = shutil.which(name)
    if path is None:
        conda, debian = PACKAGES[name]
        raise UserError(
            f"{name} is not on the PATH, expected for the method {method}; install it (conda install -c "
            f"bioconda {conda}, or apt install {debian}), or take the method out of baselines.methods; a saved engine "
            "asks it too: predict_with names new sequences with another saved model."
        )
    return path


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split())[-400:]
        raise UserError(f"{Path(command[0]).name} ended with exit code {done.returncode} and said: {said}")


def _write_fasta(path: Path, sequences: Sequence[str], marks: Sequence[str] | None = None) -> None:
    """Write sequences under their numbers, each followed by its mark."""
    with open(path, "w", encoding="ascii") as handle:
        handle.writelines(
            f">{number}{mark}\n{sequence}\n"
            for number, (sequence, mark) in enumerate(zip(sequences, marks or [""] * len(sequences), strict=True))
        )
