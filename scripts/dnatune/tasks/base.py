"""What a task is: facts that configuration and rules ask for, and a part for each stage of the chain.

Targets are what a model learns, in one array whose first axis is the records (``PerBase`` where each base has
one). Scores are what a model gives, all windows and reading frames of a sequence taken together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import torch

    from dnatune.averaging import MeanOfSequences
    from dnatune.baselines import Method
    from dnatune.evaluation import Evaluation
    from dnatune.losses import Loss
    from dnatune.report import Run
    from dnatune.report_words import Metric, Sentence
    from dnatune.scores import Scores
    from dnatune.taxonomy import Taxonomy
    from dnatune.tokens import TokenTable


@dataclass(frozen=True)
class LabelSource:
    """Where labels were read, for the sentence on a wrong one: ``file`` and ``column``."""

    file: str
    column: str


@dataclass(frozen=True)
class Described:
    """The label map (label2id, id2label), one row per label, and numbers with a ``statement`` in words."""

    label_map: dict[str, Any]
    balance: pd.DataFrame
    summary: dict[str, Any]


@dataclass(frozen=True)
class EvaluationSettings:
    """``calibration`` method, its ``cv_folds`` and the ``coverage`` of intervals, ``top_k``, and the run's ``seed``;
    the ``taxonomy`` above the labels, and the ``rank_threshold`` that the probability of a taxon has to reach;
    ``set_coverage`` of sets of names, whether to ``allow_empty_sets``, and ``trained``, the fold's training records of
    each class (classes,) or None;
    ``held_out``, the class ids of records that this fold does not train on purpose, by id; ``left_out``, how many
    unknown records of each kind are not scored, being the same as known ones;
    the ``rejection`` score of unknown sequences and the share of ``false_alarm`` it may give."""

    calibration: str = "auto"
    cv_folds: int = 5
    top_k: int = 5
    seed: int = 0
    coverage: float = 0.9
    taxonomy: Taxonomy | None = None
    rank_threshold: float = 0.8
    set_coverage: float = 0.9
    allow_empty_sets: bool = False
    trained: np.ndarray | None = None
    held_out: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    rejection: str = "auto"
    false_alarm: float = 0.05


@dataclass(frozen=True)
class Wording:
    """Words of the report that depend on the task: its ``title``, what ``labels`` are called in a heading, what
    calibration changes (``stages``, ``calibrated``), and what is ``averaged`` over windows."""

    title: str = "How well can the sequences of {name} be told apart?"
    labels: str = "Class balance"
    stages: str = "Calibration may change which name comes first, so all metrics stand there twice: raw and calibrated."
    calibrated: str = (
        "Before and after the model's probabilities were adjusted, on validation, to agree with how often it is right."
    )
    averaged: str = "probabilities"


CLASS_METRICS = {
    "accuracy": "accuracy",
    "f1_macro": "macro F1",
    "pr_auc_macro": "macro PR-AUC",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "expected calibration error",
}


@dataclass(frozen=True)
class Card:
    """What the card of a saved model says of its task; ``{labels}`` is their number, ``{names}`` the first of them.

    ``what`` it is, the ``limits`` of its answers, the line of Python that ``use``s the ``logits`` of a plain
    ``auto_class`` model, what ``snakemake predict`` does ``more``, the ``metrics`` with their words, and what an
    ensemble has ``averaged``.
    """

    what: str = "A classifier of DNA sequences into {labels} classes"
    limits: str = "A sequence of a class that is not among the {labels} gets one of their names all the same."
    use: str = "print(model.config.id2label[int(logits.argmax(-1))])"
    auto_class: str = "AutoModelForSequenceClassification"
    more: str = ""
    metrics: Mapping[str, str] = field(default_factory=lambda: CLASS_METRICS)
    averaged: str = "probabilities"


class Task:
    """One kind of label. ``options`` is the configuration's section of the task's name."""

    # Labels are classes of whole sequences: rare ones are set aside, each of them is tested.
    classes = True
    # There are labels, and something is trained.
    labelled = True
    # Identical sequences with different labels contradict each other.
    conflicts = True
    # A record without a label is a record with no label, not a gap in the table.
    empty_labels = False
    # There are several columns of labels.
    several_columns = False
    # A label for each base, not for each sequence.
    per_base = False
    # The other strand of a sequence has the same label, so that both may be read.
    strands = True
    # transformers' word for the loss of a plain user's training.
    problem_type = "single_label_classification"

    # Metrics of a learning curve, and whether more is better: any of them may choose the best epoch.
    curve: ClassVar[Mapping[str, bool]] = {}
    best_by = ""
    # The loss among them, and the metric whose difference between train and validation is called the gap.
    tie_break = ""
    gap = ""
    # Metrics of the paired tests, of the report's four big numbers, and of its table of models.
    tested: tuple[str, ...] = ()
    headline: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    imbalance: tuple[str, ...] = ("none",)
    calibrations: tuple[str, ...] = ("auto", "none")
    # Stages of the report's table of models: both where calibration changes what is predicted.
    stages: tuple[str, ...] = ("raw", "calibrated")
    wording = Wording()
    # All baselines, and those of them that run only where the configuration names them.
    baselines: tuple[str, ...] = ()
    on_request: tuple[str, ...] = ()
    # Baselines that join the language models in the engine: of each place the first that runs. Empty: no engine.
    experts: tuple[tuple[str, ...], ...] = ()
    # Baselines whose settings can be chosen on validation.
    tuned: tuple[str, ...] = ()
    # Tables of a fold besides metrics.tsv; tables, figures and sections of the report besides the common ones.
    fold_tables: tuple[str, ...] = ()
    report_tables: tuple[str, ...] = ()
    # Tables of ``snakemake predict`` besides the one with a row per sequence.
    prediction_tables: tuple[str, ...] = ()
    # Tables of ``snakemake predict`` made from that one, in the forms of other programs.
    other_forms: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    card: Card = Card()
    # Where the parts are: stage -> "module:name" within dnatune.
    parts: ClassVar[Mapping[str, str]] = {}

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    def check(self, config: Mapping[str, Any]) -> None:
        """Raise UserError for the first key of a complete configuration that does not go with the task."""

    def head(self, names: Sequence[str] = ()) -> dict[str, Any]:
        """Return what kind of head a model of those labels gets; see ``backbones.modeling_pooled.PooledConfig``."""
        return {"problem_type": self.problem_type, "per_token": self.per_base}

    def compared(self, models: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return models by name with their settings that are trained besides, to be compared and not to be saved."""
        return {}

    def units(self, settings: Mapping[str, Any], names: Sequence[str]) -> list[list[int]]:
        """Return the label ids that a compared model learns apart, a list for each training; empty: all together."""
        return []

    @cached_property
    def labels(self) -> Labels:
        """The part that reads labels: records, label map, folds, targets."""
        return self._part("labels")(self)

    @cached_property
    def learning(self) -> Learning:
        """The part that trains and scores; needs torch."""
        return self._part("learning")(self)

    @cached_property
    def judging(self) -> Judging:
        """The part that calibrates, evaluates and says what a new sequence is."""
        return self._part("judging")(self)

    @cached_property
    def report(self) -> Report:
        """The part that speaks in the report."""
        return self._part("report")(self)

    def baseline(self, name: str) -> Method:
        """Return one of the task's ``baselines``."""
        return self._part("baselines")[name]

    def modules(self, stages: Iterable[str]) -> list[str]:
        """Return the modules of those parts that the task has: what a rule's code depends on besides its script."""
        return [f"dnatune.{self.parts[stage].split(':')[0]}" for stage in stages if stage in self.parts]

    def _part(self, stage: str) -> Any:
        module, name = self.parts[stage].split(":")
        return getattr(import_module(f"dnatune.{module}"), name)


class Part:
    """A part knows its task: options and facts."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.options = task.options


class Labels(Part):
    """From the texts of the label table to targets."""

    def check(self, source: LabelSource, ids: pa.Array, texts: pa.Array, lengths: np.ndarray) -> None:
        """Raise UserError for the first label (n,) that cannot be one; ``lengths`` (n,) bases."""

    def canonical(self, texts: pa.Array) -> pa.Array:
        """Return texts (n,) that are equal where they mean the same label."""
        return texts

    def describe(self, texts: pa.ChunkedArray, known: np.ndarray, sequence: np.ndarray) -> Described:
        """Number the labels and count them; ``sequence`` (n,) codes of identical sequences."""
        raise NotImplementedError

    def targets(self, texts: pa.ChunkedArray, known: np.ndarray, names: Sequence[str]) -> Any:
        """Return the targets of all records; ``names`` in the order of their ids."""
        raise NotImplementedError

    def strata(self, targets: Any) -> np.ndarray:
        """Return a class id (n,) per record by which folds and samples are stratified."""
        raise NotImplementedError

    def sampling_weights(self, targets: Any) -> np.ndarray:
        """Return how often each training record (n,) is drawn under balanced sampling."""
        strata = self.strata(targets)
        return 1.0 / np.bincount(strata)[strata]


class Learning(Part):
    """From targets and logits to a loss, and from logits to scores."""

    def fitted_head(self, head: dict[str, Any], targets: Any) -> dict[str, Any]:
        """Return ``head`` with what it takes from the targets of the training part."""
        return head

    def check(self, table: TokenTable, targets: Any, source: str) -> None:
        """Raise UserError if the token rows of all records, made for the backbone ``source``, do not fit targets."""

    def loss(self, training: Mapping[str, Any], targets: Any, outputs: int) -> Loss:
        """Return the training loss; ``targets`` of the training part, ``outputs`` of the head."""
        raise NotImplementedError

    def batch_targets(
        self, targets: Any, records: np.ndarray, table: TokenTable, rows: np.ndarray
    ) -> torch.Tensor | np.ndarray:
        """Return the targets of a batch: of ``records`` (batch,), read as token ``rows`` (batch,)."""
        return targets[records]

    def activate(self, logits: torch.Tensor) -> torch.Tensor:
        """Return what may be averaged over windows and views; both (rows, outputs)."""
        raise NotImplementedError

    def collector(
        self, table: TokenTable, records: np.ndarray, views: np.ndarray, outputs: int
    ) -> MeanOfSequences | None:
        """Return what averages over the rows of ``records`` in these ``views`` (numbers in the table); None stands
        for the mean of each sequence."""
        return None

    def scores(self, mean: torch.Tensor) -> torch.Tensor:
        """Return scores from averages of what ``activate`` gave; the inverse of ``activate``."""
        raise NotImplementedError

    def curve_metrics(self, scores: np.ndarray, targets: Any) -> dict[str, float]:
        """Return the figures of one point of the learning curve, by metric name."""
        raise NotImplementedError


class Judging(Part):
    """From scores to calibrated predictions and figures."""

    def evaluate(
        self, scores: Scores, names: Sequence[str], model: str, fold: int, settings: EvaluationSettings
    ) -> Evaluation:
        """Calibrate on validation, evaluate test raw and calibrated, and validation raw."""
        raise NotImplementedError

    def calibrate(
        self, validation: Scores, settings: EvaluationSettings, held_out: Scores | None = None
    ) -> dict[str, Any]:
        """Fit a calibrator on validation scores; a plain dictionary with its ``method``.

        ``held_out`` are the scores of records of classes that were held out on purpose, where a task has any.
        """
        raise NotImplementedError

    def calibrated(self, calibrator: dict[str, Any], scores: np.ndarray) -> np.ndarray:
        """Return calibrated predictions from scores (n, outputs)."""
        raise NotImplementedError

    def predictions(
        self, predicted: np.ndarray, lengths: np.ndarray, names: Sequence[str], calibrator: dict[str, Any], top_k: int
    ) -> pd.DataFrame:
        """Return the columns of a prediction table, one row per sequence, from calibrated predictions.

        ``lengths`` (n,) bases of each sequence.
        """
        raise NotImplementedError

    def with_evidence(
        self, table: pd.DataFrame, predicted: np.ndarray, evidence: np.ndarray | None, calibrator: dict[str, Any]
    ) -> pd.DataFrame:
        """Return a prediction table with what the ``evidence`` (n, 4) says besides (see ``scores.EVIDENCE``)."""
        return table

    def prediction_tables(
        self, predicted: np.ndarray, ids: Sequence[str], lengths: np.ndarray, names: Sequence[str]
    ) -> dict[str, pd.DataFrame]:
        """Return other tables of the same calibrated predictions, by name: ``Task.prediction_tables``."""
        return {}

    def other_forms(self, named: pd.DataFrame, calibrator: dict[str, Any]) -> dict[str, pd.DataFrame]:
        """Return the whole table of ``snakemake predict`` in other programs' forms, by name: ``Task.other_forms``."""
        return {}


class Report(Part):
    """What the report and the card of a saved model say of this task."""

    # Metrics by name in the task's own words, where the common ones (``report_words.METRICS``) do not fit.
    words: ClassVar[Mapping[str, Metric]] = {}

    def metric(self, name: str) -> Metric | None:
        """Return what a metric means for this task, where that is not what it means in general."""
        return self.words.get(name)

    def answer(self, run: Run) -> list[Sentence]:
        """Return the report's answer in words."""
        raise NotImplementedError

    def tables(self, run: Run) -> dict[str, pd.DataFrame]:
        """Return the task's own tables of the report, by name: ``Task.report_tables``."""
        return {}

    def section_words(self, run: Run) -> dict[str, Any]:
        """Return what the templates of the task's own sections need besides: words, by name."""
        return {}
