"""What a change re-runs: only what depends on it. All of it in dry runs on a finished run."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from workflow_runs import Run, finished_run, plan


@pytest.fixture
def finished(tmp_path_factory) -> Run:
    """A finished run of three models and two baselines, two folds."""
    return finished_run(tmp_path_factory.getbasetemp())


def changed(run: Run, key: str, value: Any) -> Run:
    """Return the run with one key of its configuration changed; ``key`` is a path such as ``report.colors``."""
    config = copy.deepcopy(run.config)
    *parents, last = key.split(".")
    section = config
    for parent in parents:
        section = section.setdefault(parent, {})
    section[last] = value
    return replace(run, config=config)


def test_no_change_runs_nothing(finished):
    assert plan(finished).rules == Counter()


def test_a_colour_redraws_the_report_only(finished):
    run = changed(finished, "report.colors", ["#112233", "#445566", "#778899"])
    assert plan(run).rules == Counter(figures=1, report=1, all=1)


def test_a_title_rewrites_the_report_only(finished):
    assert plan(changed(finished, "report.title", "Lizards")).rules == Counter(report=1, all=1)


@pytest.mark.parametrize("name", ["full", "lora", "probe"])
def test_a_learning_rate_retrains_that_model_only(finished, name):
    planned = plan(changed(finished, f"models.{name}.training.learning_rate", 5e-4))
    follows = Counter(train=2, evaluate=2, refit=1, reference=1, package=1, compare=1, figures=1, report=1, all=1)
    assert planned.rules == follows
    others = {"full", "lora", "probe", "majority", "naive_bayes"} - {name}
    named = {word for message in planned.messages for word in message.split()}
    assert name in named
    assert not named & others


@pytest.mark.parametrize("minutes", [1, None])
def test_resources_run_nothing(finished, minutes):
    resources = {"threads": 2, "mem_mb": 9000, "runtime": 600, "gpu": 0, "checkpoint_minutes": minutes}
    assert plan(changed(finished, "models.full.resources", resources)).rules == Counter()


def test_the_k_of_top_k_evaluates_again_and_trains_nothing(finished):
    rules = plan(changed(finished, "metrics.top_k", 3)).rules
    assert rules["evaluate"] == 10
    assert rules["compare"] == rules["report"] == 1
    assert not set(rules) & {
        "records",
        "labels",
        "folds",
        "tokens",
        "embeddings",
        "train",
        "baseline",
        "refit",
    }


def test_another_share_of_false_alarms_sets_thresholds_and_trains_nothing(finished):
    rules = plan(changed(finished, "unknowns.false_alarm", 0.1)).rules
    assert rules["evaluate"] == 10 and rules["package"] == 3
    assert not set(rules) & {"folds", "train", "baseline", "refit", "reference"}


def test_a_baseline_more_trains_nothing(finished):
    methods = ["majority", "naive_bayes", "logistic_regression"]
    rules = plan(changed(finished, "baselines.methods", methods)).rules
    expected = Counter(baseline=2, evaluate=2, compare=1, figures=1, report=1, all=1)
    # This one is also the expert that makes an engine of the models.
    assert rules == expected + Counter(combine=2, evaluate=2, package_engine=1)


def test_the_seed_runs_everything_random_again(finished):
    rules = plan(changed(finished, "seed", 4)).rules
    assert rules["folds"] == 1
    assert rules["train"] == 6
    assert not set(rules) & {"records", "labels", "tokens"}
