"""What the figures of a report are drawn from, read only when a figure asks for it; and which figure is which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dnatune import (
    figures,
    figures_difficulty,
    figures_models,
    figures_more_data,
    figures_multilabel,
    figures_ranks,
    figures_regression,
    figures_sets,
    figures_token,
    figures_unknowns,
    report_files,
    report_ranks,
    report_tables,
)
from dnatune.engine import naming_model
from dnatune.figures import empty_figure
from dnatune.files import read_json
from dnatune.tasks.base import Task

CONFUSIONS_SHOWN = 20


class FigureData:
    """The files of a run (``given``: the rule's named inputs) as tables; ``colors``, ``predict_with`` and the language
    models that are ``saved`` of the configuration."""

    def __init__(
        self,
        given: Any,
        task: Task,
        colors: Sequence[str],
        saved: Sequence[str] = (),
        predict_with: str | None = None,
    ) -> None:
        self.given = given
        self.task = task
        self.colors = list(colors)
        self.saved = list(saved)
        self.predict_with = predict_with

    @cached_property
    def balance(self) -> pd.DataFrame:
        """labels/class_balance.tsv."""
        return report_files.table(self.given.class_balance)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """metrics.tsv."""
        return report_files.table(self.given.metrics)

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """comparison.tsv."""
        return report_files.table(self.given.comparison)

    @cached_property
    def history(self) -> pd.DataFrame:
        """All history.tsv."""
        return report_files.of_folds(report_files.listed(self.given.get("histories")))

    @cached_property
    def curves(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Precision-recall points and reliability bins of all curves.npz."""
        return report_files.curves(report_files.listed(self.given.get("curves")))

    @cached_property
    def labels_summary(self) -> dict[str, Any]:
        """labels/summary.json."""
        return read_json(self.given.labels_summary)

    @cached_property
    def best_curves(self) -> list[dict[str, np.ndarray]]:
        """All arrays of curves.npz of the best model, fold after fold."""
        return self.all_curves.get(str(self.best), [])

    @cached_property
    def all_curves(self) -> dict[str, list[dict[str, np.ndarray]]]:
        """All arrays of curves.npz of every model, fold after fold."""
        found: dict[str, list[dict[str, np.ndarray]]] = {}
        for path in report_files.listed(self.given.get("curves")):
            with np.load(path, allow_pickle=False) as stored:
                found.setdefault(report_files.place(path).model, []).append(dict(stored))
        return found

    @cached_property
    def language_models(self) -> list[str]:
        """The models that were trained."""
        return list(dict.fromkeys(self.history["model"]))

    @cached_property
    def engines(self) -> list[str]:
        """The pools of several experts."""
        places = map(report_files.place, report_files.listed(self.given.get("curves")))
        return list(dict.fromkeys(place.model for place in places if place.kind == "engines"))

    @cached_property
    def best(self) -> str | None:
        """The model the report speaks of, by validation: a language model, or with none a baseline, not the engine."""
        candidates = self.language_models or sorted(set(self.metrics["model"]) - set(self.engines))
        return report_tables.best_model(self.metrics, candidates, self.task)

    @cached_property
    def naming(self) -> str | None:
        """Who names new sequences, as ``report.Run.naming``: the figures of single names are of this one."""
        pools = report_files.records_of(report_files.listed(self.given.get("engine_runs")))
        best = report_tables.best_model(self.metrics, self.saved, self.task)
        return naming_model(pools, self.engines, self.saved, best, self.predict_with) or self.best

    def fold_table(self, name: str, model: str | None = None) -> pd.DataFrame:
        """One of the task's own tables, of a model (the best one), all folds together."""
        table = report_files.of_folds(report_files.listed(self.given.get(name)))
        return table[table["model"] == (model or self.best)] if len(table) else pd.DataFrame()


def _unknown_scores(data: FigureData) -> Figure:
    name = str(data.naming or "")
    return figures_unknowns.unknown_scores(data.all_curves.get(name, []), name, data.colors)


def _prediction_sets(data: FigureData) -> Figure:
    curves = data.all_curves.get(str(data.naming), [])
    return figures_sets.prediction_sets(data.metrics, curves, data.naming, data.colors)


def _named_accuracy(data: FigureData) -> Figure:
    return figures_unknowns.named_accuracy(data.all_curves, data.colors)


def _per_class(data: FigureData) -> Figure:
    table = report_tables.per_class(data.metrics, data.balance, data.best)
    return figures.per_class_f1_vs_size(table, str(data.best or ""), data.colors)


def _folds(data: FigureData) -> Figure:
    return figures.folds(report_files.role_counts(read_json(data.given.folds_audit)), data.colors)


def _predicted(data: FigureData) -> Figure:
    return figures_regression.predicted_measured(data.best_curves, str(data.best or ""), data.colors)


def _intervals(data: FigureData) -> Figure:
    return figures_regression.interval_coverage(data.best_curves, str(data.best or ""), data.colors)


def _ranks(data: FigureData) -> Figure:
    mistakes = data.fold_table("rank_mistakes", data.naming)
    # Every fold lists all ranks, the label's own first and those that are wrong everywhere last.
    names = list(dict.fromkeys(mistakes["rank"]))[:-1] if len(mistakes) else []
    if not names:
        return empty_figure("There are no figures at ranks.")
    return figures_ranks.ranks(
        report_ranks.ranks(data.comparison, [str(data.naming)], names),
        report_ranks.together(report_ranks.unknowns(data.metrics, data.naming, names)),
        report_ranks.mistakes(mistakes, data.naming, names),
        data.colors,
    )


def _values(data: FigureData) -> Figure:
    return figures_regression.target_distribution(data.labels_summary.get("histograms") or {}, data.colors)


def _comparison(data: FigureData) -> Figure:
    models = [*data.language_models, *data.task.compared({model: {} for model in data.language_models})]
    kinds = {**dict.fromkeys(models, "language model"), **dict.fromkeys(data.engines, "several experts")}
    return figures_models.model_comparison(data.comparison, data.metrics, kinds, data.colors, data.task)


def _label_pr_auc(data: FigureData) -> Figure:
    return figures_multilabel.label_pr_auc(data.metrics, data.best, data.language_models, data.task, data.colors)


def _label_f1(data: FigureData) -> Figure:
    wanted = {data.best, *data.metrics["model"]} - (set(data.language_models) - {data.best})
    metrics = data.metrics[data.metrics["model"].isin(wanted)]
    return figures_token.label_f1(metrics, list(data.balance["label"]), data.best, data.colors)


def _label_confusions(data: FigureData) -> Figure:
    table = report_tables.label_confusions(data.fold_table("label_confusions"), data.best)
    return figures_token.label_confusions(table, list(data.balance["label"]))


def _tracks(data: FigureData) -> Figure:
    table = data.fold_table("tracks")
    first = table[table["fold"] == table["fold"].min()] if len(table) else table
    return figures_token.tracks(first, list(data.balance["label"]), data.colors)


DRAWN: Mapping[str, Callable[[FigureData], Figure]] = {
    "class_balance": lambda data: figures.class_balance(data.balance, data.colors),
    "folds": _folds,
    "barcode_gap": lambda data: figures_difficulty.barcode_gap(report_files.table(data.given.species), data.colors),
    "model_comparison": _comparison,
    "more_data": lambda data: figures_more_data.more_data(report_files.table(data.given.curve), data.task, data.colors),
    "learning_curves": lambda data: figures_models.learning_curves(data.history, data.colors, data.task),
    "precision_recall": lambda data: figures_models.precision_recall(data.curves[0], data.colors),
    "reliability": lambda data: figures_models.reliability(data.curves[1], data.colors),
    "prediction_sets": _prediction_sets,
    "confusions": lambda data: figures.confusions(data.fold_table("confusions"), data.colors, CONFUSIONS_SHOWN),
    "per_class_f1_vs_size": _per_class,
    "unknown_scores": _unknown_scores,
    "named_accuracy": _named_accuracy,
    "label_balance": lambda data: figures.class_balance(data.balance, data.colors),
    "label_pr_auc": _label_pr_auc,
    "target_distribution": _values,
    "predicted_measured": _predicted,
    "interval_coverage": _intervals,
    "base_balance": lambda data: figures_token.label_balance(data.balance, data.colors),
    "label_f1": _label_f1,
    "label_confusions": _label_confusions,
    "ranks": _ranks,
    "tracks": _tracks,
}
