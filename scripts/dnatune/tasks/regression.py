"""One or several numbers per sequence: how strong, how stable, how much. A number may be missing (NaN)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from dnatune.errors import UserError
from dnatune.tasks.base import Card, Task, Wording


class Regression(Task):
    """See the module."""

    classes = False
    conflicts = False
    several_columns = True
    problem_type = "regression"
    stages = ("calibrated",)
    wording = Wording(
        title="How well can the values of {name} be predicted?",
        labels="Values",
        stages="Calibration puts an interval round each value and leaves the value as it is: figures stand once.",
        calibrated="Calibrated predictions have an interval besides the value; its width was fitted on validation. "
        "The value itself is the same raw and calibrated.",
        averaged="values",
    )

    card = Card(
        what="A predictor of {names} from DNA sequences, in the units of the label table",
        limits="With several outputs the figures are means over them. A sequence unlike the training data gets a value "
        "all the same, and its interval does not hold.",
        use="print({name: float(logits[0, i]) for i, name in model.config.id2label.items()})",
        more=", and gives each value an interval (`half_width` in that file)",
        metrics={
            "r2": "R2",
            "pearson": "Pearson correlation",
            "spearman": "Spearman correlation",
            "rmse": "root mean squared error",
            "mae": "mean absolute error",
            "coverage": "share of values in their interval",
            "interval_width": "width of the interval",
        },
        averaged="values",
    )
    curve: ClassVar[Mapping[str, bool]] = {"mse": False, "r2": True, "pearson": True, "spearman": True}
    best_by = "r2"
    tie_break = "mse"
    gap = "r2"
    tested = ("r2", "pearson", "spearman", "mse", "rmse", "mae")
    headline = ("r2", "pearson", "spearman", "rmse")
    shown = ("r2", "pearson", "spearman", "rmse", "mae", "coverage", "interval_width")
    calibrations = ("auto", "none", "conformal")
    baselines = ("mean", "kmer_ridge", "vector_ridge")
    report_tables = ("per_output",)
    figures = (
        "target_distribution",
        "folds",
        "model_comparison",
        "learning_curves",
        "predicted_measured",
        "interval_coverage",
    )
    sections = ("outputs", "intervals")
    parts: ClassVar[Mapping[str, str]] = {
        "labels": "tasks.regression_labels:RegressionLabels",
        "learning": "tasks.regression_learning:RegressionLearning",
        "judging": "tasks.regression_judging:RegressionJudging",
        "report": "tasks.regression_report:RegressionReport",
        "baselines": "tasks.regression_baselines:METHODS",
    }

    def check(self, config: Mapping[str, Any]) -> None:
        """Refuse keys that only classes have, an output named like the averages, and heads without units."""
        if config["data"]["label_map"] is not None:
            raise UserError("Configuration key 'data.label_map' has no effect with task: regression; leave it out.")
        if config["filter"]["conflicts"] != "keep":
            raise UserError(
                f"Configuration key 'filter.conflicts': found '{config['filter']['conflicts']}', with task: regression "
                "expected keep: different values of one sequence are repeated measurements, not a conflict."
            )
        if "all" in self.options["columns"]:
            raise UserError(
                "Configuration key 'data.columns.label': 'all' is the word for averages in metrics.tsv; rename "
                "that column."
            )
        for name, model in config["models"].items():
            key = f"Configuration key 'models.{name}"
            if model["pooling"] == "architecture":
                raise UserError(
                    f"{key}.pooling': found architecture, with task: regression expected mean, cls or last: an "
                    "architecture's own head cannot give values in their units."
                )
            if model["training"]["label_smoothing"]:
                raise UserError(f"{key}.training.label_smoothing' has no effect with task: regression; leave it out.")


TASK = Regression
