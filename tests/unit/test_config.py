"""The configuration: defaults filled in, every mistake one sentence that names the key."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest

from dnatune import config
from dnatune.errors import UserError

MINIMAL = {
    "name": "run",
    "data": {"sequences": "s.fasta", "labels": "l.csv"},
    "models": {"mini": {"backbone": "builtin:nt-mini"}},
}


def changed(path, value, start=MINIMAL):
    """Return ``start`` with the dotted key ``path`` set to ``value``."""
    whole = copy.deepcopy(start)
    *groups, last = path.split(".")
    place = whole
    for group in groups:
        place = place.setdefault(group, {})
    place[last] = value
    return whole


def refused(path, value):
    """Return the sentence with which a changed configuration is refused."""
    with pytest.raises(UserError) as caught:
        config.resolve(changed(path, value))
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 400
    return sentence


def test_defaults_are_filled_in_everywhere():
    whole = config.resolve(MINIMAL)
    model = whole["models"]["mini"]
    assert (whole["seed"], whole["split"]["folds"], whole["metrics"]["top_k"]) == (0, 5, 5)
    assert whole["split"]["validation_share"] == 0.1
    assert (model["tuning"], model["pooling"], model["tokens"]["long_sequences"]) == ("full", None, "windows")
    assert (model["training"]["metric"], model["training"]["imbalance"]) == ("pr_auc_macro", "none")
    assert whole["data"]["columns"]["id"] == "id"
    assert whole["packaging"]["mode"] == "refit"


def test_every_key_of_the_schema_has_its_default():
    def missing(schema, value, path):
        for key, child in schema.get("properties", {}).items():
            if key not in value:
                yield f"{path}{key}"
            elif isinstance(value[key], dict):
                yield from missing(child, value[key], f"{path}{key}.")
        rest = schema.get("additionalProperties")
        if isinstance(rest, dict) and rest.get("type") == "object":
            for key in value:
                yield from missing(rest, value[key], f"{path}{key}.")

    assert list(missing(config.load_schema(), config.resolve(MINIMAL), "")) == []


def test_every_key_of_the_schema_is_described_and_optional_ones_have_defaults():
    def faults(schema, path):
        for key, child in schema.get("properties", {}).items():
            if not child.get("description") or (key not in schema.get("required", []) and "default" not in child):
                yield f"{path}{key}"
            yield from faults(child, f"{path}{key}.")
        if isinstance(schema.get("additionalProperties"), dict):
            yield from faults(schema["additionalProperties"], f"{path}*.")

    assert list(faults(config.load_schema(), "")) == []


def test_two_models_do_not_share_their_defaults():
    whole = changed("models.other", {"backbone": "builtin:nt-mini"})
    models = config.resolve(whole)["models"]
    models["mini"]["training"]["epochs"] = 99
    assert models["other"]["training"]["epochs"] == 10


def test_what_is_given_is_kept_and_the_users_mapping_is_not_changed():
    given = changed("models.mini.training", {"epochs": 3})
    before = copy.deepcopy(given)
    training = config.resolve(given)["models"]["mini"]["training"]
    assert (training["epochs"], training["batch_size"]) == (3, 32)
    assert given == before


def test_resolving_twice_changes_nothing():
    once = config.resolve(MINIMAL)
    assert config.resolve(once) == once


@pytest.mark.parametrize(
    "section", ["filter", "split", "baselines", "models.mini.training", "models.mini.lora", "data.columns"]
)
def test_an_empty_section_takes_its_defaults(section):
    assert config.resolve(changed(section, None)) == config.resolve(MINIMAL)


@pytest.mark.parametrize(("text", "number"), [("1e-5", 1e-5), ("1E-3", 1e-3), ("3e-4", 3e-4), ("1.0e-5", 1e-5)])
def test_numbers_in_scientific_notation(text, number):
    whole = config.resolve(changed("models.mini.training.learning_rate", text))
    assert whole["models"]["mini"]["training"]["learning_rate"] == number


@pytest.mark.parametrize("value", ["5", "5.0", 5.0, "5e0"])
def test_whole_numbers_however_written(value):
    folds = config.resolve(changed("split.folds", value))["split"]["folds"]
    assert folds == 5
    assert isinstance(folds, int)


@pytest.mark.parametrize("value", [float("nan"), "nan", float("inf"), "inf"])
def test_what_is_no_finite_number(value):
    assert "learning_rate" in refused("models.mini.training.learning_rate", value)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("modles", "'models'"),
        ("models.mini.training.learning_rte", "'learning_rate'"),
        ("split.fold", "'folds'"),
        ("data.columns.lable", "'label'"),
    ],
)
def test_unknown_key_names_the_nearest(path, named):
    sentence = refused(path, 1)
    assert f"did you mean {named}" in sentence
    assert path.rsplit(".", 1)[-1] in sentence


def test_unknown_key_like_no_other_lists_the_known():
    assert "folds" in refused("split.xyzzy", 1)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("split.folds", 1, "at least 2"),
        ("split.folds", 2.5, "a whole number"),
        ("split.folds", "five", "a whole number"),
        ("split.folds", True, "a whole number"),
        ("seed", -1, "at least 0"),
        ("split.validation_share", 0, "more than 0"),
        ("split.validation_share", 0.7, "at most 0.5"),
        ("models.mini.training.learning_rate", "fast", "a number"),
        ("models.mini.training.learning_rate", 0, "more than 0"),
        ("models.mini.training.gradient_checkpointing", "yes please", "true or false"),
        ("data.sequences", 3, "text"),
        ("data.columns.ranks", "genus", "a list"),
        ("filter", [1], "a group of keys"),
        ("models", None, "at least one"),
        ("name", "a b", "without blanks"),
        ("name", "../x", "without blanks"),
        ("report.colors", ["#000000", "#111111", "red"], "colour such as"),
    ],
)
def test_wrong_value(path, value, words):
    sentence = refused(path, value)
    assert words in sentence
    assert path.split(".")[-1] in sentence


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("models.mini.tuning", "loar", "did you mean 'lora'"),
        ("calibration.method", "plat", "did you mean 'platt'"),
        ("models.mini.pooling", "max", "architecture"),
        ("baselines.methods", ["naive_byes"], "naive_bayes"),
    ],
)
def test_wrong_choice_lists_what_there_is(path, value, words):
    assert words in refused(path, value)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("models.mini.backbone", "builtin:nt-mimi", "builtin:nt-mini"),
        ("models.mini.backbone", "no such thing", "unknown backbone"),
        ("models.mini.backbone", "/no/such/folder", "does not exist"),
        ("models.naive_bayes", {"backbone": "builtin:nt-mini"}, "name of a baseline"),
        ("baselines.methods", ["vector_logistic_regression"], "data.vectors"),
        ("packaging.models", ["minni"], "did you mean 'mini'"),
        ("filter", {"min_length": 100, "max_length": 50}, "filter.max_length"),
        ("models.mini.lora", {"targets": ["query"]}, "tuning: full"),
        ("models.mini", {"backbone": "builtin:nt-mini", "tuning": "probe", "pooling": "architecture"}, "probe"),
        ("models.mini", {"backbone": "a/b", "trust_remote_code": True, "pooling": "architecture"}, "revision"),
        ("models.mini", {"backbone": "a/b", "trust_remote_code": True, "revision": "f00"}, "pooling: architecture"),
        (
            "models.mini",
            {"backbone": "builtin:nt-mini", "tuning": "probe", "training": {"gradient_checkpointing": True}},
            "gradient_checkpointing",
        ),
        ("models.mini", {"backbone": "a/b", "backbone_config": {"hidden_size": 8}}, "backbone_config"),
        ("models.mini", {"backbone": "a/b", "tuning": "probe", "resources": {"gpu": 2}}, "expected 0 or 1"),
        ("models.mini", {"backbone": "a/b", "tuning": "probe", "resources": {"gpu": 0, "nodes": 2}}, "one node does"),
        ("models.mini", {"backbone": "a/b", "resources": {"gpu": 3, "nodes": 2}}, "expected a multiple"),
        ("models.mini", {"backbone": "a/b", "training": {"sharding": "fsdp"}}, "at least 2 GPUs"),
    ],
)
def test_keys_that_do_not_go_together(path, value, words):
    assert words in refused(path, value)


@pytest.mark.parametrize(
    ("key", "value", "others", "words"),
    [
        ("lora.r", 16, {}, "tuning: full; leave it out, or set tuning to lora or qlora"),
        ("lora.r", 8, {"tuning": "probe"}, "tuning: probe"),
        ("qlora.quant_type", "nf4", {"tuning": "lora"}, "set tuning to qlora"),
        ("lora.r", 8, {"tuning": "ia3"}, "tuning: ia3; leave it out, or set tuning to lora or qlora"),
        ("ia3.feedforward", ["output.dense"], {"tuning": "lora"}, "set tuning to ia3"),
        ("base_precision", "auto", {"tuning": "full"}, "lora or qlora or ia3 or probe"),
        ("head_dropout", 0.1, {"pooling": "architecture"}, "mean or cls or last"),
        ("tokens.window_overlap", 0.25, {"tokens": {"long_sequences": "crop"}}, "long_sequences to windows"),
        ("training.focal_gamma", 2.0, {}, "training.imbalance: none"),
        ("training.focal_gamma", 1.0, {"training": {"imbalance": "class_weights"}}, "imbalance to focal"),
        ("training.logit_adjustment_tau", 1, {"training": {"imbalance": "focal"}}, "to logit_adjustment"),
        ("training.sharding", "fsdp", {"tuning": "qlora", "resources": {"gpu": 2}}, "set tuning to full"),
    ],
)
def test_a_key_that_another_switches_off_is_refused_if_it_was_written(key, value, others, words):
    """Also where it was written with its default; the same key left out is nobody's mistake."""
    without = changed("models.mini", {"backbone": "builtin:nt-mini", **others})
    config.resolve(without)
    with pytest.raises(UserError) as refusal:
        config.resolve(changed(f"models.mini.{key}", value, without))
    assert f"models.mini.{key}'" in str(refusal.value)
    assert words in str(refusal.value)


def test_a_key_that_is_switched_on_and_written_is_taken():
    model = {"backbone": "a/b", "tuning": "qlora", "lora": {"r": 4, "targets": None}, "qlora": {"quant_type": "fp4"}}
    model |= {"base_precision": "fp32", "tokens": {"window_overlap": 0.5}, "training": {"imbalance": "focal"}}
    found = config.resolve(changed("models.mini", model))["models"]["mini"]
    assert (found["lora"]["r"], found["qlora"]["quant_type"], found["tokens"]["window_overlap"]) == (4, "fp4", 0.5)
    # Empty sections and nulls write nothing.
    config.resolve(changed("models.mini", {"backbone": "a/b", "lora": None, "qlora": {}}))
    config.resolve(changed("models.mini", {"backbone": "a/b", "lora": {"targets": None}}))


@pytest.mark.parametrize("value", [None, {}])
def test_a_model_without_a_backbone(value):
    assert "'backbone'" in refused("models.mini", value)


def test_no_model_is_said_not_forgotten():
    assert config.resolve(changed("models", {}))["models"] == {}
    with pytest.raises(UserError, match="no models and no baselines"):
        config.resolve({**changed("models", {}), "baselines": {"methods": []}})
    with pytest.raises(UserError, match="nothing can be done without a model"):
        config.resolve({**changed("models", {}), "task": "embedding"})


@pytest.mark.parametrize("key", ["name", "data", "models"])
def test_a_required_key_that_is_missing(key):
    with pytest.raises(UserError, match=key):
        config.resolve({k: v for k, v in MINIMAL.items() if k != key})


def test_input_files_that_are_not_there(tmp_path):
    whole = config.resolve(changed("data.sequences", str(tmp_path / "s.fasta")))
    with pytest.raises(UserError, match=r"data\.sequences.*does not exist"):
        config.check_files(whole)
    (tmp_path / "s.fasta").touch()
    (tmp_path / "l.csv").touch()
    whole["data"]["labels"] = str(tmp_path / "l.csv")
    config.check_files(whole)
    whole["query"] = str(tmp_path / "q.fasta")
    with pytest.raises(UserError, match="query"):
        config.check_files(whole)


def test_output_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        config.check_writable(tmp_path / "file" / "results")
    config.check_writable(tmp_path / "results" / "run")


def test_many_jobs_of_a_cluster_look_at_one_folder_at_a_time(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(config.check_writable, [tmp_path] * 2000))
    assert list(tmp_path.iterdir()) == []
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("task", "path", "value"),
    [
        ("regression", "sets.coverage", 0.8),
        ("multilabel", "sets.coverage", 0.8),
        ("token", "difficulty.records", 10),
        ("binary", "difficulty.min_identity", 0.8),
    ],
)
def test_a_section_that_the_task_does_not_have_is_refused(task, path, value):
    with pytest.raises(UserError, match=rf"'{path}' has no effect with task: {task}"):
        config.resolve(changed(path, value, {**MINIMAL, "task": task}))
    # As it is anyway, and where it has an effect, it may stand there.
    usual = config.resolve({**MINIMAL, "task": task})
    section, key = path.split(".")
    assert config.resolve(changed(path, usual[section][key], {**MINIMAL, "task": task})) == usual
    assert config.resolve(changed(path, value))[section][key] == value
