"""Judging labels per base: figures over bases, confusions between labels, example sequences, labels of new ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dnatune import calibration
from dnatune.comparison import METRIC_COLUMNS
from dnatune.errors import UserError
from dnatune.evaluation import Evaluation, evaluate_fold
from dnatune.metrics import top_choices
from dnatune.per_base import mean_of_records, runs
from dnatune.scores import Scores
from dnatune.tasks.base import EvaluationSettings
from dnatune.tasks.class_judging import ClassJudging

# Bases of a calibration: neighbours tell much the same, and isotonic regression sorts them all for each label.
CALIBRATION_BASES = 200_000
EXAMPLES = {"poor": 0.1, "typical": 0.5, "good": 0.9}


class TokenJudging(ClassJudging):
    """See the module."""

    def evaluate(
        self, scores: Scores, names: Sequence[str], model: str, fold: int, settings: EvaluationSettings
    ) -> Evaluation:
        """Return the figures per base (``bases``: how many), and of ``records`` the mean accuracy per sequence."""
        found = evaluate_fold(scores, names, model, fold, self.task, settings)
        test = scores.part("test")
        calibrated = self.calibrated(found.calibrator, test.logits).argmax(axis=1)
        metrics = found.metrics[~found.metrics["metric"].str.startswith("top_")].copy()
        metrics["metric"] = metrics["metric"].replace("records", "bases")
        own = []
        raw = {"validation": scores.part("validation"), "test": test}
        for split, stage, part, predicted in (
            *((split, "raw", part, part.logits.argmax(axis=1)) for split, part in raw.items()),
            ("test", "calibrated", test, calibrated),
        ):
            if len(part.id):
                share = float(mean_of_records(predicted == part.label, part.counts).mean())
                own.append([split, stage, "accuracy_per_sequence", "all", share])
                own.append([split, stage, "records", "all", float(len(part.id))])
        more = pd.DataFrame(own, columns=["split", "stage", "metric", "class", "value"]).assign(model=model, fold=fold)
        averages = metrics["class"] == "all"
        table = pd.concat([metrics[averages], more[METRIC_COLUMNS], metrics[~averages]], ignore_index=True)
        tables = {
            "label_confusions": confusion_table(calibrated, test.label, names),
            "tracks": tracks(test, calibrated, names),
        }
        return Evaluation(found.calibrator, table, found.curves, tables)

    def calibrate(
        self, validation: Scores, settings: EvaluationSettings, held_out: Scores | None = None
    ) -> dict[str, Any]:
        """Fit on at most ``CALIBRATION_BASES`` bases, whole sequences drawn with the run's seed."""
        sample = whole_records(validation, CALIBRATION_BASES, settings.seed)
        calibrator = calibration.fit(
            settings.calibration, sample.logits, sample.label, settings.seed, settings.cv_folds, sample.group_of_row
        )
        return {**calibrator, "records": len(sample.id), "bases": len(sample.label), "of_bases": len(validation.label)}

    def predictions(
        self, predicted: np.ndarray, lengths: np.ndarray, names: Sequence[str], calibrator: dict[str, Any], top_k: int
    ) -> pd.DataFrame:
        """Return the labels of each sequence as they were given (a letter per base, or tags), and their mean
        probability."""
        labels, top = _chosen(predicted, lengths)
        ends = np.cumsum(lengths)
        text = np.array([str(name) for name in names], dtype=object)
        glue = self.task.separator or ""
        joined = [glue.join(text[labels[end - n : end]]) for end, n in zip(ends, lengths, strict=True)]
        return pd.DataFrame({"labels": joined, "mean_probability": mean_of_records(top, lengths)})

    def prediction_tables(
        self, predicted: np.ndarray, ids: Sequence[str], lengths: np.ndarray, names: Sequence[str]
    ) -> dict[str, pd.DataFrame]:
        """Return ``segments``: id, start, end (0-based, half-open), label, mean_probability."""
        labels, top = _chosen(predicted, lengths)
        tables = []
        for name, end, n in zip(ids, np.cumsum(lengths), lengths, strict=True):
            here = slice(end - n, end)
            table = segments(labels[here], names)
            table["mean_probability"] = mean_of_records(top[here], (table["end"] - table["start"]).to_numpy())
            table.insert(0, "id", name)
            tables.append(table)
        return {"segments": pd.concat(tables, ignore_index=True)}


def _chosen(predicted: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(predicted) != lengths.sum():
        raise UserError(
            f"The saved model's tokenizer reads {lengths.sum()} bases as tokens of {len(predicted)} bases; replace "
            "letters other than A, C, G, T in the query, which it reads together."
        )
    return top_choices(predicted)


def whole_records(scores: Scores, bases: int, seed: int) -> Scores:
    """Return records drawn at random until the next one would exceed ``bases``; at least one, in their order."""
    if len(scores.label) <= bases:
        return scores
    order = np.random.default_rng([seed, 6]).permutation(len(scores.id))
    taken = np.cumsum(scores.counts[order]) <= bases
    taken[0] = True
    kept = np.zeros(len(scores.id), dtype=bool)
    kept[order[taken]] = True
    inside = np.repeat(kept, scores.counts)
    return Scores(
        scores.id[kept],
        scores.role[kept],
        scores.label[inside],
        scores.logits[inside],
        scores.group[kept],
        scores.counts[kept],
    )


def segments(labels: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """Return start, end (0-based, half-open) and label of the stretches of equal class ids (bases,)."""
    starts, ends = runs(labels)
    return pd.DataFrame({"start": starts, "end": ends, "label": [names[i] for i in labels[starts]]})


def confusion_table(predicted: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """Return truth, predicted, bases and share (of the bases of that truth) of all pairs of labels, right ones too."""
    n = len(names)
    counts = np.bincount(labels.astype(np.int64) * n + predicted, minlength=n * n).reshape(n, n)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    truth, given = np.divmod(np.arange(n * n), n)
    text = np.array([str(name) for name in names], dtype=object)
    return pd.DataFrame(
        {"truth": text[truth], "predicted": text[given], "bases": counts.ravel(), "share": share.ravel()}
    )


def tracks(scores: Scores, predicted: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """Return true and predicted segments of a poor, a typical and a good sequence.

    They are those at the 10 %, 50 % and 90 % quantile of the accuracy: not picked by hand. Columns: id, example,
    accuracy, bases, track (truth or prediction), start, end, label.
    """
    tables = []
    accuracy = mean_of_records(predicted == scores.label, scores.counts)
    order, starts = np.argsort(accuracy, kind="stable"), np.cumsum(scores.counts) - scores.counts
    for example, quantile in EXAMPLES.items():
        if not len(order):
            break
        record = order[round(quantile * (len(order) - 1))]
        here = slice(starts[record], starts[record] + scores.counts[record])
        for track, labels in (("truth", scores.label[here]), ("prediction", predicted[here])):
            table = segments(labels, names)
            for column, value in (
                ("track", track),
                ("bases", int(scores.counts[record])),
                ("accuracy", float(accuracy[record])),
                ("example", example),
                ("id", scores.id[record]),
            ):
                table.insert(0, column, value)
            tables.append(table)
    columns = ["id", "example", "accuracy", "bases", "track", "start", "end", "label"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
