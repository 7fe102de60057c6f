"""Which experts an engine gets from a configuration, and mistakes in it said in one sentence."""

import pytest

from dnatune.config import resolve
from dnatune.errors import UserError
from dnatune.experts import experts
from dnatune.tasks import task, task_of

DATA = {"sequences": "s.fasta", "labels": "l.csv"}
EVERYTHING = ["majority", "naive_bayes", "logistic_regression", "vsearch_top_hit"]


def config(**sections):
    models = {"a": {"backbone": "builtin:nt-mini"}, "b": {"backbone": "builtin:nt-mini"}}
    return {"name": "x", "data": dict(DATA), "models": models, **sections}


def found(baselines=EVERYTHING, **sections):
    complete = resolve(config(**sections))
    return experts(complete, task(**task_of(complete)), baselines)


def test_by_default_saved_models_regression_and_top_hit():
    assert found() == ["a", "b", "logistic_regression", "vsearch_top_hit"]
    assert found(packaging={"models": ["b"]}) == ["b", "logistic_regression", "vsearch_top_hit"]


def test_what_cannot_run_is_left_out_and_one_alone_is_no_engine():
    assert found(["logistic_regression"]) == ["a", "b", "logistic_regression"]
    assert found(["majority", "naive_bayes"]) == []
    named = {"experts": ["naive_bayes", "vsearch_top_hit"]}
    assert found(engine=named) == ["naive_bayes", "vsearch_top_hit"]
    assert found(["naive_bayes"], engine=named) == []
    assert found(engine={"experts": []}) == []


def test_without_a_model_the_engine_pools_baselines():
    assert found(models={}) == ["logistic_regression", "vsearch_top_hit"]
    assert found(["naive_bayes", "kmer_top_hit"], models={}) == []  # one of the two that it takes by itself
    named = {"experts": ["naive_bayes", "vsearch_top_hit"]}
    assert found(models={}, engine=named) == ["naive_bayes", "vsearch_top_hit"]


@pytest.mark.parametrize("kind", ["multilabel", "regression", "token"])
def test_other_tasks_have_no_engine(kind):
    assert found([], task=kind) == []
    with pytest.raises(UserError, match=f"'engine.experts': with task: {kind} there is no engine"):
        resolve(config(task=kind, engine={"experts": ["a", "b"]}))


def test_two_classes_have_one():
    assert found(task="binary") == ["a", "b", "logistic_regression", "vsearch_top_hit"]


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"engine": {"name": "a"}}, "'a' is the name of a model or baseline"),
        ({"engine": {"name": "naive_bayes"}}, "'naive_bayes' is the name of a model or baseline"),
        ({"engine": {"experts": ["a", "naive_baies"]}}, "found 'naive_baies' .did you mean 'naive_bayes'"),
        ({"engine": {"experts": ["a"]}}, "found one expert, expected two or more"),
        ({"engine": {"expert": ["a"]}}, "unknown key 'expert' in 'engine'"),
        ({"predict_with": "c"}, "'predict_with': found 'c', expected null or one of a, b, engine"),
        ({"predict_with": "b", "packaging": {"models": ["a"]}}, "found 'b', expected null or one of a, engine"),
    ],
)
def test_mistakes_are_said_in_one_sentence(sections, sentence):
    with pytest.raises(UserError, match=sentence):
        resolve(config(**sections))


def test_experts_on_vectors_are_refused():
    methods = ["logistic_regression", "vector_logistic_regression"]
    sections = {"baselines": {"methods": methods}, "engine": {"experts": methods}}
    with pytest.raises(UserError, match="vector_logistic_regression needs vectors, which new sequences do not have"):
        resolve({**config(**sections), "data": {**DATA, "vectors": "v.csv"}})


def test_an_engine_that_is_to_name_must_be_there():
    with pytest.raises(UserError, match="'predict_with': found 'engine', but there is no engine"):
        resolve(config(predict_with="engine", engine={"experts": []}))
