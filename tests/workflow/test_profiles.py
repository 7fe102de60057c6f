"""Profiles: each loads in a dry run, and names rules that exist."""

import importlib.util
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROFILES = sorted(path.parent.name for path in (ROOT / "profiles").glob("*/profile.yaml"))


def snakemake(*arguments: str) -> subprocess.CompletedProcess:
    """Run Snakemake in the repository's root without touching anything."""
    command = [sys.executable, "-m", "snakemake", "--nolock", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@lru_cache
def rules() -> set[str]:
    """Return the names of all rules."""
    return set(snakemake("--list-rules").stdout.split())


@pytest.mark.parametrize("name", PROFILES)
def test_profile_loads_in_a_dry_run(name):
    settings = yaml.safe_load((ROOT / "profiles" / name / "profile.yaml").read_text())
    executor = settings.get("executor")
    plugin = f"snakemake_executor_plugin_{executor}"
    if executor and importlib.util.find_spec(plugin) is None:
        pytest.skip(f"the executor plugin {executor} is not installed")
    done = snakemake("-n", "--quiet", "rules", "--workflow-profile", f"profiles/{name}")
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("name", PROFILES)
def test_profile_names_rules_that_exist(name):
    # Snakemake ignores a misspelt rule under set-resources without a word, and underscored keys too.
    settings = yaml.safe_load((ROOT / "profiles" / name / "profile.yaml").read_text())
    assert set(settings.get("set-resources", {})) | set(settings.get("set-threads", {})) <= rules()
    assert not [key for key in settings if "_" in key]


def test_there_is_no_default_profile():
    # It would be loaded by itself and silently replace keys of the others.
    assert not (ROOT / "profiles" / "default").exists()


def test_every_rule_says_what_it_does_and_needs():
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for block in path.read_text().split("\nrule ")[1:]:
            directives = {line.strip() for line in block.splitlines() if line.startswith("    ")}
            name = block.split(":")[0]
            wanted = {"log:", "benchmark:", "conda:", "resources:", "message:"}
            assert wanted <= directives, (name, wanted - directives)
            assert "threads:" in block and "mem_mb=" in block and "runtime=" in block, name


@pytest.mark.skipif(not shutil.which("snakefmt"), reason="snakefmt is not installed")
def test_rules_are_formatted():
    done = subprocess.run(["snakefmt", "--check", "Snakefile", "workflow"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0
