"""The answer of the report, in words, from the tables of a run; a function for each family of tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dnatune import report_engine, report_tables, report_words, report_words_differences
from dnatune.report_words import Estimate, Sentence

if TYPE_CHECKING:
    from dnatune.report import Run


def classification_answer(run: Run) -> list[Sentence]:
    """Return the answer in words: data, accuracy, certainty, baselines, overfitting, imbalance."""
    classes = len(run.label_map.get("label2id") or {})
    sentences = [report_words.data_sentence(run.summary, classes)]
    if run.best is None:
        return [*sentences, Sentence("How well are they told apart?", "No model was run.")]
    nothing = Estimate(math.nan)
    own, raw = (report_tables.estimates(run.comparison, run.best, s) for s in ("calibrated", "raw"))
    language = run.best in run.language_models
    who = f"The language model {run.best}" if language else f"The baseline {run.best}"
    if language and len(run.language_models) > 1:
        who = f"The best of {len(run.language_models)} language models on validation, {run.best},"
    sentences += [
        report_words.accuracy_sentence(
            who, own.get("accuracy", nothing), own.get("f1_macro", nothing), majority_share(run.labels_summary)
        ),
        report_words.certainty_sentence(
            raw.get("ece", nothing),
            own.get("ece", nothing),
            own.get("log_loss", nothing),
            pooled=own.get("ece_pooled"),
            by_chance=own.get("ece_pooled_by_chance"),
        ),
    ]
    if language:
        rivals = {name: report_tables.estimates(run.comparison, name) for name in run.baselines}
        gaps = [entry.get("gap") for entry in run.runs if entry["model"] == run.best]
        sentences += [
            report_words.baseline_sentence(run.best, rivals, own, run.paired),
            report_words.overfitting_sentence(gaps, report_tables.rises(run.history, run.best)),
        ]
    others = [name for name in [*run.language_models, *run.baselines, *run.engines] if name != run.best]
    if said := report_words_differences.differences(run.best, others, run.paired, run.words):
        sentences.append(Sentence("Which differences are real?", said))
    sentences += report_engine.sentences(run)
    if run.labels_summary.get("statement"):
        sentences.append(Sentence("Are the classes even?", str(run.labels_summary["statement"])))
    return sentences


def majority_share(labels_summary: Mapping[str, Any]) -> float:
    """Return the share of the largest class, NaN where it is not known."""
    share = labels_summary.get("majority_share")
    return math.nan if share is None else float(share)
