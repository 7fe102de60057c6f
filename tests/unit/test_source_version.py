"""A changed library module re-runs the rules that use it and no others; comments re-run nothing."""

import shutil
from pathlib import Path

import pytest

from dnatune import source_version as versions
from dnatune.tasks import TASKS
from rules_read import rule_scripts

SCRIPTS = Path(__file__).parents[2] / "scripts"
RULE_OF = {rule.script: rule for rule in rule_scripts()}


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of scripts/ that may be changed."""
    folder = tmp_path / "scripts"
    shutil.copytree(SCRIPTS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(versions, "LIBRARY", folder / "dnatune")
    yield folder
    versions._tree.cache_clear()


def modules_of(script, task):
    """Return what a script loads by name, as its rule says."""
    rule = RULE_OF.get(script.name)
    return rule.modules(task) if rule else []


def version(script, task="multiclass"):
    """Return the version as a new process would find it, with the parts of the task that its rule names."""
    versions._tree.cache_clear()
    return versions.source_version(script, modules_of(script, task))


def reached(script, task="multiclass"):
    found = versions.reached_modules(SCRIPTS / script, modules_of(SCRIPTS / script, task))
    return {path.relative_to(versions.LIBRARY).as_posix() for path in found}


def add_code(copy, module):
    with open(copy / "dnatune" / module, "a", encoding="utf-8") as handle:
        handle.write("\nADDED = 1\n")


@pytest.fixture(scope="module")
def versions_before():
    """Return {task: {script of a rule: its version}} of the code as it stands."""
    versions._tree.cache_clear()
    source = versions.source_version
    return {
        task: {name: source(SCRIPTS / name, rule.modules(task)) for name, rule in RULE_OF.items()} for task in TASKS
    }


@pytest.fixture
def changed_by(versions_before, copy):
    """Return the scripts of rules that a change in a module runs again, in a run of a task."""

    def changed(module, task="multiclass"):
        add_code(copy, module)
        versions._tree.cache_clear()
        after = {name: versions.source_version(copy / name, rule.modules(task)) for name, rule in RULE_OF.items()}
        return {name for name, found in after.items() if found != versions_before[task][name]}

    return changed


def change(path, old, new):
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_a_version_is_twelve_hexadecimal_digits_and_stays(copy):
    first = version(copy / "train_fold.py")
    assert len(first) == 12
    assert int(first, 16) >= 0
    assert version(copy / "train_fold.py") == first


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("from __future__ import annotations\n", "from __future__ import annotations\n\n# A remark.\n"),
        ('"""Losses for classes', '"""Other words on losses for classes'),
        ('"""Weight n / (classes * count)', '"""Other words: n / (classes * count)'),
        ("Loss = Callable", "\n\nLoss = Callable"),
    ],
)
def test_comments_docstrings_and_blank_lines_do_not_count(copy, old, new):
    before = version(copy / "train_fold.py")
    change(copy / "dnatune" / "losses.py", old, new)
    assert version(copy / "train_fold.py") == before


@pytest.mark.parametrize(
    "module", ["losses.py", "sampling.py", "backbones/nt_mini.py", "backbones/__init__.py", "kmer_encoding.py"]
)
def test_code_of_an_imported_module_counts(copy, module):
    before = version(copy / "train_fold.py")
    add_code(copy, module)
    assert version(copy / "train_fold.py") != before


def test_a_changed_number_counts(copy):
    before = version(copy / "train_fold.py")
    change(copy / "dnatune" / "sampling.py", "MEGABATCH = 50", "MEGABATCH = 51")
    assert version(copy / "train_fold.py") != before


@pytest.mark.parametrize("module", ["figures.py", "report.py", "baselines.py", "model_card.py"])
def test_a_module_that_is_not_imported_does_not_count(copy, module):
    before = version(copy / "train_fold.py")
    add_code(copy, module)
    assert version(copy / "train_fold.py") == before


def test_every_way_to_import_is_followed(copy):
    library = copy / "dnatune"
    (library / "new_one.py").write_text("VALUE = 1\n")
    for line in (
        "import dnatune.new_one",
        "from dnatune import new_one",
        "from dnatune.new_one import VALUE",
        "def f():\n    from dnatune.new_one import VALUE",
    ):
        (copy / "probe.py").write_text(line + "\n")
        versions._tree.cache_clear()
        assert library / "new_one.py" in versions.reached_modules(copy / "probe.py"), line
    (library / "between.py").write_text("from .new_one import VALUE\n")
    (copy / "probe.py").write_text("from dnatune.between import VALUE\n")
    versions._tree.cache_clear()
    assert library / "new_one.py" in versions.reached_modules(copy / "probe.py")


# What trains a model, or reads the training sequences with one.
TRAINS = {"train_fold.py", "refit_model.py", "embed_reference.py"}
READS_LABELS = {"read_records.py", "map_labels.py", "split_folds.py", "run_baseline.py", "evaluate_fold.py"}
READS_LABELS |= {"package_engine.py", "split_training_share.py", *TRAINS}
JUDGES = {"evaluate_fold.py", "package_model.py", "package_engine.py", "name_query.py", "write_report.py"}


@pytest.mark.parametrize(
    ("module", "scripts"),
    [
        ("losses.py", {*TRAINS, "name_query.py"}),
        ("tasks/class_learning.py", {*TRAINS, "name_query.py"}),
        ("tasks/class_labels.py", READS_LABELS),
        ("tasks/class_judging.py", JUDGES),
        ("tasks/class_report.py", {"write_report.py", "write_learning_curve.py"}),
        ("baselines.py", {"run_baseline.py", "package_engine.py", "name_query.py"}),
        ("tasks/binary_labels.py", set()),
        ("tasks/binary_judging.py", set()),
        ("tasks/binary.py", set()),
    ],
)
def test_a_changed_part_of_the_task_reruns_the_rules_that_name_it(changed_by, module, scripts):
    assert changed_by(module) == scripts


@pytest.mark.parametrize(
    ("module", "scripts"),
    [
        ("tasks/binary_labels.py", READS_LABELS),
        ("tasks/binary_judging.py", JUDGES),
        ("losses.py", {*TRAINS, "name_query.py"}),
    ],
)
def test_the_parts_are_those_of_the_runs_own_task(changed_by, module, scripts):
    assert changed_by(module, "binary") == scripts


def test_how_sequences_become_tokens_is_nothing_to_records_folds_and_figures(changed_by):
    assert not changed_by("tokens.py") & {
        "read_records.py", "map_labels.py", "split_folds.py", "evaluate_fold.py", "run_baseline.py",
        "compare_models.py", "draw_figures.py", "write_report.py",
    }  # fmt: skip


def test_training_does_not_depend_on_the_report():
    found = reached("train_fold.py")
    assert {"training.py", "tokens.py", "losses.py", "tuning.py", "backbones/nt_mini.py", "metrics.py"} <= found
    assert not [
        name for name in found if name.startswith(("figures", "report", "comparison", "baselines", "packaging"))
    ]


def test_the_report_does_not_depend_on_training():
    for script in ("draw_figures.py", "write_report.py"):
        assert not reached(script) & {"training.py", "tuning.py", "tokens.py", "losses.py", "packaging.py"}


def test_every_script_has_a_version():
    for script in SCRIPTS.glob("*.py"):
        assert len(version(script)) == 12
