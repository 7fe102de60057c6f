"""A changed library module re-runs the rules that use it and no others; comments re-run nothing."""

import shutil
from pathlib import Path

import pytest

from dnatune import source_version as versions

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of scripts/ that may be changed."""
    folder = tmp_path / "scripts"
    shutil.copytree(SCRIPTS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(versions, "LIBRARY", folder / "dnatune")
    yield folder
    versions._tree.cache_clear()


def version(script):
    """Return the version as a new process would find it."""
    versions._tree.cache_clear()
    return versions.source_version(script)


def reached(script):
    return {path.relative_to(versions.LIBRARY).as_posix() for path in versions.reached_modules(SCRIPTS / script)}


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
    with open(copy / "dnatune" / module, "a", encoding="utf-8") as handle:
        handle.write("\nADDED = 1\n")
    assert version(copy / "train_fold.py") != before


def test_a_changed_number_counts(copy):
    before = version(copy / "train_fold.py")
    change(copy / "dnatune" / "sampling.py", "MEGABATCH = 50", "MEGABATCH = 51")
    assert version(copy / "train_fold.py") != before


@pytest.mark.parametrize("module", ["figures.py", "report.py", "baselines.py", "model_card.py"])
def test_a_module_that_is_not_imported_does_not_count(copy, module):
    before = version(copy / "train_fold.py")
    with open(copy / "dnatune" / module, "a", encoding="utf-8") as handle:
        handle.write("\nADDED = 1\n")
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
