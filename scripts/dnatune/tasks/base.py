"""What a task is: facts that configuration and rules ask for, and a part for each stage of the chain.

Targets are what a model learns, in one array whose first axis is the records (``PerBase`` where each base has
one). Scores are what a model gives, all windows and reading frames of a sequence taken together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """``calibration`` method and its ``cv_folds``, ``top_k``, and the run's ``seed``."""

    calibration: str = "auto"
    cv_folds: int = 5
    top_k: int = 5
    seed: int = 0


@dataclass(frozen=True)
class Card:
    """What the card of a saved model says of its task; ``{classes}`` is their number.

    ``what`` it is, its ``limits``, the lines of Python that ``use`` the ``logits`` of a plain ``auto_class`` model,
    what ``snakemake predict`` does ``more``, and the ``metrics`` with their words.
    """

    what: str = "A classifier of DNA sequences into {classes} classes"
    limits: str = "A sequence of a class that is not among the {classes} gets one of their names all the same."
    use: str = "print(model.config.id2label[int(logits.argmax(-1))])"
    auto_class: str = "AutoModelForSequenceClassification"
    more: str = ""
    metrics: Mapping[str, str] = field(
        default_factory=lambda: {
            "accuracy": "accuracy",
            "f1_macro": "macro F1",
            "pr_auc_macro": "macro PR-AUC",
            "log_loss": "log loss",
            "brier": "Brier score",
            "ece": "expected calibration error",
        }
    )


class Task:
    """One kind of label. ``options`` is the configuration's section of the task's name."""

    # Labels are classes of whole sequences: rare ones are set aside, each of them is tested.
    classes = True
    # A record without a label is a record with no label, not a gap in the table.
    empty_labels = False
    # There are several columns of labels.
    several_columns = False
    # A label for each base, not for each sequence.
    per_base = False
    # The other strand of a sequence has the same label, so that both may be read.
    strands = True
    # The report's title where the configuration has none.
    title = "How well can the sequences of {name} be told apart?"
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
    baselines: tuple[str, ...] = ()
    # Tables of a fold besides metrics.tsv; tables, figures and sections of the report besides the common ones.
    fold_tables: tuple[str, ...] = ()
    report_tables: tuple[str, ...] = ()
    # Tables of ``snakemake predict`` besides the one with a row per sequence.
    prediction_tables: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    card: ClassVar[Card] = Card()
    # Where the parts are: stage -> "module:name" within dnatune.
    parts: ClassVar[Mapping[str, str]] = {}

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    def head(self) -> dict[str, Any]:
        """Return what kind of head a model gets; see ``backbones.modeling_pooled.PooledConfig``."""
        return {"problem_type": self.problem_type, "per_token": self.per_base}

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

    def module(self, stage: str) -> str:
        """Return the module of a part, which a rule's code depends on."""
        return f"dnatune.{self.parts[stage].split(':')[0]}"

    def _part(self, stage: str) -> Any:
        return getattr(import_module(self.module(stage)), self.parts[stage].split(":")[1])


class Part:
    """A part knows its task: options and facts."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.options = task.options


class Labels(Part):
    """From the texts of the label table to targets."""

    def check(self, source: LabelSource, ids: pa.Array, texts: pa.Array, lengths: np.ndarray) -> None:
        """Raise UserError for the first label (n,) that cannot be one; ``lengths`` (n,) bases."""

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

    def batch_targets(self, targets: Any, records: np.ndarray, table: TokenTable, rows: np.ndarray) -> torch.Tensor:
        """Return the targets of a batch: of ``records`` (batch,), read as token ``rows`` (batch,)."""
        import torch

        return torch.as_tensor(targets[records])

    def activate(self, logits: torch.Tensor) -> torch.Tensor:
        """Return what may be averaged over windows and reading frames; both (rows, outputs)."""
        raise NotImplementedError

    def collector(self, table: TokenTable, records: np.ndarray, views: np.ndarray, outputs: int) -> MeanOfSequences:
        """Return what averages over the rows of ``records``, of the views with these numbers."""
        from dnatune.averaging import MeanOfSequences

        return MeanOfSequences(table, records, views, outputs)

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

    def calibrate(self, validation: Scores, settings: EvaluationSettings) -> dict[str, Any]:
        """Fit a calibrator on validation scores; a plain dictionary with its ``method``."""
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

    def prediction_tables(
        self, predicted: np.ndarray, ids: Sequence[str], lengths: np.ndarray, names: Sequence[str]
    ) -> dict[str, pd.DataFrame]:
        """Return other tables of the same calibrated predictions, by name: ``Task.prediction_tables``."""
        return {}


class Report(Part):
    """What the report says of this task."""

    def metric(self, name: str) -> Metric | None:
        """Return what a metric means for this task, None where it means what it does for sequences."""
        return None

    def answer(self, run: Run) -> list[Sentence]:
        """Return the report's answer in words."""
        raise NotImplementedError

    def tables(self, run: Run) -> dict[str, pd.DataFrame]:
        """Return the task's own tables of the report, by name: ``Task.report_tables``."""
        return {}
