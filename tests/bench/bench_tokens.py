"""Tokenizing against EsmTokenizer, and records to tokens for 10,000 and 1,000,000 sequences.

python tests/bench/bench_tokens.py [--runs 3] [--large 1000000]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import in_fresh_process, medians, peak_mib, print_table, simulated_sequences

COUNT = 2000


def tokenizer_speed() -> dict[str, float]:
    """Return sequences per CPU-second of EsmTokenizer, of the Rust replacement, and of the array encoder."""
    from transformers import EsmTokenizer

    from dnatune.backbones.kmer_tokenizer import KmerTokens, rust_tokenizer
    from dnatune.kmer_encoding import vocabulary

    sequences = simulated_sequences(COUNT, 600, 700)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("\n".join(vocabulary()))
        slow = EsmTokenizer(str(path), eos_token=None, model_max_length=1000)
    rust, arrays = rust_tokenizer(vocabulary(), 6, 1000), KmerTokens(vocabulary(), 6, 1000)
    ways = {
        "EsmTokenizer": lambda: slow(sequences)["input_ids"],
        "rust": lambda: rust(sequences)["input_ids"],
        "arrays": lambda: [[*arrays.prefix, *ids.tolist()] for ids in arrays.encode(sequences, 0)],
    }
    speed, ids = {}, {}
    for way, run in ways.items():
        start = time.process_time()
        ids[way] = run()
        speed[way] = COUNT / (time.process_time() - start)
    if not ids["EsmTokenizer"] == ids["rust"] == ids["arrays"]:
        raise SystemExit("the tokenizers disagree")
    return speed


def records_to_tokens(count: int) -> dict[str, float]:
    """Return seconds and peak memory of the records step and the tokens step for simulated sequences."""
    from dnatune.backbones.kmer_tokenizer import KmerTokens
    from dnatune.kmer_encoding import vocabulary
    from dnatune.records import Settings, read_records
    from dnatune.tokens import TokenSettings, write_tokens
    from dnatune.views import all_views

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = np.random.default_rng(0)
        letters = np.frombuffer(b"ACGT", dtype=np.uint8)
        with open(folder / "s.fasta", "wb") as fasta, open(folder / "l.csv", "w") as labels:
            labels.write("id,label\n")
            for start in range(0, count, 10_000):
                bases = letters[rng.integers(4, size=(min(10_000, count - start), 650), dtype=np.uint8)]
                for i, row in enumerate(bases, start):
                    fasta.write(b">s%d\n%s\n" % (i, row[: 600 + i % 51].tobytes()))
                    labels.write(f"s{i},species {i % max(2, count // 50)}\n")
        data = {"sequences": str(folder / "s.fasta"), "labels": str(folder / "l.csv")}
        start = time.perf_counter()
        settings = Settings.from_config(data, {})
        read_records(settings, folder / "r.parquet", folder / "x.tsv", folder / "x.json")
        middle = time.perf_counter()
        encoder = KmerTokens(vocabulary(), 6, 1000)
        frames = TokenSettings(1000, 0.25, all_views(encoder.frames))
        write_tokens(folder / "r.parquet", folder / "tokens", encoder, frames)
        return {"records": middle - start, "tokens": time.perf_counter() - middle, "peak": peak_mib()}


def main(runs: int, large: int) -> None:
    """Print both tables."""
    speed = medians(runs, lambda: in_fresh_process(__file__, "--part", "speed"))
    rows = [[way, value, value / speed["EsmTokenizer"]] for way, value in speed.items()]
    header = ["tokenizer", "sequences/CPU-s", "times EsmTokenizer"]
    print_table(f"Tokenizing {COUNT} sequences of 600 to 700 bases, one frame, median of {runs}", header, rows)
    sizes = (10_000, large)
    found = {
        n: medians(runs if n < 100_000 else 1, lambda n=n: in_fresh_process(__file__, "--count", str(n))) for n in sizes
    }
    total = {n: figures["records"] + figures["tokens"] for n, figures in found.items()}
    rows = [
        [n, f["records"], f["tokens"], f["peak"], total[n] / total[sizes[0]] / (n / sizes[0])] for n, f in found.items()
    ]
    header = ["sequences", "records s", "tokens s (6 frames)", "peak MiB", "time per sequence, relative"]
    print_table("Records to tokens, sequences of 600 to 650 bases", header, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--part", choices=["speed"])
    parser.add_argument("--count", type=int)
    options = parser.parse_args()
    if options.part or options.count:
        result = tokenizer_speed() if options.part else records_to_tokens(options.count)
        sys.stdout.write("\n" + json.dumps(result) + "\n")
    else:
        main(options.runs, options.large)
