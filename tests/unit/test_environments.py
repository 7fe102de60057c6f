"""The conda environments hold what their rules' scripts and task parts import, with the versions of pyproject.toml."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from dnatune.baseline_programs import PROGRAMS
from dnatune.source_version import reached_modules
from dnatune.tasks import TASKS, task
from dnatune.top_hit import PACKAGES
from rules_read import rule_scripts

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))
# Import name -> distribution, and conda name -> distribution, where they differ. From tokenizers on they are hard
# dependencies of transformers and jinja2, which choose their versions.
DISTRIBUTION = {
    "sklearn": "scikit-learn",
    "Bio": "biopython",
    "yaml": "pyyaml",
    "tokenizers": "transformers",
    "huggingface_hub": "transformers",
    "httpx": "transformers",
    "markupsafe": "jinja2",
}
CONDA = {"pytorch-cpu": "torch", "pytorch-gpu": "torch", "matplotlib-base": "matplotlib"}
NOT_ON_PYPI = {"python", "vsearch", "blast", "cuda-version"}
# Run by hand or by make, not by a rule.
WITHOUT_RULE = {"resume_run.py", "simulate_example.py", "status.py", "write_config_reference.py"}


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


def imported_names(path):
    """Return the top-level names that a file imports."""
    names = set()
    for node in running(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names


def imported(path):
    """Return the packages outside the standard library and this project that a file imports."""
    names = imported_names(path)
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


def modules_of(rule, task_name):
    """Return the names of the library's modules that a rule's script reaches."""
    return {path.stem for path in reached_modules(ROOT / "scripts" / rule.script, rule.modules(task_name))}


@pytest.mark.parametrize(("rule", "task_name", "environment"), in_environments())
def test_a_rules_environment_brings_the_programs_that_its_script_runs(rule, task_name, environment):
    # The workflow takes for granted that conda brings them all (BROUGHT in common.smk).
    wanted = {conda for conda, _ in PACKAGES.values()} if "top_hit" in modules_of(rule, task_name) else set()
    assert wanted - set(pins(ROOT / "envs" / environment)) == set()


def test_programs_are_run_by_one_module_that_knows_their_packages():
    # Besides, GPUs are counted with the driver's nvidia-smi, and a job starts itself with python.
    starting = {
        path.stem
        for rule in rule_scripts()
        for path in reached_modules(ROOT / "scripts" / rule.script, rule.modules("multiclass"))
        if "subprocess" in imported_names(path)
    }
    assert starting - {"own_gpus", "distributed"} == {"top_hit"}
    assert set(PROGRAMS.values()) <= set(PACKAGES)
    running = {rule.script for rule in rule_scripts() if "top_hit" in modules_of(rule, "multiclass")}
    assert running == {"run_baseline.py", "package_engine.py", "name_query.py"}


def test_programs_have_one_version_in_all_environments():
    found = [(name, pins(path)[name]) for path in ENVIRONMENTS for name in pins(path) if name in NOT_ON_PYPI]
    assert len(set(found)) == len({name for name, _ in found})


def test_the_container_brings_the_programs():
    (install,) = re.findall(r"apt-get install .*", (ROOT / "envs" / "dnatune.def").read_text("utf-8"))
    assert {debian for _, debian in PACKAGES.values()} <= set(install.split())


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


def requirements(distribution):
    """Return the names of the packages that an installed package says it cannot do without."""
    lines = importlib.metadata.requires(distribution) or []
    return {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in lines if "extra ==" not in line}


@pytest.mark.parametrize(
    ("imported_name", "brought_by"),
    [("tokenizers", "transformers"), ("huggingface-hub", "transformers"), ("httpx", "huggingface-hub")],
)
def test_what_is_not_pinned_by_name_is_brought_by_what_is(imported_name, brought_by):
    assert imported_name in requirements(brought_by)


@pytest.mark.parametrize(
    "path", [path for path in SCRIPTS if path.name not in WITHOUT_RULE], ids=lambda path: path.stem
)
def test_only_downloading_may_reach_a_hub(path):
    # What asks a hub reads its settings when it is imported: each other script with such a library in its reach has to
    # switch hubs off before it imports anything of ours.
    asks = {"transformers", "huggingface_hub", "datasets", "peft", "accelerate"}
    reached = [*reached_modules(path, [f"dnatune.tasks.{name}" for name in TASKS]), path]
    if path.name == "fetch_backbone.py" or not any(asks & imported_names(file) for file in reached):
        return
    imports = [n for n in ast.parse(path.read_text("utf-8")).body if isinstance(n, (ast.Import, ast.ImportFrom))]
    ours = [n for n in imports if "dnatune" in ast.unparse(n)]
    assert ast.unparse(ours[0]) == "import dnatune.offline", f"{path.name} begins with {ast.unparse(ours[0])}"
    before = {name for n in imports[: imports.index(ours[0])] for name in ast.unparse(n).replace(",", " ").split()}
    assert not asks & {name.split(".")[0] for name in before}


def test_importing_the_switch_is_enough(tmp_path):
    code = (
        "import sys, dnatune.offline\n"
        "from huggingface_hub import constants\nfrom transformers.utils import hub\nimport datasets\n"
        "sys.exit(not (constants.HF_HUB_OFFLINE and hub.is_offline_mode() and datasets.config.HF_HUB_OFFLINE))"
    )
    switched_on = {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0"}
    env = {**os.environ, **switched_on, "PYTHONPATH": str(ROOT / "scripts")}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 0


def test_the_container_installs_what_pyproject_and_constraints_say():
    definition = (ROOT / "envs" / "dnatune.def").read_text("utf-8")
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (install,) = re.findall(r"pip install .*--group.*", definition)
    assert set(re.findall(r"--group (\w+)", install)) == {"workflow", "slurm"} <= set(whole["dependency-groups"])
    assert "--constraint constraints.txt" in install
    copied = re.findall(r"^    (\S+) /opt/dnatune/(\S+)$", definition, re.M)
    assert copied == [("pyproject.toml", "pyproject.toml"), ("constraints.txt", "constraints.txt")]
    # One Python everywhere, and one pip (the Makefile's).
    python = {re.search(r"- python =([\d.]+)", path.read_text("utf-8"))[1] for path in ENVIRONMENTS}
    assert python == set(re.findall(r"^From: python:([\d.]+)-", definition, re.M))
    assert re.search(r"pip==\S+", definition)[0] in (ROOT / "Makefile").read_text("utf-8")
