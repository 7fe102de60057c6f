"""What the guard says without a cluster; on one it is tested in tests/cluster."""

import subprocess
import sys
from pathlib import Path

GUARD = Path(__file__).parents[2] / "scripts" / "resume_run.py"


def test_a_folder_where_nothing_runs_is_said_to_be_one(tmp_path):
    done = subprocess.run([sys.executable, GUARD, "--check"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "no Snakemake works in this folder on this machine, and none has left jobs in SLURM" in done.stderr
