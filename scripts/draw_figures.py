"""Draw the figures of the report as SVG and PNG; which one a file is, its name says."""

from pathlib import Path

import pandas as pd

from dnatune import figures, figures_models, report_files, report_tables
from dnatune.files import read_json
from dnatune.job import job

CONFUSIONS_SHOWN = 20

with job(snakemake) as log:
    given, colors = snakemake.input, list(snakemake.params.colors)
    balance = report_files.table(given.class_balance)
    metrics, comparison = report_files.table(given.metrics), report_files.table(given.comparison)
    history = report_files.of_folds(report_files.listed(given.get("histories")))
    points, bins = report_files.curves(report_files.listed(given.get("curves")))
    confused = report_files.of_folds(report_files.listed(given.get("confusions")))

    language_models = list(dict.fromkeys(history["model"]))
    best = report_tables.best_model(metrics, language_models or sorted(set(metrics["model"])))
    mine = confused[confused["model"] == best] if len(confused) else pd.DataFrame()
    draw = {
        "class_balance": lambda: figures.class_balance(balance, colors),
        "folds": lambda: figures.folds(report_files.role_counts(read_json(given.folds_audit)), colors),
        "model_comparison": lambda: figures_models.model_comparison(comparison, metrics, language_models, colors),
        "learning_curves": lambda: figures_models.learning_curves(history, colors),
        "precision_recall": lambda: figures_models.precision_recall(points, colors),
        "reliability": lambda: figures_models.reliability(bins, colors),
        "confusions": lambda: figures.confusions(mine, colors, CONFUSIONS_SHOWN),
        "per_class_f1_vs_size": lambda: figures.per_class_f1_vs_size(
            report_tables.per_class(metrics, balance, best), str(best or ""), colors
        ),
    }
    paths = [Path(path) for path in snakemake.output]
    for name in dict.fromkeys(path.stem for path in paths):
        figures.save_figure(draw[name](), *(path for path in paths if path.stem == name))
        log.info("drew %s", name)
