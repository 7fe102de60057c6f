"""The vsearch top hit as a classifier: the best identity to any training sequence of each class.

Takes sequences and class ids; gives logits (n, classes), 100 x identity, so that 1 % identity is 1 nat.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dnatune.errors import UserError

# Candidates looked at for each query: enough that a near class beyond the best one gets its own identity.
ACCEPTED, REJECTED = 50, 128


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
    program = shutil.which("vsearch")
    if program is None:
        raise UserError(
            "vsearch is not on the PATH, expected for the method vsearch_top_hit; install it (conda install -c "
            "bioconda vsearch, or apt install vsearch), or take the method out of baselines.methods; a saved engine "
            "asks it too: predict_with names new sequences with another saved model."
        )
    logits = np.full((len(query), classes), 100 * min_identity - 1, dtype=np.float32)
    if not len(query) or not len(train):
        return logits
    with tempfile.TemporaryDirectory(prefix="dnatune-vsearch-") as folder:
        database, queries, hits = (Path(folder) / name for name in ("train.fasta", "query.fasta", "hits.tsv"))
        _write_fasta(database, train)
        _write_fasta(queries, query)
        command = [program, "--usearch_global", str(queries), "--db", str(database)]
        command += ["--id", str(min_identity), "--strand", "plus", "--qmask", "none", "--dbmask", "none"]
        command += ["--maxaccepts", str(ACCEPTED), "--maxrejects", str(REJECTED)]
        command += ["--minseqlength", "1", "--maxseqlength", "1000000000"]
        command += ["--userout", str(hits), "--userfields", "query+target+id", "--threads", str(threads)]
        done = subprocess.run([*command, "--quiet"], capture_output=True, text=True, check=False)
        if done.returncode:
            said = " ".join(done.stderr.split())[-400:]
            raise UserError(f"vsearch ended with exit code {done.returncode} and said: {said}")
        text = hits.read_text("ascii")
    if text:
        found = np.array([line.split("\t") for line in text.splitlines()], dtype=np.float64)
        rows, targets = found[:, 0].astype(np.int64), found[:, 1].astype(np.int64)
        np.maximum.at(logits, (rows, labels[targets]), found[:, 2].astype(np.float32))
    return logits


def _write_fasta(path: Path, sequences: Sequence[str]) -> None:
    with open(path, "w", encoding="ascii") as handle:
        handle.writelines(f">{number}\n{sequence}\n" for number, sequence in enumerate(sequences))
