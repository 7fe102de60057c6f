"""Which baselines can run here: some need a program that may not be installed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

# Method -> program, as its users call it.
PROGRAMS = {"vsearch_top_hit": "vsearch", "sintax": "vsearch", "blast_top_hit": "blastn"}
# What stands in for a method whose program is missing.
INSTEAD = {"vsearch_top_hit": "kmer_top_hit"}


def runnable(methods: Sequence[str], missing: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the methods that run where the programs ``missing`` are not installed, and a note for each other one."""
    run, notes = [], []
    for method in methods:
        program = PROGRAMS.get(method)
        if program not in missing:
            run.append(method)
            continue
        instead = INSTEAD.get(method)
        taken = f", {instead} (shared k-mers) takes its place" if instead else ""
        notes.append(f"{method}: {program} is not installed{taken}")
        if instead and instead not in methods:
            run.append(instead)
    return run, notes
