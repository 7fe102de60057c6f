"""What the report says of values: how far off, how sure, against baselines, and each output for itself."""

from __future__ import annotations

import pandas as pd

from dnatune import report_tables, report_words
from dnatune import report_words_regression as words
from dnatune.report import Run
from dnatune.report_words import Sentence
from dnatune.tasks.base import Report

COLUMNS = ("records", "r2", "pearson", "spearman", "rmse", "mae", "mse", "coverage", "interval_width")
COUNTS = ("r2", "spearman", "mae")


class RegressionReport(Report):
    """See the module."""

    def answer(self, run: Run) -> list[Sentence]:
        """Say how far off predictions are, whether intervals hold, against baselines, and what overfitting there is."""
        sentences = [words.data_sentence(run.summary, run.labels_summary)]
        if run.best is None:
            return [*sentences, Sentence("How far off are its predictions?", "No model was run.")]
        language = run.best in run.language_models
        who = f"The language model {run.best}" if language else f"The baseline {run.best}"
        if language and len(run.language_models) > 1:
            who = f"The best of {len(run.language_models)} language models on validation, {run.best},"
        own = report_tables.estimates(run.comparison, run.best)
        table = per_output(run)
        mine = table[table["model"] == run.best]
        wanted = next((entry["coverage"] for entry in run.calibrations if "coverage" in entry), 0.9)
        sentences += [
            words.error_sentence(who, own, mine),
            words.interval_sentence(own.get("coverage"), wanted, mine),
        ]
        if language:
            rivals = {name: report_tables.estimates(run.comparison, name) for name in run.baselines}
            gaps = [entry.get("gap") for entry in run.runs if entry["model"] == run.best]
            rises = report_tables.rises(run.history, run.best, "mse")
            sentences += [
                report_words.baseline_sentence(run.best, rivals, own, run.paired, COUNTS),
                report_words.overfitting_sentence(gaps, rises, "R2", "its predictions"),
            ]
        return sentences

    def tables(self, run: Run) -> dict[str, pd.DataFrame]:
        """Return the figures of each output for each model."""
        return {"per_output": per_output(run)}


def per_output(run: Run) -> pd.DataFrame:
    """Return model, output, sd of its values in the whole data, records tested in all folds, and the means over folds
    of each output's test metrics."""
    test = run.metrics[(run.metrics["split"] == "test") & (run.metrics["class"] != "all")]
    test = test[test["stage"] == "calibrated"]
    means = test.pivot_table(index=["model", "class"], columns="metric", values="value", aggfunc="mean", sort=False)
    sums = test[test["metric"] == "records"].groupby(["model", "class"])["value"].sum().astype(int)
    table = means.assign(records=sums).reindex(columns=list(COLUMNS)).reset_index()
    table = table.rename(columns={"class": "output"}).rename_axis(columns=None)
    spread = run.balance.set_index("label")["sd"]
    table.insert(2, "sd", table["output"].map(spread))
    return table.sort_values("output", key=lambda column: column.map({n: i for i, n in enumerate(spread.index)}),
                             kind="stable", ignore_index=True)  # fmt: skip
