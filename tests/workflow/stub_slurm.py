"""Commands of SLURM that only note how they are called: every job has ended well as soon as it is submitted.

``sbatch`` makes the files of the workflow that are missing, so that Snakemake finds the outputs of the job.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

SBATCH = """#!{python}
import json, os, sys
from pathlib import Path
folder = Path({folder!r})
with open(folder / "sbatch.jsonl", "a") as log:
    log.write(json.dumps(sys.argv[1:]) + chr(10))
comment = sys.argv[sys.argv.index("--comment") + 1]
failing = folder / ("fail_" + comment)
if failing.is_file() and int(failing.read_text()) > 0:
    failing.write_text(str(int(failing.read_text()) - 1))
    sys.exit("sbatch: error: no")
for path in map(Path, json.loads((folder / "outputs.json").read_text())):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch() if path.suffix else path.mkdir(exist_ok=True)
    (path / ".snakemake_timestamp").touch() if path.is_dir() else None
number = os.getpid()
with open(folder / "jobs", "a") as jobs:
    jobs.write(str(number) + "|COMPLETED" + chr(10))
print(number)
"""
OTHERS = {
    "squeue": 'cat "{folder}/jobs"',
    "scontrol": 'echo "MinJobAge = 300 sec"; echo "MaxArraySize = 1001"',
    "sacct": 'echo "Slurm accounting storage is disabled" >&2; exit 1',
    "sacctmgr": "exit 1",
    "sinfo": "echo PARTITION; echo cpu; echo gpu",
}


class StubSlurm:
    """The commands, in ``bin`` below a folder."""

    def __init__(self, folder: Path, outputs: list[Path]) -> None:
        """Write the commands; ``outputs`` are the files and folders (without a suffix) that jobs make."""
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir(parents=True)
        (folder / "outputs.json").write_text(json.dumps([str(path) for path in outputs]))
        scripts = {name: f"#!/bin/sh\n{text}\n".format(folder=folder) for name, text in OTHERS.items()}
        scripts["sbatch"] = SBATCH.format(python=sys.executable, folder=str(folder))
        for name, text in scripts.items():
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)

    def fail(self, comment: str, times: int) -> None:
        """Let the submission of the job with this comment fail so many times."""
        (self.folder / f"fail_{comment}").write_text(str(times))

    def submitted(self) -> list[tuple[str, list[str]]]:
        """Return comment and arguments of each call of sbatch, without those that name the run and its files."""
        calls = []
        for line in (self.folder / "sbatch.jsonl").read_text().splitlines():
            given = json.loads(line)
            comment = given[given.index("--comment") + 1]
            for name in ("--job-name", "--output", "--comment", "-D"):
                place = given.index(name)
                del given[place : place + 2]
            calls.append((comment, [a for a in given if not a.startswith("--wrap=")]))
        return calls
