"""The report on the engine: its place in the tables, its weights, and who names new sequences."""

from dataclasses import replace

import pytest

from dnatune import report, report_engine
from synthetic_run import BASELINES, MODELS, write_run
from test_report import read_run, render


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("engine"), classes=12, folds=3, engines={"engine": 0.99})
    return read_run(folder, engines=["engine"])


def test_it_stands_among_models_and_baselines_and_is_not_the_model_of_the_answer(run):
    rows = report.model_rows(run)[0]["rows"]
    kinds = {row["model"]: row["kind"] for row in rows}
    assert kinds["engine"] == "engine"
    assert {kinds[name] for name in MODELS} == {"language model"}
    assert {kinds[name] for name in BASELINES} == {"baseline"}
    assert run.best in MODELS
    models = report.tables(run)["models"]
    assert set(models[models["model"] == "engine"]["kind"]) == {"engine"}


def test_weights_are_those_of_run_json(run):
    rows = report_engine.members(report_engine.engine_runs(run))
    assert [row["member"] for row in rows] == ["nt-mini", "logistic_regression", "product of all"]
    assert rows[0]["weight"] == pytest.approx(0.21) and rows[0]["weights"] == pytest.approx([0.2, 0.21, 0.22])
    assert (rows[0]["log_loss"], rows[2]["log_loss"]) == (pytest.approx(0.2), None)


def test_the_answer_says_what_pooling_gains_against_the_best_expert(run):
    sentence = report_engine.sentences(run)[0]
    assert "the engine, which pools nt-mini and logistic_regression" in sentence.text
    level = run.comparison.query("model == 'engine' and split == 'test' and stage == 'calibrated'")
    accuracy = level[level["metric"] == "accuracy"]["mean"].item()
    assert f"Accuracy {accuracy:.3f} against" in sentence.text
    assert "of logistic_regression (p = 0.02)" in sentence.text
    assert "corrected for the number of tests" in sentence.text
    assert sentence.text.startswith("Yes, on all counts")
    unsure = replace(run, paired=run.paired.assign(p_value=0.01, p_holm=0.2))
    assert "of logistic_regression (p = 0.2)" in report_engine.sentences(unsure)[0].text
    assert report_engine.sentences(unsure)[0].text.startswith("It is ahead on all counts, but not by enough")
    worse = run.comparison.copy()
    worse.loc[(worse["model"] == "engine") & (worse["metric"] != "log_loss"), "mean"] = 0.5
    worse.loc[(worse["model"] == "engine") & (worse["metric"] == "log_loss"), "mean"] = 2.0
    assert report_engine.sentences(replace(run, comparison=worse))[0].text.startswith("No: one of them alone")
    assert "snakemake predict uses the engine: its log loss on validation is 0.110" in sentence.text


def test_the_configuration_may_say_who_names(run):
    words = report_engine.who_names(replace(run, predict_with="nt-mini"))
    assert words == "snakemake predict uses nt-mini, as the configuration says."


def test_sections_on_single_names_speak_of_the_one_that_names(run):
    assert run.naming == "engine" and run.best in MODELS
    assert replace(run, predict_with="nt-mini").naming == "nt-mini"
    assert replace(run, engines=[]).naming == run.best
    # The engine's loss on validation raised above the model's: predict uses the model, and so does the report.
    worse = [{**entry, "validation_log_loss": {"engine": 0.9, "nt-mini": 0.2}} if "pool" in entry else entry
             for entry in run.runs]  # fmt: skip
    alone = replace(run, runs=worse)
    assert alone.naming == "nt-mini" and alone.whose == ""
    page = render(run)
    section = page[page.index('<section id="sets">') :]
    assert f"This section speaks of engine, which names new sequences (the answer above of {run.best})." in section
    assert "test sequences of engine" in section and "engine ★" in section


def test_only_what_is_saved_names(run):
    other = next(name for name in MODELS if name != run.best)
    # packaging.models leaves the best one out.
    assert replace(run, engines=[], saved=[other]).naming == other
    assert replace(run, engines=[], saved=[other]).whose.startswith(f"This section speaks of {other}")
    # The engine that is asked for cannot be pooled on this machine.
    assert replace(run, engines=[], predict_with="engine").naming == run.best
    assert replace(run, engines=[], predict_with="engine").whose == ""


def test_the_section_is_there_with_an_engine_only(run):
    page = render(run)
    assert '<section id="engine">' in page and "what all agree on (product)" in page
    assert '<section id="engine">' not in render(replace(run, engines=[]))
    assert report_engine.sentences(replace(run, engines=[])) == []
