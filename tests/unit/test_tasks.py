"""What every task says of itself fits the rest: metrics have words, figures and sections are there, parts load."""

from pathlib import Path

import pytest

from dnatune import config, report_contents, report_words
from dnatune.comparison import RANGES
from dnatune.figure_data import DRAWN
from dnatune.tasks import TASKS, base, task, task_of

LOOK = Path(__file__).parents[2] / "workflow" / "report"
SCHEMA = config.load_schema()["properties"]
PARTS = {"labels": base.Labels, "learning": base.Learning, "judging": base.Judging, "report": base.Report}
MINIMAL = {
    "name": "run",
    "data": {"sequences": "s.fasta", "labels": "l.csv"},
    "models": {"mini": {"backbone": "builtin:nt-mini"}},
}

OPTIONS = {name: SCHEMA.get(name, {}).get("properties", {}) for name in TASKS}
MADE = {name: task(name, {key: child.get("default") for key, child in OPTIONS[name].items()}) for name in TASKS}
TRAINED = [name for name in TASKS if MADE[name].labelled]
every_task = pytest.mark.parametrize("kind", [MADE[name] for name in TRAINED], ids=TRAINED)


def test_the_configuration_knows_the_tasks():
    assert tuple(SCHEMA["task"]["enum"]) == TASKS


@pytest.mark.parametrize("name", TRAINED)
def test_the_defaults_of_a_task_are_its_own(name):
    whole = config.resolve({**MINIMAL, "task": name})
    kind = task(**task_of(whole))
    assert whole["models"]["mini"]["training"]["metric"] == kind.best_by
    by_itself = [m for m in kind.baselines if not m.startswith("vector_") and m not in kind.on_request]
    assert whole["baselines"]["methods"] == by_itself
    assert config.resolve(whole) == whole


def test_options_and_label_map_reach_the_task():
    data = {**MINIMAL["data"], "label_map": ["yes", "no"]}
    named = task_of(config.resolve({**MINIMAL, "data": data, "task": "binary", "binary": {"positive": "yes"}}))
    assert named == {"name": "binary", "options": {"positive": "yes", "labels": ["yes", "no"], "columns": ["label"]}}
    assert task(**named).options["positive"] == "yes"


@every_task
def test_metrics_that_choose_are_on_the_learning_curve(kind):
    assert {kind.best_by, kind.tie_break, kind.gap} <= set(kind.curve)
    assert kind.curve[kind.tie_break] is False
    for name, more in kind.curve.items():
        assert report_words.metric(name).more_is_better is more


@every_task
def test_every_metric_shown_has_its_words_and_its_range(kind):
    assert len(kind.headline) == 4
    shown = {m for m in (*kind.headline, *kind.shown, *kind.tested, *kind.curve) if m != "top_k_accuracy"}
    assert [m for m in shown if not (kind.report.metric(m) or report_words.metric(m)).meaning] == []
    assert kind.best_by in RANGES or kind.best_by in kind.shown


@every_task
def test_figures_and_sections_are_there(kind):
    for name in kind.figures:
        assert name in DRAWN and report_contents.FIGURES[name] and (LOOK / f"{name}.rst").is_file()
    for name in kind.sections:
        assert report_contents.SECTIONS[name].title and (LOOK / "sections" / f"{name}.html.j2").is_file()


@every_task
def test_parts_are_parts(kind):
    assert set(kind.parts) == {*PARTS, "baselines"}
    for stage, kind_of_part in PARTS.items():
        part = getattr(kind, stage)
        assert isinstance(part, kind_of_part) and part.task is kind
    for name in kind.baselines:
        assert callable(kind.baseline(name).logits)


def test_nothing_is_left_of_a_task_that_is_gone():
    kinds = [*MADE.values(), task("multilabel", {**MADE["multilabel"].options, "alone": "labels"})]
    kinds.append(task("multiclass", {**MADE["multiclass"].options, "ranks": ["genus"]}))
    every = {"more_data"}  # of every task, where it is asked for
    assert set(report_contents.FIGURES) == set(DRAWN) == every | {name for kind in kinds for name in kind.figures}
    assert set(report_contents.SECTIONS) == {name for kind in kinds for name in kind.sections}
    assert {path.name.split(".")[0] for path in (LOOK / "sections").iterdir()} == every | set(report_contents.SECTIONS)


class Bare(base.Task):
    """A task that has few of all things."""

    curve = {"mse": False}  # noqa: RUF012
    best_by = "mse"
    baselines = ("mean",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": {"mini": {"training": {"metric": "accuracy"}}}},
         ("'models.mini.training.metric'", "'accuracy'", "expected one of mse.")),
        ({"models": {"mini": {"training": {"imbalance": "focal"}}}},
         ("'models.mini.training.imbalance'", "'focal'", "expected one of none.")),
        ({"baselines": {"methods": ["majority"]}},
         ("'baselines.methods'", "'majority'", "expected one of mean.")),
        ({"calibration": {"method": "platt"}},
         ("'calibration.method'", "'platt'", "expected one of auto, none.")),
        ({"data": {"columns": {"label": ["one", "two"]}}},
         ("'data.columns.label'", "one column of labels, not a list")),
    ],
)  # fmt: skip
def test_what_a_task_does_not_have_is_refused_by_its_key(monkeypatch, changes, words):
    monkeypatch.setattr(config, "task", lambda name, options: Bare(options))
    given = {**MINIMAL, **changes, "data": {**MINIMAL["data"], **changes.get("data", {})}}
    given["models"] = {"mini": {**MINIMAL["models"]["mini"], **changes.get("models", {}).get("mini", {})}}
    with pytest.raises(config.UserError) as caught:
        config.resolve(given)
    sentence = str(caught.value)
    assert [word for word in (*words, "task: multiclass") if word not in sentence] == []
    assert "\n" not in sentence


def test_a_task_with_several_columns_takes_a_list(monkeypatch):
    monkeypatch.setattr(Bare, "several_columns", True)
    monkeypatch.setattr(config, "task", lambda name, options: Bare(options))
    data = {**MINIMAL["data"], "columns": {"label": ["one", "two"]}}
    assert config.resolve({**MINIMAL, "data": data})["data"]["columns"]["label"] == ["one", "two"]
