"""Figures: the same tables give the same file, every size of run can be drawn, nothing is hidden by scale."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest

from dnatune import figures, figures_models
from dnatune.figure_data import DRAWN, FigureData
from dnatune.tasks import task
from synthetic_run import HOSTILE, write_run

TASK, COLORS = task("multiclass"), figures.OKABE_ITO


class Given(dict):
    """Named inputs as a rule gives them."""

    __getattr__ = dict.__getitem__


def draw_all(root, kind=TASK):
    """Return every figure of a run by name."""
    given = Given(
        class_balance=root / "labels/class_balance.tsv",
        folds_audit=root / "folds/audit.json",
        species=root / "difficulty/species.tsv",
        metrics=root / "metrics.tsv",
        comparison=root / "comparison.tsv",
        histories=sorted(root.glob("models/*/fold_*/history.tsv")),
        curves=sorted(root.glob("*/*/fold_*/curves.npz")),
        confusions=sorted(root.glob("*/*/fold_*/confusions.tsv")),
    )
    data = FigureData(given, kind, COLORS)
    return {name: DRAWN[name](data) for name in kind.figures}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("small"), classes=8, folds=2)


@pytest.mark.parametrize("name", ["multiclass", "binary"])
def test_each_figure_of_a_task_is_drawn(small, name):
    for figure in draw_all(small, task(name)).values():
        assert figure.axes and not any("No " in text.get_text() for text in figure.axes[0].texts)


def test_same_tables_same_svg(small, tmp_path):
    for number in (1, 2):
        figures.save_figure(draw_all(small)["model_comparison"], tmp_path / f"{number}.svg")
    first = (tmp_path / "1.svg").read_bytes()
    assert first == (tmp_path / "2.svg").read_bytes()
    assert b"<dc:date>" not in first


def test_drawing_leaves_matplotlib_settings_alone(small):
    before = dict(matplotlib.rcParams)
    draw_all(small)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("classes", "folds", "models", "baselines"),
    [(2, 1, {"a": 0.9}, {}), (3200, 1, {f"m{i}": 0.9 for i in range(8)}, {"naive_bayes": 0.9})],
)
def test_smallest_and_largest_runs(tmp_path, classes, folds, models, baselines):
    root = write_run(tmp_path, classes, folds, models, baselines)
    for name, figure in draw_all(root).items():
        figures.save_figure(figure, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000


def test_empty_tables_say_so_instead_of_failing():
    nothing = pd.DataFrame()
    for figure in (
        figures.class_balance(nothing),
        figures.folds(nothing),
        figures.confusions(nothing),
        figures_models.learning_curves(nothing, COLORS, TASK),
        figures_models.precision_recall(nothing),
        figures_models.reliability(nothing),
    ):
        assert len(figure.axes[0].texts) == 1


def test_missing_interval_draws_the_point_alone():
    row = {"model": "m", "split": "test", "stage": "raw", "metric": "accuracy", "mean": 0.5, "folds": 1}
    comparison = pd.DataFrame([{**row, "sd": np.nan, "ci_low": np.nan, "ci_high": np.nan}])
    metrics = pd.DataFrame([{**row, "fold": 0, "class": "all", "value": 0.5}])
    axes = figures_models.model_comparison(comparison, metrics, {"m": "language model"}, COLORS, TASK).axes[0]
    drawn = [line.get_xdata().tolist() for line in axes.lines]
    assert [0.5] in drawn and not any(np.isnan(x).any() for x in drawn)


def test_each_kind_of_model_has_a_marker_of_its_own():
    row = {
        "split": "test",
        "stage": "raw",
        "metric": "accuracy",
        "folds": 1,
        "sd": np.nan,
        "ci_low": np.nan,
        "ci_high": np.nan,
    }
    models = {"nt": 0.5, "bayes": 0.6, "engine": 0.7}
    comparison = pd.DataFrame([{**row, "model": model, "mean": mean} for model, mean in models.items()])
    metrics = comparison.assign(fold=0, value=comparison["mean"], **{"class": "all"})
    kinds = {"nt": "language model", "engine": "several experts"}
    figure = figures_models.model_comparison(comparison, metrics, kinds, COLORS, TASK)
    marks = {line.get_xdata()[0]: line.get_marker() for line in figure.axes[0].lines if line.get_markersize() == 7}
    assert marks == {0.5: "o", 0.6: "s", 0.7: "^"}
    assert {text.get_text() for text in figure.legends[0].get_texts()} >= {
        "language model",
        "baseline",
        "several experts",
    }


def test_a_far_off_model_does_not_squeeze_the_others(small):
    axes = draw_all(small)["model_comparison"].axes[0]
    assert axes.get_title(loc="left") == "Accuracy"
    assert axes.get_xlim()[0] > 0.8
    assert any(float(text.get_text()) < 0.06 for text in axes.texts)


def test_labels_are_names_not_formulas():
    table = pd.DataFrame({"truth": ["A$_1$"], "predicted": [HOSTILE], "count": [3]})
    axes = figures.confusions(table).axes[0]
    assert "A$_1$" in axes.get_yticklabels()[0].get_text()
    assert not axes.get_yticklabels()[0].get_parse_math()


def test_log_axis_has_plain_numbers():
    balance = pd.DataFrame({"label": [f"c{i}" for i in range(50)], "class_id": range(50), "records": range(2, 52)})
    figure = figures.class_balance(balance)
    figure.canvas.draw()
    names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert "10" in names and not any("$" in name for name in names)


def test_confusions_are_summed_over_folds_and_cut():
    table = pd.DataFrame(
        {"truth": list("abab"), "predicted": list("bcbc"), "count": [1, 5, 3, 0], "fold": [0, 0, 1, 1]}
    )
    axes = figures.confusions(table, top_k=1).axes[0]
    assert [patch.get_width() for patch in axes.patches] == [5]


def test_colors_are_used_as_given(small):
    counts = pd.DataFrame({"fold": [0], "role": ["train"], "records": [5]})
    axes = figures.folds(counts, colors=["#123456"]).axes[0]
    assert matplotlib.colors.to_hex(axes.patches[0].get_facecolor()) == "#123456"


def test_models_beyond_the_palette_still_differ():
    points = pd.DataFrame(
        [(f"m{i}", 0, r, 1 - r * i / 30) for i in range(20) for r in (0, 1)],
        columns=["model", "fold", "recall", "precision"],
    )
    axes = figures_models.precision_recall(points).axes[0]
    looks = {
        (line.get_color(), str(line.get_linestyle()), line.get_marker())
        for line in axes.lines
        if line.get_marker() != "None"
    }
    assert len(looks) == 20


def test_long_names_are_cut_in_the_middle():
    assert figures.shortened("Abcdefgh ijklmnop", 10) == "Abcdef…nop"
    assert figures.shortened("a\nb") == "a b"
