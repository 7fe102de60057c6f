"""The figure of ranks shows the numbers of its tables, whatever ranks and records there are."""

import numpy as np
import pandas as pd
import pytest

from dnatune import report_ranks
from dnatune.figures import save_figure
from dnatune.figures_ranks import ranks

NAMES = ["species", "genus", "family"]


def comparison(unknown=True):
    test = {"named@species": 0.8, "named_right@species": 0.95, "named@genus": 0.9, "named_right@genus": 1.0,
            "named@family": 1.0, "named_right@family": 0.9}  # fmt: skip
    seen = {"novel@species": 5, "overclassified@species": 0.4, "novel@genus": 2, "overclassified@genus": 0.5,
            "records@genus": 3, "named@genus": 0.5, "named_right@genus": 0.5, "misclassified@genus": 0.25,
            "novel@family": 0, "records@family": 0}  # fmt: skip
    rows = [("m", "test", "calibrated", metric, "all", value) for metric, value in test.items()]
    rows += [
        ("m", "unknown", "calibrated", metric, kind, value)
        for kind in ("rare", "all")
        for metric, value in seen.items()
        if unknown
    ]
    table = pd.DataFrame(rows, columns=["model", "split", "stage", "metric", "class", "value"])
    return table.assign(mean=table["value"])


def drawn(counts, unknown=True):
    table = pd.DataFrame({"model": "m", "rank": [*NAMES, "none"], "count": counts, "tested": sum(counts)})
    given = comparison(unknown)
    return ranks(
        report_ranks.ranks(given[given["class"] == "all"], ["m"], NAMES),
        report_ranks.together(report_ranks.unknowns(given, "m", NAMES)),
        report_ranks.mistakes(table, "m", NAMES),
    )


def widths(axes):
    return [[bar.get_width() for bar in bars] for bars in axes.containers]


def test_bars_are_the_shares_and_counts():
    upper, lower = drawn([90, 6, 0, 4]).axes
    right, wrong, nameless = widths(upper)
    # Species, genus, family; then sequences never seen: no name of a species or genus that is new can be right.
    np.testing.assert_allclose(right, [0.76, 0.9, 0.9, 0, 0, 0.25])
    np.testing.assert_allclose(wrong, [0.04, 0, 0.1, 0.4, 0.5, 0.25])
    np.testing.assert_allclose(nameless, [0.2, 0.1, 0, 0.6, 0.5, 0.5], atol=1e-12)
    assert [text.get_text() for text in upper.get_yticklabels()] == [
        "species", "genus", "family", "never seen: new species", "never seen: new genus", "never seen: known genus",
    ]  # fmt: skip
    assert widths(lower) == [[6, 4]]
    assert lower.get_yticklabels()[1].get_text() == "wrong at every rank, family included"


@pytest.mark.parametrize(("counts", "unknown"), [([10, 0, 0, 0], True), ([5, 1, 2, 3], False), ([0, 0, 0, 9], False)])
def test_every_case_can_be_drawn(counts, unknown, tmp_path):
    save_figure(drawn(counts, unknown), tmp_path / "ranks.svg", tmp_path / "ranks.png")
    assert (tmp_path / "ranks.png").stat().st_size > 10_000


def test_nothing_to_draw_is_said():
    nothing = comparison().iloc[:0]
    figure = ranks(report_ranks.ranks(nothing, ["m"], NAMES), report_ranks.unknowns(nothing, "m", NAMES), nothing)
    assert "no figures at ranks" in figure.axes[0].texts[0].get_text()
