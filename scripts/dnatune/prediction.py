"""Names for new sequences with a saved model. In: a FASTA and ``final/<model>/``; out: one row per sequence."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from transformers import AutoTokenizer

from dnatune import files
from dnatune.backbones.generic import TokenizerTokens
from dnatune.backbones.kmer_tokenizer import array_encoder
from dnatune.errors import UserError
from dnatune.fasta import read_clean
from dnatune.fold_training import views_at_prediction
from dnatune.hardware import choose_precision
from dnatune.inference import score_records
from dnatune.inputs import TokenInputs
from dnatune.reference import Reference
from dnatune.saved_models import load_model
from dnatune.tasks import Task, task
from dnatune.tokens import Encoder, TokenSettings, TokenTable
from dnatune.vectors import Reader
from dnatune.versions import version_warnings

LOGGER = logging.getLogger("dnatune")
SEQUENCES_AT_ONCE, BASES_AT_ONCE = 20_000, 10_000_000


class Predictor(Protocol):
    """What names sequences: a saved model, or a saved engine."""

    task: Task
    classes: list[str]
    calibrator: dict[str, Any]

    def scores(self, sequences: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return scores (sequences, outputs), the number of windows (sequences,), and evidence, see ``SavedModel``."""


class SavedModel:
    """A folder written by ``packaging``, ready to name sequences.

    Raises UserError if the folder is not one; logs a warning if it was made with other versions.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        if not (folder / "dnatune.json").is_file():
            raise UserError(f"{folder} is not a saved model of dnatune: it has no dnatune.json.")
        self.about: dict[str, Any] = files.read_json(folder / "dnatune.json")
        for sentence in version_warnings(self.about["versions"]):
            LOGGER.warning("Warning: %s", sentence)
        self.task = task(**self.about["task"])
        self.model = load_model(folder, self.task.per_base).to("cuda" if torch.cuda.is_available() else "cpu")
        names = self.model.config.id2label
        self.classes = [names[i] for i in range(len(names))]
        self.calibrator = files.read_json(folder / "calibration.json")
        self.reference = Reference(folder)
        self.encoder = saved_encoder(folder, self.about["tokens"])
        self.tokens = TokenSettings.of(self.about["settings"]["tokens"], self.encoder)

    def predict(self, sequences: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return calibrated predictions and the number of windows (sequences,).

        Predictions are (sequences, outputs), or (bases of all sequences, outputs) for a task per base.
        """
        scores, windows, _ = self.scores(sequences)
        return self.task.judging.calibrated(self.calibrator, scores), windows

    def scores(self, sequences: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return what ``predict`` calibrates, averaged over windows and views, the number of windows, and the evidence
        (sequences, 4) that ``scores.EVIDENCE`` names.

        None stands for evidence where the task, or a model of an older version, rejects nothing.
        """
        table = TokenTable.of_sequences(sequences, self.encoder, self.tokens)
        inputs, records = TokenInputs(table, self.encoder.pad_id), np.arange(len(sequences))
        views, precision = views_at_prediction(self.about["settings"], table), choose_precision("auto")
        outputs, evidence = len(self.classes), None
        if self.calibrator.get("rejection"):
            reader = Reader(self.model, inputs, views, outputs, self.task, precision)
            scores, evidence = self.reference.evidence(reader.read(records), outputs)
        else:
            scores = score_records(
                self.model, inputs, records, views=views, outputs=outputs, task=self.task, precision=precision
            )
        return scores, table.n_windows[:, 0], evidence


def saved_encoder(folder: Path, tokens: dict[str, Any]) -> Encoder:
    """Return the encoder of a saved model's tokenizer, with as many frames as there were in training."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder = TokenizerTokens(tokenizer, tokens["vocabulary_size"], tokens["context"], str(folder))
    encoder.frames = tokens["frames"]
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    fast = array_encoder(vocabulary, tokens["context"])
    if fast is not None and (fast.prefix, fast.suffix) == (encoder.prefix, encoder.suffix):
        return fast
    return encoder


def unusable(sequence: str, bounds: dict[str, Any]) -> str:
    """Say why a cleaned sequence cannot be named (the run's filter), or return an empty string."""
    if len(sequence) < bounds["min_length"]:
        return f"shorter than {bounds['min_length']} bases"
    if bounds["max_length"] is not None and len(sequence) > bounds["max_length"]:
        return f"longer than {bounds['max_length']} bases"
    if sequence.count("N") > bounds["max_n_share"] * len(sequence):
        return f"more than {bounds['max_n_share']:.0%} N"
    return ""


def chunks(lengths: np.ndarray) -> Iterator[slice]:
    """Yield slices of sequences that are predicted together: at least one, and few enough for the memory."""
    start, ends = 0, np.cumsum(lengths)
    while start < len(lengths):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + BASES_AT_ONCE, side="right")))
        stop = min(stop, start + SEQUENCES_AT_ONCE)
        yield slice(start, stop)
        start = stop


def name_sequences(query: str | Path, model: Predictor, bounds: dict[str, Any], top_k: int) -> pd.DataFrame:
    """Return the first table of ``prediction_tables``."""
    return prediction_tables(query, model, bounds, top_k)["names"]


def prediction_tables(
    query: str | Path, model: Predictor, bounds: dict[str, Any], top_k: int
) -> dict[str, pd.DataFrame]:
    """Return ``names`` with one row per query sequence: id, the task's columns (for classes label, probability,
    the top k), length, windows, note; and the task's other tables by name.

    Predictions are calibrated. Sequences outside the run's bounds get none and a note. Raises UserError if no
    sequence is usable.
    """
    table = pd.DataFrame(read_clean(query), columns=["id", "sequence"])
    table["length"] = table["sequence"].str.len()
    table["note"] = [unusable(sequence, bounds) for sequence in table["sequence"]]
    usable = np.flatnonzero(table["note"] == "")
    if not len(usable):
        raise UserError(
            f"{query}: none of the {len(table)} sequences is usable ({table['note'].iloc[0]}); "
            "see the section filter of the configuration."
        )
    named: list[pd.DataFrame] = []
    others: dict[str, list[pd.DataFrame]] = {name: [] for name in model.task.prediction_tables}
    for chunk in chunks(table["length"].to_numpy()[usable]):
        rows = usable[chunk]
        texts = table["sequence"].iloc[rows]
        scores, windows, evidence = model.scores(texts.tolist())
        predicted = model.task.judging.calibrated(model.calibrator, scores)
        lengths = texts.str.len().to_numpy()
        columns = model.task.judging.predictions(predicted, lengths, model.classes, model.calibrator, top_k)
        columns = model.task.judging.with_evidence(columns, predicted, evidence, model.calibrator)
        named.append(columns.assign(windows=windows).set_axis(rows))
        ids = table["id"].iloc[rows].tolist()
        for name, other in model.task.judging.prediction_tables(predicted, ids, lengths, model.classes).items():
            others[name].append(other)
        LOGGER.info("%d of %d sequences named", chunk.stop, len(usable))
    answers = pd.concat(named)
    table = table.join(answers)
    table["windows"] = table["windows"].astype("Int64")
    columns = [column for column in answers.columns if column != "windows"]
    names = table[["id", *columns, "length", "windows", "note"]]
    return {"names": names, **{name: pd.concat(parts, ignore_index=True) for name, parts in others.items()}}
