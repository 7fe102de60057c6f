"""The report on unknown species: the numbers are those of metrics.tsv, the words say what they mean and what not."""

from __future__ import annotations

import dataclasses
import html
import re

import numpy as np
import pandas as pd
import pytest

from dnatune import figures_unknowns, report_unknowns, report_words
from dnatune import report_words_unknowns as words
from dnatune.comparison import compare
from dnatune.figures import OKABE_ITO
from synthetic_run import write_run
from test_report import read_run, render


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose two models reject unknown sequences of two kinds, in two folds."""
    plain = read_run(write_run(tmp_path_factory.mktemp("run"), classes=12, folds=2))
    rows, calibrations = [], []
    for number, model in enumerate(plain.language_models):
        for fold in range(2):
            test = {"rejected": 0.05 + 0.02 * fold, "misclassified": 0.01, "accuracy_named": 0.98}
            test |= {"rejected_distance": 0.05, "rejected_probability": 0.04}
            rows += [(model, fold, "test", "calibrated", name, "all", value) for name, value in test.items()]
            for kind, records in (("rare", 4), ("flagged", 300), ("all", 304)):
                values = {"records": records, "auroc": 0.95 - 0.1 * number, "rejected": 0.8, "overclassified": 0.15}
                values |= {"rejected_at_95": 0.7, "left_out": 0 if kind == "rare" else 43}
                if kind != "rare":
                    values |= {"rejected_of_all": 0.8 * 300 / 343, "rejected_at_95_of_all": 0.7 * 300 / 343}
                values |= {"auroc_distance": 0.95, "auroc_probability": 0.9}
                values |= {"rejected_distance": 0.8, "rejected_probability": 0.5}
                rows += [(model, fold, "unknown", "calibrated", name, kind, value) for name, value in values.items()]
            fitted = {"score": "distance", "asked": "auto", "false_alarm": 0.05, "records": 50}
            fitted |= {"thresholds": {"distance": 0.1, "probability": 0.4}, "note": "few records"}
            fitted["power"] = {"distance": 0.99, "probability": 0.97}
            calibrations.append({"model": model, "fold": fold, "method": "none", "rejection": fitted})
    metrics = pd.concat([plain.metrics, pd.DataFrame(rows, columns=plain.metrics.columns)], ignore_index=True)
    return dataclasses.replace(plain, metrics=metrics, calibrations=calibrations)


def test_numbers_of_the_section(run):
    found = report_unknowns.section(run)
    row = next(row for row in found["models"] if row["model"] == run.best)
    assert row["false_alarms"] == pytest.approx(0.06) and row["score"] == "distance to the named class"
    assert [kind["records"] for kind in row["kinds"]] == [4, 300, 304]
    assert [score["score"] for score in found["scores"]] == ["distance to the named class", "probability"]
    assert found["scores"][1]["kinds"][1] == (0.9, 0.5)
    assert found["notes"] == [f"{model}, fold 0, 1: few records" for model in run.language_models]


def test_an_engine_that_chose_by_held_out_species_says_so(run):
    name = run.best
    assert words.WITNESS not in report_unknowns.section(run)["sentences"]
    engine = dataclasses.replace(run, engines=[name], predict_with=name)
    assert words.WITNESS not in report_unknowns.section(engine)["sentences"]
    held = run.metrics.assign(**{"class": run.metrics["class"].replace("flagged", "held_out")})
    assert words.WITNESS in report_unknowns.section(dataclasses.replace(engine, metrics=held))["sentences"]


def test_words_of_the_section(run):
    text = html.unescape(render(run))
    assert 'id="unknowns"' in text
    assert "so that 95 % of known ones keep their name" in text and "about 5 % of known sequences are rejected" in text
    assert "kept 94 % of the known test sequences and rejected 80 % of 304 unknown ones; 15 % of them got a" in text
    assert "rejected at 95 % kept" in text and "known in hindsight only" in text
    cells = " ".join(re.sub("<[^>]+>", " ", text).split())
    assert "marked unknown in the label table 300 0.950 0.800 0.150 0.700 43 0.700" in cells
    assert "of species too rare to train 4 0.950 0.800 0.150 0.700 0 –" in cells
    assert (
        "43 more marked unknown in the label table are identical to, or in one cluster with, a known sequence and were"
        f" not scored. Counted as accepted, {run.best} rejects 0.700 of them all in place of 0.800, and at 95 % of "
        "known kept 0.612 in place of 0.700."
    ) in text
    assert "more of species too rare" not in text
    assert "AUROC by distance to the named class 0.990, probability 0.970, in the first fold" in text
    assert "What this cannot do" in text and all(limit.split(",")[0] in text for limit in words.LIMITS)
    assert "few records" in text and "marked unknown in the label table" in text


def test_every_figure_of_unknown_sequences_has_words_and_a_range():
    names = ["rejected_at_95", "left_out", "rejected_of_all", "rejected_at_95_of_all", "novel", "named", "named_right"]
    assert all(report_words.metric(name).meaning for name in names)
    at_genus = report_words.metric("overclassified@genus")
    assert at_genus.name == "Over-classification, genus" and not at_genus.more_is_better
    counts = [(name, fold) for name in ("novel@genus", "left_out") for fold in (0, 1)]
    rows = [("m", fold, "unknown", "calibrated", name, "all", 9.0 + fold) for name, fold in counts]
    columns = ["model", "fold", "split", "stage", "metric", "class", "value"]
    assert (compare(pd.DataFrame(rows, columns=columns))["ci_high"] > 10).all()


def test_with_ranks_a_name_is_that_of_the_label_s_own_rank():
    said = words.result_sentence("m", 0.95, 0.97, 0.6, 10, 0.25, "species")
    assert "rejected 60 % of 10 unknown ones; 25 % of them got a wrong species name all the same." in said


def test_what_is_not_trained_is_said_to_be_scored():
    summary = {"records_known_unknown": 2, "records_flagged": 1}
    assert words.set_aside(summary) == (
        " 2 sequences belong to classes too rare to train on and 1 sequence is marked unknown in the label table: "
        "nothing was trained on them; “Unknown species” is measured with them, copies of known ones aside."
    )
    given = words.set_aside({"records_known_unknown": 1, "split": {"train": 5}})
    assert given == (
        " 1 sequence belongs to classes too rare to train on or without a training sequence in the given split: "
        "nothing was trained on it; “Unknown species” is measured with it, copies of known ones aside."
    )
    assert words.set_aside({}) == ""


def test_without_unknown_sequences_nothing_is_claimed(run):
    known = dataclasses.replace(run, metrics=run.metrics[run.metrics["split"] != "unknown"])
    assert "how many it would find out is not known" in render(known)
    assert report_unknowns.section(dataclasses.replace(run, calibrations=[])) == {}


@pytest.mark.parametrize(("auroc", "said"), [(0.97, "apart well"), (0.9, "overlap"), (0.6, "hardly told apart")])
def test_the_verdict_follows_the_figure(auroc, said):
    assert said in words.result_sentence("m", 0.95, auroc, 0.5, 10, 0.5)


def test_figures_of_one_fold_many_models_and_negative_scores():
    rng = np.random.default_rng(0)
    fold = {"rejection_score": np.array("energy"), "rejection_threshold": np.array(-3.0)}
    fold |= {"rejection_known": rng.normal(-5, 1, 50), "rejection_flagged": rng.normal(-2, 1, 9)}
    fold |= {"named_share": np.arange(1, 101) / 100, "named_accuracy": np.linspace(1, 0.9, 100)}
    axes = figures_unknowns.unknown_scores([fold, {}], "m", OKABE_ITO).axes[0]
    assert axes.get_xscale() == "linear" and "energy" in axes.get_xlabel()
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["known, test part (50)", "marked unknown in the label table (9)"]
    many = figures_unknowns.named_accuracy({f"m{i}": [fold] for i in range(9)} | {"old": [{}]}, OKABE_ITO)
    assert len(many.axes[0].get_legend().get_texts()) == 9
    same = {
        **fold,
        "rejection_score": np.array("distance"),
        "rejection_known": np.zeros(5),
        "rejection_flagged": np.zeros(2),
    }
    assert figures_unknowns.unknown_scores([same]).axes[0].get_xscale() == "log"
    assert figures_unknowns.named_accuracy({}).axes and figures_unknowns.unknown_scores([]).axes
