"""The report's section on ranks: right sentences and tables, and none of it without ranks."""

from __future__ import annotations

import math
import re

import pandas as pd
import pytest

from dnatune import report, report_tables
from dnatune.tasks import task
from synthetic_run import HOSTILE, write_run
from test_report import Page, read_run, render


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return read_run(write_run(tmp_path_factory.mktemp("run"), classes=12, folds=3))


GENUS_OF = {f"Genus{i // 3:03d} species{i:04d}": f"Genus{i // 3:03d}" for i in range(11)}


def run_with_ranks(run, unknown=True):
    """Return the invented run with genera: figures at ranks for two models, mistakes, and records never seen."""
    lineages = {label: [GENUS_OF.get(label, HOSTILE)] for label in run.label_map["label2id"]}
    given = {"ranks": ["species", "genus"], "lineages": lineages, "unknown": {}}
    rows = [
        (model, "test", "calibrated", metric, value, 0.01, value - 0.01, value + 0.01, 3)
        for model in ("nt-mini", "naive_bayes")
        for metric, value in {
            "accuracy@genus": 0.97, "f1_macro@genus": 0.96, "log_loss@genus": 0.11, "ece@genus": 0.01,
            "named@species": 0.9, "named_right@species": 0.99, "named@genus": 0.95, "named_right@genus": 0.995,
            "misclassified@species": 0.009, "misclassified@genus": 0.0048,
        }.items()
    ]  # fmt: skip
    seen = {"novel@species": 9, "overclassified@species": 0.25, "novel@genus": 5, "overclassified@genus": 0.4,
            "records@genus": 4, "accuracy@genus": 0.75, "named@genus": 0.5, "named_right@genus": 1.0,
            "misclassified@genus": 0.0}  # fmt: skip
    new = {"novel@species": 2, "overclassified@species": 0.5, "novel@genus": 2, "overclassified@genus": 1.0}
    of_folds = []
    if unknown:
        rows += [("nt-mini", "unknown", "calibrated", m, value, 0, value, value, 3) for m, value in seen.items()]
        of_folds = [
            ("nt-mini", fold, "unknown", "calibrated", m, kind, value)
            for fold in range(3)
            for kind, figures in (("all", seen), ("flagged", seen), ("rare", {**new, "records@genus": 0}))
            for m, value in figures.items()
        ]
    columns = ["model", "split", "stage", "metric", "mean", "sd", "ci_low", "ci_high", "folds"]
    more = pd.DataFrame(rows, columns=columns)
    mistakes = pd.DataFrame(
        [("nt-mini", fold, rank, count, 50) for fold in (0, 1) for rank, count in (
            ("species", 45), ("genus", 4), ("none", 1))],
        columns=["model", "fold", "rank", "count", "tested"],
    )  # fmt: skip
    return report.Run(**{
        **vars(run),
        "task": task("multiclass", {"ranks": ["genus"]}),
        "label_map": {**run.label_map, "taxonomy": given},
        "comparison": pd.concat([run.comparison, more], ignore_index=True),
        "metrics": pd.concat([run.metrics, pd.DataFrame(of_folds, columns=run.metrics.columns)], ignore_index=True),
        "fold_tables": {**run.fold_tables, "rank_mistakes": mistakes},
        "config": {"taxonomy": {"threshold": 0.85}},
    })  # fmt: skip


def test_the_section_on_ranks_says_how_deep_names_go(run):
    ranked = run_with_ranks(run)
    text = " ".join(re.sub("<[^>]+>", " ", render(ranked)).split())
    assert (
        "reaches 0.85, and no deeper than the genus where it is rejected as unknown: 90.0 % to a species (99.0 % of "
        "these names are right) and 95.0 % to at least a genus (99.5 %)"
    ) in text
    assert "5.0 % get no name." in text
    assert "10 best guesses were a wrong species: 8 (80 %) in the right genus and 2 (20 %) wrong at every rank." in text
    assert "9 sequences are of a species the model never saw. On average over the folds, 25.0 % get" in text
    assert "which cannot be right: neither a high probability nor passing as known proves that the species is" in text
    assert "The genus of 5 sequences is new too; 40.0 % get the name of a genus all the same." in text
    assert "The genus of 4 sequences is one it knows; 75.0 % are put there." in text
    assert "of species too rare to train genus 2 100.0 % 0 – – – –" in text
    assert "all of them species 9 25.0 % – – – – – all of them genus 5 40.0 % 4 75.0 % 50.0 % 100.0 % 0.0 %" in text
    page = Page(render(ranked))
    assert not page.wrong and {"ranks", "rank-table"} <= set(page.ids) and 'id="ranks"' not in render(run)


def test_tables_of_ranks(run):
    ranked = run_with_ranks(run, unknown=False)
    tables = report.tables(ranked)
    shown = tables["ranks"].set_index(["model", "rank"])
    own = report_tables.estimates(run.comparison, "nt-mini")
    assert shown.loc[("nt-mini", "species"), "accuracy"] == own["accuracy"].mean
    assert shown.loc[("nt-mini", "genus"), "log_loss"] == 0.11
    assert shown.loc[("nt-mini", "genus"), "misclassified"] == 0.0048
    assert report.tables(run_with_ranks(run))["ranks"].set_index(["model", "rank"]).loc[
        ("nt-mini", "genus"), ["novel", "overclassified"]
    ].tolist() == [5, 0.4]  # fmt: skip
    assert math.isnan(shown.loc[("majority", "genus"), "accuracy"])
    assert tables["rank_mistakes"]["lands"].tolist() == [
        "wrong species, right genus", "wrong at every rank, genus included",
    ]  # fmt: skip
    assert tables["rank_mistakes"]["share_of_tested"].tolist() == [0.08, 0.02]
    assert tables["rank_unknowns"].empty
    assert "never saw" not in render(ranked)
    assert set(tables) == {"models", "removed_reasons", "time_and_memory", *ranked.task.report_tables}


def test_a_model_without_a_wrong_name(run):
    ranked = run_with_ranks(run)
    right = ranked.fold_tables["rank_mistakes"].assign(count=[50, 0, 0, 50, 0, 0])
    text = render(report.Run(**{**vars(ranked), "fold_tables": {**ranked.fold_tables, "rank_mistakes": right}}))
    assert "The best guess of no test sequence was a wrong species." in text
