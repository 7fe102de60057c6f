"""The report: honest sentences, escaped data, one file without the network, and right tables."""

from __future__ import annotations

import dataclasses
import math
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dnatune import report, report_difficulty, report_files, report_tables, report_words
from dnatune.errors import UserError
from dnatune.evaluation import evaluate_fold
from dnatune.files import read_json, write_json
from dnatune.report_words import Estimate
from dnatune.scores import Scores
from dnatune.tasks import task
from dnatune.tasks.base import EvaluationSettings
from synthetic_run import BASELINES, HOSTILE, MODELS, write_run

TASK = task("multiclass")
LOOK = Path(__file__).parents[2] / "workflow" / "report"
DIFFICULTY = ("species.tsv", "suspicious.tsv", "summary.json")
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>'


def read_run(root, models=MODELS, baselines=BASELINES, **more):
    """Return the Run of an invented results folder."""
    (root / "confusions.svg").write_text(SVG, "utf-8")
    return report.Run(
        title="Barcodes & more",
        name=root.name,
        summary=read_json(root / "records/summary.json"),
        labels_summary=read_json(root / "labels/summary.json"),
        label_map=read_json(root / "labels/label_map.json"),
        audit=read_json(root / "folds/audit.json"),
        removed=report_files.table(root / "records/removed.tsv"),
        balance=report_files.table(root / "labels/class_balance.tsv"),
        metrics=report_files.table(root / "metrics.tsv"),
        comparison=report_files.table(root / "comparison.tsv"),
        paired=report_files.table(root / "paired_tests.tsv"),
        language_models=list(models),
        saved=more.pop("saved", list(models)),
        baselines=list(baselines),
        history=report_files.of_folds(sorted(root.glob("models/*/fold_*/history.tsv"))),
        task=TASK,
        fold_tables={"confusions": report_files.of_folds(sorted(root.glob("*/*/fold_*/confusions.tsv")))},
        benchmarks=report_files.benchmarks(sorted(root.glob("benchmarks/**/*.tsv"))),
        runs=report_files.records_of(sorted(root.glob("*/*/fold_*/run.json"))),
        calibrations=report_files.records_of(sorted(root.glob("*/*/fold_*/calibration.json"))),
        figures={"confusions": root / "confusions.svg"},
        captions={"confusions": "Look here."},
        config={"name": "x", "data": {"note": HOSTILE}},
        difficulty=report_difficulty.read(*(root / "difficulty" / n for n in DIFFICULTY)),
        left_out=["vsearch_top_hit: vsearch is not installed"],
        library_versions={"torch": "2.13.0"},
        **more,
    )


def render(run):
    return report.render(run, LOOK / "report.html.j2", LOOK / "report.css", LOOK / "report.js")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return read_run(write_run(tmp_path_factory.mktemp("run"), classes=12, folds=3))


@pytest.fixture(scope="module")
def html(run):
    return render(run)


class Page(HTMLParser):
    """Collects addresses, scripts, ids and open tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.scripts, self.ids, self.open, self.wrong = [], 0, [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.addresses += [given[key] for key in ("src", "href") if key in given]
        self.scripts += tag == "script"
        self.ids += [given["id"]] if "id" in given else []
        if tag not in ("meta", "img", "input", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_page_needs_no_network_and_is_well_formed(html):
    page = Page(html)
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert "@import" not in html and "url(" not in html
    assert not page.wrong and not page.open
    assert len(page.ids) == len(set(page.ids))
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)


def test_a_hostile_label_is_shown_and_never_run(html):
    assert HOSTILE not in html and "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#34;x&#34;" in html
    assert Page(html).scripts == 1
    assert "Barcodes &amp; more" in html


def test_the_answer_comes_before_anything_else(html):
    order = [html.index(f'id="{name}"') for name in (
        "answer", "data", "balance", "leakage", "models", "learning", "precision_recall", "reliability",
        "sets", "classes", "confusions", "time", "made-with", "glossary")]  # fmt: skip
    assert order == sorted(order)


def test_how_hard_it_is_stands_in_the_report_with_what_to_look_at(run, html):
    assert "nobody could name more than 99.5 % of the records in trained classes rightly" in html
    assert "1 fit only when read backwards" in html and "backwards: x (s8, 99.0 %)" in html
    without = render(dataclasses.replace(run, difficulty=None))
    assert 'id="difficulty"' not in without and 'href="#difficulty"' not in without


def test_answer_says_plainly_that_a_baseline_wins(run):
    text = {sentence.question: sentence.text for sentence in TASK.report.answer(run)}
    worth = text["Is a language model worth it here?"]
    assert worth.startswith("No, not on this evidence")
    assert "logistic_regression beats the model" in worth
    assert "nobody could name more than 99.5 %" in text["On what data?"]


def test_best_language_model_is_chosen_on_validation_never_on_test():
    rows = [
        (model, 0, split, "raw", "pr_auc_macro", "all", value)
        for model, split, value in (
            ("a", "validation", 0.9), ("b", "validation", 0.8), ("a", "test", 0.1), ("b", "test", 0.99),
            ("baseline", "validation", 1.0))
    ]  # fmt: skip
    metrics = pd.DataFrame(rows, columns=["model", "fold", "split", "stage", "metric", "class", "value"])
    assert report_tables.best_model(metrics, ["a", "b"], TASK) == "a"
    assert report_tables.best_model(metrics, [], TASK) is None


def test_big_numbers_are_means_over_folds(run):
    metrics = run.metrics
    mine = metrics[(metrics["model"] == "nt-mini") & (metrics["split"] == "test") & (metrics["class"] == "all")]
    mine = mine[mine["stage"] == "calibrated"].groupby("metric")["value"].mean()
    shown = [float(item["value"]) for item in report.big_numbers(run)]
    assert shown == pytest.approx([mine[m] for m in TASK.headline], abs=5e-4)
    assert all("95 % interval" in item["spread"] for item in report.big_numbers(run))


def test_a_binary_run_shows_the_figures_of_its_task(run):
    binary = report.Run(**{**vars(run), "task": task("binary")})
    text = render(binary)
    assert [item["name"] for item in report.big_numbers(binary)] == [
        report_words.metric(name).name for name in ("accuracy", "f1_macro", "mcc", "roc_auc_macro")
    ]
    assert not Page(text).wrong and text.index('id="models"') < text.index('id="reliability"')


def test_one_fold_one_model_no_baseline(tmp_path):
    root = write_run(tmp_path, classes=2, folds=1, models={"nt-mini": 0.9}, baselines={})
    run = read_run(root, {"nt-mini": 0.9}, {})
    text = render(run)
    assert "one fold, so no interval" in text and "No baseline was run" in text
    assert "No paired test was possible" in text
    assert ">nan<" not in text


def test_baselines_alone_make_a_report(tmp_path):
    root = write_run(tmp_path, classes=3, folds=2, models={}, baselines={"naive_bayes": 0.9})
    run = read_run(root, {}, {"naive_bayes": 0.9})
    assert run.best == "naive_bayes" and "The baseline naive_bayes gives" in render(run)


def test_thousands_of_classes_stay_one_modest_file(tmp_path):
    root = write_run(tmp_path, classes=3200, folds=1, models={"nt-mini": 0.9}, baselines={})
    text = render(read_run(root, {"nt-mini": 0.9}, {}))
    assert text.count("species3198</td>") >= 1
    assert len(text) < 2_000_000


def test_per_class_is_weighted_by_test_sequences():
    rows = [("m", fold, "test", "calibrated", metric, "a", value) for fold, metric, value in (
        (0, "support", 1), (0, "f1", 0.0), (1, "support", 3), (1, "f1", 1.0), (2, "support", 0),
        (2, "f1", np.nan))]  # fmt: skip
    metrics = pd.DataFrame(rows, columns=["model", "fold", "split", "stage", "metric", "class", "value"])
    balance = pd.DataFrame({"label": ["b", "a", "rare"], "class_id": [1, 0, -1], "records": [2, 4, 1]})
    table = report_tables.per_class(metrics, balance, "m")
    assert table["label"].tolist() == ["a", "b"]
    assert table["tested"].tolist() == [4, 0]
    assert table["f1"].iloc[0] == pytest.approx(0.75) and math.isnan(table["f1"].iloc[1])


def test_curves_as_the_evaluation_writes_them(tmp_path):
    random = np.random.default_rng(0)
    records = {}
    for fold in (0, 1):
        labels = np.r_[0:4, random.integers(0, 4, 36)]
        logits = (2 * np.eye(4)[labels] + random.normal(0, 1, (40, 4))).astype(np.float32)
        roles = np.array(["validation"] * 20 + ["test"] * 18 + ["unknown"] * 2)
        scores = Scores(np.arange(40).astype(str), roles, np.where(roles == "unknown", -1, labels), logits)
        folder = tmp_path / "models" / "m" / f"fold_{fold}"
        folder.mkdir(parents=True)
        result = evaluate_fold(scores, list("abcd"), "m", fold, TASK, EvaluationSettings("temperature"))
        scores.save(folder / "scores.npz")
        write_json(folder / "calibration.json", result.calibrator)
        np.savez(folder / "curves.npz", **result.curves)
        p = np.exp(logits[20:38]) / np.exp(logits[20:38]).sum(axis=1, keepdims=True)
        records[fold] = (p.max(axis=1), p.argmax(axis=1) == labels[20:38])
    points, bins = report_files.curves(sorted(tmp_path.glob("models/*/*/curves.npz")))
    assert set(points["stage"]) == {"raw", "calibrated"} and set(points["fold"]) == {0, 1}
    top, right = (np.concatenate([records[0][i], records[1][i]]) for i in (0, 1))
    raw = bins[(bins["stage"] == "raw") & (bins["count"] > 0)]
    place = np.ceil(top * 15) - 1
    assert raw["count"].tolist() == [(place == b).sum() for b in raw["bin"]]
    assert raw["accuracy"].tolist() == pytest.approx([right[place == b].mean() for b in raw["bin"]])
    assert raw["confidence"].tolist() == pytest.approx([top[place == b].mean() for b in raw["bin"]], abs=1e-6)
    unknown = report_files.unknowns(sorted(tmp_path.glob("models/*/*/scores.npz")), "m", TASK)
    assert unknown["records"].tolist() == [2, 18, 2, 18]
    assert unknown["mean_top_probability"].between(0.25, 1).all()
    assert report_files.unknowns(sorted(tmp_path.glob("models/*/*/scores.npz")), "other", TASK).empty


def test_place_of_a_file():
    assert report_files.place("/models/x/r/baselines/naive_bayes/fold_12/run.json") == report_files.Place(
        "baselines", "naive_bayes", 12
    )
    with pytest.raises(UserError, match="fold_<k>"):
        report_files.place("results/models/run.json")


def test_benchmarks_with_dashes(tmp_path):
    path = tmp_path / "benchmarks" / "train" / "m.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("s\th:m:s\tmax_rss\n1.5\t0:00:01\t-\n3.0\t0:00:03\tNA\n", "utf-8")
    table = report_files.benchmarks([path])
    assert table["job"].tolist() == ["train/m"] and table["seconds"].tolist() == [3.0]
    assert math.isnan(table["peak_memory_mib"][0])


def test_a_class_called_na_stays_text(tmp_path):
    (tmp_path / "t.tsv").write_text("class\tvalue\nNA\t\n1\t0.5\nNone\t2\n", "utf-8")
    table = report_files.table(tmp_path / "t.tsv")
    assert table["class"].tolist() == ["NA", "1", "None"]
    assert math.isnan(table["value"][0]) and table["value"].tolist()[1:] == [0.5, 2.0]


def test_a_failed_audit_is_said_in_words(run):
    audit = {**run.audit, "clean": False, "problems": ["fold 1: 2 identical sequences in two roles"]}
    audit["sequences_in_two_roles"] = 2
    text = render(report.Run(**{**vars(run), "audit": audit}))
    assert "Not clean" in text and "fold 1: 2 identical sequences" in text and "✗ failed" in text


def test_what_calibration_had_to_say_is_shown_once(run):
    note = {"method": "none", "note": "1 validation record is too few"}
    entries = [{**note, "model": "nt-mini", "fold": fold} for fold in (0, 2)]
    text = render(report.Run(**{**vars(run), "calibrations": entries}))
    assert text.count("nt-mini, fold 0, 2: 1 validation record is too few.") == 1


def test_how_a_model_was_made(run):
    (row,) = [row for row in report_tables.setups(run.runs) if row["model"] == "nt-mini"]
    assert row["parameters"] == "1,400,000" and row["best_epoch"] == "18, 19, 20"


def test_known_unknowns_are_shown_when_given(run):
    rows = [("nt-mini", 0, "unknown", 7, 0.4), ("nt-mini", 0, "test", 50, 0.95)]
    table = pd.DataFrame(rows, columns=["model", "fold", "role", "records", "mean_top_probability"])
    text = render(report.Run(**{**vars(run), "unknowns": table}))
    assert "gets 40 % on average" in text and "useful warning" in text
    assert 'id="unknowns"' not in render(run)


def test_tables_written_beside_the_report(run):
    tables = report.tables(run)
    assert set(tables) == {"models", "per_class", "removed_reasons", "confusions", "sets", "time_and_memory"}
    assert tables["removed_reasons"]["records"].tolist() == [2, 1]
    assert set(tables["models"]["kind"]) == {"language model", "baseline"}
    assert {"run.json", "benchmark"} == set(tables["time_and_memory"]["source"])
    best = run.fold_tables["confusions"].query("model == @run.best")
    assert tables["confusions"]["count"].sum() == best["count"].sum()


def paired_table(difference, p):
    columns = ["metric", "model_a", "model_b", "difference", "ci_low", "ci_high", "p_value", "folds"]
    return pd.DataFrame([("accuracy", "base", "lm", difference, difference - 1, difference + 2, p, 5)], columns=columns)


def test_paired_test_is_turned_round():
    row = report_words.paired(paired_table(0.25, 0.01), "accuracy", "lm", "base")
    assert (row["difference"], row["ci_low"], row["ci_high"]) == (-0.25, -2.25, 0.75)
    assert report_words.paired(paired_table(0.25, 0.01), "accuracy", "lm", "other") is None


@pytest.mark.parametrize(
    ("own", "base", "p", "start"),
    [
        (0.9, 0.95, 0.01, "No, not on this evidence"),
        (0.95, 0.9, 0.01, "Yes"),
        (0.95, 0.9, 0.2, "Not shown"),
        (0.95, 0.9, math.nan, "Perhaps"),
        (0.9, 0.95, math.nan, "Not shown"),
    ],
)
def test_verdict_follows_the_numbers(own, base, p, start):
    text = report_words.baseline_sentence(
        "lm", {"base": {"accuracy": Estimate(base)}}, {"accuracy": Estimate(own)}, paired_table(base - own, p)
    ).text
    assert text.startswith(start)


def test_lower_log_loss_wins():
    tests = paired_table(0.1, 0.001).assign(metric="log_loss")
    text = report_words.baseline_sentence(
        "lm", {"base": {"log_loss": Estimate(0.3)}}, {"log_loss": Estimate(0.2)}, tests
    ).text
    assert text.startswith("Yes") and "the model beats base" in text


def test_overfitting_in_words():
    assert report_words.overfitting_sentence([0.01, 0.02], [1.0]).text.startswith("Hardly")
    loud = report_words.overfitting_sentence([0.3, None], [1.5]).text
    assert loud.startswith("Yes, clearly") and "50 % above its lowest point" in loud
    assert "cannot be said" in report_words.overfitting_sentence([], []).text


def test_certainty_in_words():
    text = report_words.certainty_sentence(Estimate(0.1), Estimate(0.012), Estimate(0.5)).text
    assert "1.2 percentage points" in text and f"{100 * math.exp(-0.5):.0f} %" in text
    assert "not be trusted" in report_words.certainty_sentence(Estimate(0.1), Estimate(0.2), Estimate(0.5)).text


def test_every_interval_of_a_share_ends_at_one():
    assert report_words.spread(Estimate(0.99, 0.97, 1.01, 3), as_percent=True).endswith("97.0 % to 100.0 %, 3 folds")


def test_metric_words_exist_for_every_fixed_name():
    average = "accuracy top_5_accuracy precision_macro recall_macro f1_macro f1_weighted mcc pr_auc_macro"
    for name in [*average.split(), "pr_auc_weighted", "roc_auc_macro", "log_loss", "brier", "ece"]:
        assert report_words.metric(name).meaning
    assert report_words.metric("top_10_accuracy").name == "Top-10 accuracy"


def test_captions_exist_for_every_figure():
    for name in report.FIGURES:
        assert len(report.caption(LOOK / f"{name}.rst")) > 60


def test_a_baseline_that_is_ahead_is_never_called_level():
    columns = ["metric", "model_a", "model_b", "difference", "ci_low", "ci_high", "p_value", "folds"]
    tests = pd.DataFrame([["accuracy", "lm", "knn", -0.07, -0.2, 0.06, 0.2, 5]], columns=columns)
    text = report_words.baseline_sentence(
        "lm", {"knn": {"accuracy": Estimate(0.97)}}, {"accuracy": Estimate(0.90)}, tests
    ).text
    assert "knn is ahead of the model" in text and "ahead everywhere" in text
    assert "0.900 against 0.970; p = 0.2" in text


def test_ahead_on_every_count_in_one_split_is_said_with_its_limit():
    own = {name: Estimate(value) for name, value in (("accuracy", 0.84), ("pr_auc_macro", 0.9), ("log_loss", 0.3))}
    rival = {name: Estimate(value) for name, value in (("accuracy", 0.8), ("pr_auc_macro", 0.8), ("log_loss", 0.4))}
    untested = pd.DataFrame(columns=["metric", "model_a", "model_b"])
    said = report_words.baseline_sentence("m", {"b": rival}, own, untested)
    assert said.text.startswith("Perhaps: it is ahead of the strongest baseline on every count")
    behind = report_words.baseline_sentence("m", {"b": own}, rival, untested)
    assert behind.text.startswith("Not shown: the strongest baseline")
