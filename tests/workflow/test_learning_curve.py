"""The learning curve of a tiny run: parts of the training records, the same test records, nothing trained twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dnatune.files import read_json
from dnatune.run_status import status_of
from dnatune.scores import Scores
from workflow_runs import Run, configuration, files_of, model, plan, simulate, write_inputs

MODELS = {"full": "models", "naive_bayes": "baselines"}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """Return a run whose two models are judged on both folds, as they are before a learning curve is asked for."""
    folder = tmp_path_factory.mktemp("curve")
    curve = {"shares": [0.5, 1], "models": list(MODELS)}
    config = configuration(write_inputs(folder, simulate()), models={"full": model(epochs=3)}, learning_curve=curve)
    made = Run(folder / "work", config)
    return made.make(
        *(made.file(f"{kind}/{name}/fold_{k}/metrics.tsv") for name, kind in MODELS.items() for k in (0, 1))
    )


def test_the_whole_curve(run):
    planned = plan(run, "learning_curve").rules
    assert not set(planned) & {"train", "baseline", "evaluate", "tokens", "folds"}
    assert (planned["train_on_part"], planned["baseline_on_part"], planned["evaluate_part"]) == (2, 2, 4)
    before = {name: files_of(run.results / name) for name in (*MODELS.values(), "folds", "tokens")}
    run.make("learning_curve")
    assert {name: files_of(run.results / name) for name in before} == before
    made = run.results / "learning_curve"
    counts = pd.read_csv(made / "training_records.tsv", sep="\t").set_index(["fold", "share"])
    curve = pd.read_csv(made / "learning_curve.tsv", sep="\t")
    for name, kind in MODELS.items():
        for fold in (0, 1):
            whole, part = (folder / kind / name / f"fold_{fold}" for folder in (run.results, made / "50_percent"))
            one, other = (Scores.load(folder / "scores.npz") for folder in (whole, part))
            assert one.id.tolist() == other.id.tolist() and one.role.tolist() == other.role.tolist()
            assert not np.array_equal(one.logits, other.logits)
            for share, folder in ((1, whole), (0.5, part)):
                metrics = pd.read_csv(folder / "metrics.tsv", sep="\t")
                metrics = metrics.query("split == 'test' and stage == 'calibrated' and `class` == 'all'")
                expected = metrics.set_index("metric")["value"]
                found = curve[(curve["model"] == name) & (curve["fold"] == fold) & (curve["share"] == share)]
                assert len(found) == 4 and set(found["train_records"]) == {counts.loc[(fold, share), "train_records"]}
                np.testing.assert_allclose(found["value"], expected[found["metric"]])
    for fold in (0, 1):
        trained, whole = (
            (read_json(folder / "run.json"), pd.read_csv(folder / "history.tsv", sep="\t")["step"].max())
            for folder in (made / f"50_percent/models/full/fold_{fold}", run.results / f"models/full/fold_{fold}")
        )
        assert trained[0]["train_records"] == counts.loc[(fold, 0.5), "train_records"] < whole[0]["train_records"]
        assert trained[1] == whole[1]  # as many steps of the optimiser
        assert not (made / f"50_percent/models/full/fold_{fold}/weights").exists()
    assert not list(made.rglob("checkpoints"))
    html = (made / "learning_curve.html").read_text("utf-8")
    assert "<td>full</td>" in html and "same number of training steps" in html
    gains = pd.read_csv(made / "gains.tsv", sep="\t").set_index("model")
    mean = curve[curve["metric"] == "pr_auc_macro"].groupby(["model", "share"])["value"].mean()
    for name in MODELS:
        assert gains.loc[name, "gain"] == pytest.approx(mean[name, 1] - mean[name, 0.5], abs=1e-9)
    shown = {(row.part, row.fold): row.state for row in status_of(run.results).rows}
    assert shown == {(part, fold): "done" for part in ("", "50_percent") for fold in (0, 1)} | {("", None): "waiting"}
    assert plan(run, "learning_curve").rules == {}
    # The report needs it only where the configuration asks for it, and then nothing of it is made again.
    curves = {"training_share", "train_on_part", "learning_points", "learning_curve"}
    assert not set(plan(run).rules) & curves
    asked = replace(run, config={**run.config, "learning_curve": {**run.config["learning_curve"], "in_report": True}})
    assert not set(plan(asked).rules) & curves
    # A share more leaves the others as they are.
    wider = replace(run, config={**run.config, "learning_curve": {"shares": [0.2, 0.5, 1], "models": list(MODELS)}})
    again = plan(wider, "learning_curve").rules
    assert (again["training_share"], again["baseline_on_part"], again["train_on_part"], again["train"]) == (1, 2, 2, 0)
