"""The learning curve in figures and words: which models are on it, what the last doubling gained, what may be said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dnatune import config as configuration
from dnatune import report_more_data
from dnatune.curve_models import on_curve
from dnatune.errors import UserError
from dnatune.figures_more_data import more_data
from dnatune.files import write_tsv
from dnatune.more_data import VERDICTS, gains, little, points, verdict
from dnatune.tasks import task
from synthetic_run import write_run
from test_config import MINIMAL, changed
from test_report import Page, read_run, render

LOOK = Path(__file__).parents[2] / "workflow" / "report"
SHARES = (0.1, 0.25, 0.5, 1.0)
LEVELS = {"climbs": (0.5, 0.7, 0.8, 0.9), "flat": (0.6, 0.8, 0.9, 0.901), "noisy": (0.5, 0.6, 0.7, 0.72)}
COUNTS = pd.DataFrame(
    [(fold, share, 1000 * share, share, 20, 3 if share == 0.1 else 0) for fold in range(5) for share in SHARES],
    columns=["fold", "share", "train_records", "real_share", "classes", "small_classes"],
)


def metrics(share: float, kind, folds: int = 5) -> pd.DataFrame:
    """Return the metrics of three models at a share; the noisy one is up in one fold and down in the next."""
    rows, more = [], {name: kind.curve.get(name, True) for name in kind.headline}
    for model, levels in LEVELS.items():
        for fold in range(folds):
            noise = 0.05 * (-1) ** fold if (model, share) == ("noisy", 1) else 0.001 * fold
            level = levels[SHARES.index(share)] + noise
            for metric in kind.headline:
                value = level if more[metric] else 1 - level
                rows += [(model, fold, "test", "calibrated", metric, "all", value)]
                rows += [(model, fold, split, "raw", metric, "all", -9) for split in ("validation", "test")]
            rows += [(model, fold, "test", "calibrated", "f1", "Aus bus", 0.1)]
    return pd.DataFrame(rows, columns=["model", "fold", "split", "stage", "metric", "class", "value"])


def curve_of(kind, folds: int = 5) -> pd.DataFrame:
    return points([metrics(share, kind, folds) for share in SHARES], COUNTS, kind)


@pytest.mark.parametrize("name", ["multiclass", "binary", "multilabel", "regression", "token"])
def test_gains_by_hand_for_every_task_with_a_main_metric(name):
    kind = task(name)
    curve = curve_of(kind)
    assert set(curve["metric"]) == set(kind.headline) and (curve["value"] >= -0.1).all()
    assert len(curve) == 3 * 4 * 5 * len(kind.headline)
    found = gains(curve, 0.25, kind).set_index("model")
    assert found.loc["climbs", "gain"] == pytest.approx(0.1) and found.loc["flat", "gain"] == pytest.approx(0.001)
    # The corrected resampled t-interval of Nadeau and Bengio, written out for the noisy model.
    difference = np.array([0.02 + 0.05 * (-1) ** fold - 0.001 * fold for fold in range(5)])
    half = stats.t.ppf(0.975, 4) * np.sqrt((1 / 5 + 0.25) * difference.var(ddof=1))
    noisy = found.loc["noisy"]
    assert noisy["ci_low"] == pytest.approx(difference.mean() - half)
    assert noisy["ci_high"] == pytest.approx(difference.mean() + half)
    assert found["verdict"].to_dict() == {"climbs": "helps", "flat": "level", "noisy": "unsure"}
    assert found["doublings"].tolist() == [1, 1, 1] and found["to_records"].tolist() == [1000] * 3


def test_a_raw_figure_stands_in_where_nothing_was_calibrated():
    kind = task("multiclass")
    raw = [metrics(share, kind).query("stage == 'raw'").assign(value=share) for share in SHARES]
    assert points(raw, COUNTS, kind)["value"].tolist() == [s for s in SHARES for _ in range(60)]


def test_one_split_tells_no_trend():
    found = gains(curve_of(task("multiclass"), folds=1), 0.25, task("multiclass"))
    assert set(found["verdict"]) == {"single"} and found["ci_low"].isna().all()
    words = report_more_data.answer_sentence(found, "Macro PR-AUC").text
    assert words.startswith("Cannot be said from one split: climbs (+0.100), flat (+0.001)")
    assert words.endswith("(about 500 to 1,000).")  # no interval is spoken of


@pytest.mark.parametrize(
    ("low", "high", "folds", "expected"),
    [
        (0.002, 0.03, 5, "helps"),
        (0.002, 0.009, 5, "level"),  # surely more than none, surely too little
        (-0.03, -0.01, 5, "level"),
        (-0.001, 0.03, 5, "unsure"),
        (np.nan, np.nan, 1, "single"),
    ],
)
def test_verdicts(low, high, folds, expected):
    assert verdict(low, high, little("pr_auc_macro", 0.9), folds) == expected
    assert expected in VERDICTS and expected in report_more_data.EXPLAINED


def test_too_little_is_measured_by_the_scale_of_the_metric():
    assert little("mcc", 0.5) == little("r2", -3.0) == 0.01
    assert little("rmse", 250.0) == pytest.approx(5.0)


def test_a_step_of_less_than_a_doubling_is_judged_as_if_it_were_one():
    kind = task("multiclass")
    tables = [metrics(share, kind).query("model == 'flat'") for share in SHARES]
    # 0.004 in a step of a tenth more records is 0.03 in a doubling: not level.
    tables[3] = tables[3].assign(value=tables[2]["value"].to_numpy() + np.where(tables[2]["fold"] % 2, 0.0042, 0.0038))
    counts = COUNTS.assign(train_records=COUNTS["train_records"].mask(COUNTS["share"] == 0.5, 910))
    found = gains(points(tables, counts, kind), 0.25, kind).iloc[0]
    assert found["doublings"] == pytest.approx(np.log2(1000 / 910)) and found["verdict"] == "helps"


def test_the_words_say_who_gains_how_much_and_how_far_that_reaches():
    kind = task("multiclass")
    found = report_more_data.MoreData(
        curve_of(kind), gains(curve_of(kind), 0.25, kind), COUNTS, kind, "steps", ["climbs"]
    )
    answer, parts, limits, steps = (sentence.text for sentence in found.sentences)
    assert answer.startswith("More data would still help: climbs (+0.100; +0.100 to +0.100). ")
    assert "More data of this kind would change little: flat (+0.001;" in answer
    assert "Cannot be said from these folds: noisy (" in answer and "from 50 % to all (about 500 to 1,000)" in answer
    assert "the part called 10 % really holds 10 % of the training sequences: 15 % of the labels" in parts
    assert "nothing of labels that are missing" in limits
    assert "same number of training steps" in steps
    assert "steeper" in replace(found, keep="epochs").sentences[-1].text
    assert len(replace(found, language_models=[]).sentences) == 3
    assert [row["name"] for row in found.shares] == ["10 %", "25 %", "50 %", "all"]
    assert found.rows[0]["at"][0] == {"mean": pytest.approx(0.502), "min": 0.5, "max": pytest.approx(0.504)}


@pytest.fixture
def tables(tmp_path):
    kind = task("multiclass")
    named = {"curve": curve_of(kind), "gains": gains(curve_of(kind), 0.25, kind), "counts": COUNTS}
    for name, table in named.items():
        write_tsv(tmp_path / f"{name}.tsv", table)
    return report_more_data.read(*(tmp_path / f"{name}.tsv" for name in named), kind, "steps", ["climbs", "other"])


def test_the_page_is_whole_and_needs_no_network(tables, tmp_path):
    template, css, js = (LOOK / name for name in ("learning_curve.html.j2", "report.css", "report.js"))
    html = report_more_data.page("fish", tables, {}, template, css, js)
    page = Page(html)
    assert not page.wrong and not page.open and all(a.startswith(("#", "data:")) for a in page.addresses)
    assert "<td>climbs</td>" in html and "still rises" in html and tables.language_models == ["climbs"]


def test_the_report_shows_it_only_where_it_was_made(tables, tmp_path):
    run = read_run(write_run(tmp_path / "run", classes=6, folds=2))
    assert 'id="more_data"' not in render(run)
    run.more_data = tables
    html = render(run)
    page = Page(html)
    assert not page.wrong and "#more_data" in page.addresses and "more_data" in page.ids


@pytest.mark.parametrize("name", ["multiclass", "regression"])
def test_the_figure_has_a_mark_for_each_share_and_a_bar_from_the_worst_fold_to_the_best(name):
    kind = task(name)
    figure = more_data(curve_of(kind), kind)
    assert len(figure.axes) == 4
    axes = figure.axes[list(kind.headline).index(kind.best_by)]
    climbs = axes.containers[0]
    np.testing.assert_allclose(np.asarray(climbs[0].get_ydata(), float), np.array(LEVELS["climbs"]) + 0.002)
    ends = np.array([segment[:, 1] for segment in climbs[2][0].get_segments()], float)
    np.testing.assert_allclose(ends, np.add.outer(LEVELS["climbs"], [0, 0.004]))
    assert axes.get_xscale() == "log"
    looks = {(c[0].get_color(), c[0].get_marker(), c[0].get_linestyle()) for c in axes.containers}
    assert len({marker for _, marker, _ in looks}) == 3


def test_baselines_are_on_the_curve_and_language_models_only_by_name():
    whole = configuration.resolve(MINIMAL)
    assert on_curve(whole, ["majority", "naive_bayes", "kmer_top_hit"], ["vsearch"]) == ["naive_bayes", "kmer_top_hit"]
    given = changed("learning_curve", {"models": ["vsearch_top_hit", "mini", "majority"]})
    found = on_curve(configuration.resolve(given), ["majority", "kmer_top_hit"], ["vsearch"])
    assert found == ["mini", "kmer_top_hit", "majority"]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("shares", [0, 1], "found 0, expected at least 0.001"),
        ("shares", [0.5, 1.5], "found 1.5, expected at most 1"),
        ("shares", [0.5, 0.25, 1], "expected each share to be larger than the one before it"),
        ("shares", [0.5, 0.5, 1], "expected each share to be larger than the one before it"),
        ("shares", [0.1, 0.5], "expected smaller shares and then 1"),
        ("shares", [1], "expected smaller shares and then 1"),
        ("shares", [], "expected smaller shares and then 1"),
        ("models", ["naive_bays"], "did you mean 'naive_bayes'"),
        ("models", ["engine"], "expected names of models or of baselines.methods, which are mini, majority"),
        ("keep", "time", "expected one of steps, epochs"),
        ("keep", "epochs", "has no effect without a language model in learning_curve.models"),
    ],
)
def test_mistakes_are_said_in_one_sentence(key, value, words):
    with pytest.raises(UserError) as refusal:
        configuration.resolve(changed(f"learning_curve.{key}", value))
    assert words in str(refusal.value) and f"learning_curve.{key}" in str(refusal.value)


def test_a_curve_in_the_report_needs_something_on_it_and_a_training():
    given = changed("baselines", {"methods": ["majority"]}, changed("learning_curve", {"in_report": True}))
    with pytest.raises(UserError, match=r"learning_curve\.in_report.*nothing is on the curve"):
        configuration.resolve(given)
    with pytest.raises(UserError, match=r"learning_curve\.in_report' has no effect with task: embedding"):
        configuration.resolve(changed("learning_curve.in_report", True, {**MINIMAL, "task": "embedding"}))
