"""The conda environments hold what their rules' scripts and task parts import, with the versions of pyproject.toml."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from dnatune.source_version import reached_modules
from dnatune.tasks import TASKS, task
from rules_read import rule_scripts

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))
# Import name -> distribution, and conda name -> distribution, where they differ. The last two are hard
# dependencies of transformers and jinja2, which choose their versions.
DISTRIBUTION = {
    "sklearn": "scikit-learn",
    "Bio": "biopython",
    "yaml": "pyyaml",
    "tokenizers": "transformers",
    "markupsafe": "jinja2",
}
CONDA = {"pytorch-cpu": "torch", "pytorch-gpu": "torch", "matplotlib-base": "matplotlib"}
NOT_ON_PYPI = {"python", "vsearch", "blast", "cuda-version"}
# Run by hand or by make, not by a rule.
WITHOUT_RULE = {"resume_run.py", "simulate_example.py", "write_config_reference.py"}


def pins(environment):
    """Return {distribution: version} of an environment file."""
    found = {}
    for line in yaml.safe_load(environment.read_text("utf-8"))["dependencies"]:
        match = re.fullmatch(r"([\w.-]+) =([\w.]+)", line)
        assert match, f"{environment.name}: '{line}' is not pinned as 'name =version'"
        found[CONDA.get(match[1], match[1])] = match[2]
    return found


def project_pins():
    """Return {distribution: version} of pyproject.toml, all groups together."""
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    lists = [whole["project"].get("dependencies", [])]
    lists += whole["project"].get("optional-dependencies", {}).values()
    lists += whole.get("dependency-groups", {}).values()
    lines = [line for group in lists for line in group if isinstance(line, str)]
    found = (re.match(r"([\w.-]+)(?:\[[\w,-]+\])?\s*==\s*([\w.]+)", line) for line in lines)
    return {match[1].lower(): match[2] for match in found if match}


def in_environments():
    """Yield (rule, task, environment file) of every rule, for every task where the rule uses parts of it."""
    for rule in rule_scripts():
        for name in TASKS if rule.parts else TASKS[:1]:
            for environment in rule.environments:
                yield pytest.param(rule, name, environment, id=f"{rule.script}-{name}-{environment}")


def running(tree):
    """Return all nodes but those that only a type checker sees."""
    nodes = [tree]
    for node in nodes:
        hidden = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        nodes += node.orelse if hidden else ast.iter_child_nodes(node)
    return nodes


def imported(path):
    """Return the top-level packages outside the standard library and this project that a file imports."""
    names = set()
    for node in running(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return {DISTRIBUTION.get(n, n) for n in names if n not in sys.stdlib_module_names and n != "dnatune"}


def test_every_script_belongs_to_a_rule():
    in_rules = {rule.script for rule in rule_scripts()}
    assert {path.name for path in SCRIPTS} - WITHOUT_RULE == in_rules


def test_every_environment_is_used():
    assert {name for rule in rule_scripts() for name in rule.environments} == {path.name for path in ENVIRONMENTS}


@pytest.mark.parametrize(("rule", "task_name", "environment"), in_environments())
def test_a_rules_environment_holds_what_its_script_imports(rule, task_name, environment):
    path = ROOT / "scripts" / rule.script
    files = [*reached_modules(path, rule.modules(task_name)), path]
    needed = {name: file.name for file in files for name in imported(file)}
    missing = {name: file for name, file in needed.items() if name not in pins(ROOT / "envs" / environment)}
    assert missing == {}


def test_every_part_of_a_task_is_named_by_a_rule():
    named = {part for rule in rule_scripts() for part in rule.parts}
    assert named == {part for name in TASKS for part in task(name).parts}


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda path: path.stem)
def test_versions_are_those_of_pyproject(environment):
    project = project_pins()
    pinned = {name: version for name, version in pins(environment).items() if name not in NOT_ON_PYPI}
    assert pinned == {name: project.get(name) for name in pinned}


def test_everything_the_library_imports_is_pinned_in_pyproject():
    needed = {name for path in [*(ROOT / "scripts").rglob("*.py")] for name in imported(path)}
    assert sorted(needed - set(project_pins())) == []
