"""Words, tables and figures of labels per base, and the configuration keys that make no sense with them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dnatune import config, figures_token, report_tables, report_words, report_words_token
from dnatune.errors import UserError
from dnatune.figures import OKABE_ITO
from dnatune.report_words import Estimate
from dnatune.tasks import task
from dnatune.tasks.token_judging import segments


def settings(model=None, **sections):
    given = {"backbone": "builtin:nt-mini", **(model or {})}
    return {
        "name": "t",
        "task": "token",
        "data": {"sequences": "s.fasta", "labels": "l.csv"},
        "models": {"m": given},
        **sections,
    }


def test_defaults_of_the_task():
    found = config.resolve(settings())
    assert found["models"]["m"]["training"]["metric"] == "f1_macro"
    assert found["baselines"]["methods"] == ["majority", "context_logistic_regression"]
    assert found["token"] == {"separator": None}


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"tuning": "probe"}, ["models.m.tuning", "task: token", "full or lora"]),
        ({"pooling": "cls"}, ["models.m.pooling", "'cls'", "nothing is pooled"]),
        ({"tokens": {"random_strand": True}}, ["tokens.random_strand", "given strand"]),
        ({"tokens": {"average_strands": True}}, ["tokens.average_strands", "given strand"]),
        ({"tokens": {"long_sequences": "crop"}}, ["tokens.long_sequences", "use windows"]),
        ({"training": {"imbalance": "focal"}}, ["training.imbalance", "'focal'", "none, class_weights"]),
        ({"training": {"metric": "r2"}}, ["training.metric", "'r2'", "f1_macro"]),
    ],
)
def test_keys_that_make_no_sense_with_a_label_per_base(model, words):
    with pytest.raises(UserError) as caught:
        config.resolve(settings(model))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_baselines_of_whole_sequences_are_refused():
    with pytest.raises(UserError, match="'naive_bayes', with task: token expected one of majority, context_log"):
        config.resolve(settings(baselines={"methods": ["naive_bayes"]}))


def test_the_backbones_own_head_is_allowed():
    assert config.resolve(settings({"pooling": "architecture"}))["models"]["m"]["pooling"] == "architecture"


def test_metrics_are_explained_in_bases():
    metric = task("token").report.metric
    assert "bases" in metric("accuracy").meaning
    assert not metric("log_loss").more_is_better
    assert metric("ece") is None
    assert all((metric(name) or report_words.metric(name)).meaning for name in task("token").shown)


def test_the_answer_says_when_nothing_was_learned():
    own = {"accuracy": Estimate(0.52), "f1_macro": Estimate(0.2), "accuracy_per_sequence": Estimate(0.5)}
    text = report_words_token.accuracy_sentence("m", own, 0.51).text
    assert "52.0 % of the bases" in text and "right for 51.0 %" in text and "learned nothing of use" in text
    better = report_words_token.accuracy_sentence("m", {**own, "accuracy": Estimate(0.8)}, 0.51).text
    assert "learned nothing" not in better


def test_the_answer_names_the_best_and_the_worst_label():
    rows = [
        {"label": "C", "tested": 10, "f1": 0.9, "precision": 0.9, "recall": 0.9},
        {"label": "U", "tested": 10, "f1": 0.2, "precision": 0.25, "recall": 0.125},
        {"label": "X", "tested": 0, "f1": np.nan, "precision": np.nan, "recall": np.nan},
    ]
    text = report_words_token.extremes_sentence(rows).text
    assert "Best is 'C' (F1 0.900). Worst is 'U' (F1 0.200): 12.5 %" in text and "25.0 % truly are" in text
    assert report_words_token.extremes_sentence(rows[:1]) is None


def test_confusions_of_folds_are_added():
    table = pd.DataFrame(
        [
            ["m", 0, "A", "A", 8],
            ["m", 0, "A", "B", 2],
            ["m", 1, "A", "A", 1],
            ["m", 1, "A", "B", 9],
            ["n", 0, "A", "A", 5],
        ],
        columns=["model", "fold", "truth", "predicted", "bases"],
    )
    found = report_tables.label_confusions(table, "m").set_index("predicted")
    assert found["bases"].to_dict() == {"A": 9, "B": 11}
    assert found["share"].to_dict() == pytest.approx({"A": 9 / 20, "B": 11 / 20})


def track_table(labels):
    rng = np.random.default_rng(0)
    tables = []
    for example in ("poor", "good"):
        for track in ("truth", "prediction"):
            part = segments(np.repeat(rng.permutation(len(labels)), 20), labels)
            tables.append(
                part.assign(id=f"s {example}", example=example, accuracy=0.5, bases=20 * len(labels), track=track)
            )
    return pd.concat(tables)


def test_tracks_show_each_label_with_its_colour_and_hatch():
    labels = [f"tag{i:02d}" for i in range(20)]
    looks = [(look["facecolor"], look["hatch"]) for look in (figures_token._look(i, OKABE_ITO) for i in range(48))]
    assert len(set(looks)) == 48
    figure = figures_token.tracks(track_table(labels), labels, OKABE_ITO)
    assert len(figure.axes) == 2
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["true", "predicted"]
    assert "50 % of bases right" in figure.axes[0].get_title(loc="left")
    assert len(figure.legends[0].get_texts()) == 20


def test_f1_of_a_label_is_the_mean_over_folds():
    rows = [("m", fold, "test", "calibrated", "f1", label, value) for fold, label, value in
            [(0, "A", 0.2), (1, "A", 0.4), (0, "B", 0.9)]]  # fmt: skip
    metrics = pd.DataFrame(rows, columns=["model", "fold", "split", "stage", "metric", "class", "value"])
    figure = figures_token.label_f1(metrics, ["A", "B", "C"], "m", OKABE_ITO)
    (line,) = figure.axes[0].get_lines()
    np.testing.assert_allclose(line.get_xdata(), [0.3, 0.9, np.nan])


def test_figures_without_data_say_so():
    nothing = pd.DataFrame(columns=["model", "metric", "split", "stage", "class", "value", "truth"])
    assert figures_token.label_f1(nothing, [], None, OKABE_ITO).axes[0].texts[0].get_text() == "No label was tested."
    assert "No base" in figures_token.label_confusions(nothing, []).axes[0].texts[0].get_text()
    assert "No sequence" in figures_token.tracks(nothing, [], OKABE_ITO).axes[0].texts[0].get_text()


def test_confusion_figure_has_the_share_in_each_cell():
    pairs = [("A", "A", 3, 0.75), ("A", "B", 1, 0.25), ("B", "A", 0, 0.0), ("B", "B", 2, 1.0)]
    table = pd.DataFrame(pairs, columns=["truth", "predicted", "bases", "share"])
    axes = figures_token.label_confusions(table, ["A", "B"]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["75 %", "25 %", "0 %", "100 %"]
