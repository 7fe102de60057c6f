"""How a run stands: a row for each training job, counts of the others, and whether Snakemake lives.

In: the folder of a run, whose files may be half-written or missing at any moment. Nothing is written and no lock
taken, so a look never disturbs the run. ``status_table`` makes text of it.
"""

from __future__ import annotations

import csv
import platform
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from dnatune.cluster_runs import WAITING, ClusterJob
from dnatune.errors import UserError
from dnatune.run_folder import RunFolder, exists, read_json, read_text
from dnatune.run_queue import NOT_ASKED, Queue, snakemake_of

WEIGHTS_AND_SCORES = ("weights", "run.json", "history.tsv", "scores.npz")
REFIT = ("weights", "run.json", "history.tsv")
SCORES = ("run.json", "history.tsv", "scores.npz")  # of a point of a learning curve, whose weights nobody keeps
# A job is believed dead when its file has stood still for so many writings, and for what clocks and caches may differ.
MISSED, SLACK = 4, 60.0
UNFINISHED = ("starting", "training", "scoring")


@dataclass(frozen=True)
class Row:
    """One training job: a model on a fold, or on all data (``fold`` None).

    ``part`` is the folder of a learning curve (``50_percent``) where the job trains on a part of its fold's records.

    ``state`` is waiting, queued, requeued, running, done, failed, stopped (killed, and nobody starts it again) or
    silent (gives no sign of life, while Snakemake waits for it). ``figures`` are those of the job's progress file or
    outputs: step, epoch, losses, rate (sequences/s), left (s), memory_mib, ... ``checkpoint`` is the step from which
    another attempt would go on, ``said`` the last lines of a failed job.
    """

    model: str
    fold: int | None
    state: str
    log: Path
    figures: dict[str, Any] = field(default_factory=dict)
    checkpoint: int | None = None
    said: tuple[str, ...] = ()
    cluster_job: str = ""
    part: str = ""

    @property
    def share(self) -> str:
        """The share of the training records, as text; empty where it is all of them."""
        return self.part.replace("_percent", " %")

    @property
    def resumed_from(self) -> int | None:
        """The step of the checkpoint that this attempt began with."""
        return self.figures.get("first_step") or self.figures.get("resumed_from_step") or None


@dataclass(frozen=True)
class Step:
    """Jobs that do not train, taken together: how many are done, running and failed, and logs of failed ones."""

    name: str
    states: tuple[str, ...]
    failed: tuple[tuple[Path, tuple[str, ...]], ...] = ()

    def count(self, state: str) -> int:
        """Return how many of the jobs are in a state."""
        return self.states.count(state)


@dataclass(frozen=True)
class Status:
    """All of a run at a ``time``: training ``rows``, other ``steps`` by section, and in words what Snakemake does.

    ``warnings`` are whole sentences.
    """

    folder: Path
    time: float
    rows: list[Row]
    steps: dict[str, list[Step]]
    snakemake: str
    warnings: tuple[str, ...] = ()


def status_of(folder: str | Path, queue: Queue = NOT_ASKED, now: float | None = None) -> Status:
    """Return how the run in ``folder`` stands; ``queue`` is what SLURM said of it, if it was asked.

    Raises UserError if there is no such folder.
    """
    if not Path(folder).is_dir():
        raise UserError(f"Folder {folder}: found none, expected that of a run, such as results/example.")
    run = RunFolder(folder, now, queue.jobs)
    models = run.names("models", "models/*", "logs/train/*")
    process = snakemake_of(run.plan)
    alive = process if process is None else bool(process)
    rows = [training_row(run, model, fold, alive) for model in models for fold in [*run.folds(), None]]
    rows = [row for row in rows if row.fold is not None or row.state != "waiting" or _refits(run, row.model)]
    on_curve = [(part, name) for part in run.parts() for name in run.names("curve_models", "learning_curve/*/models/*")]
    rows += [training_row(run, model, fold, alive, part) for part, model in on_curve for fold in run.folds()]
    steps = other_steps(run, models, alive)
    return Status(run.folder, run.now, rows, steps, run.snakemake_does(alive), queue.warnings)


def _refits(run: RunFolder, model: str) -> bool:
    return bool(run.plan.get("refit")) and model in run.names("saved")


def training_row(run: RunFolder, model: str, fold: int | None, alive: bool | None, part: str = "") -> Row:
    """Return how one training job stands."""
    below, rule = (f"learning_curve/{part}/", f"train_on_part {part}_") if part else ("", "train ")
    place = f"{model}/refit" if fold is None else f"{model}/fold_{fold}"
    name = f"{below}refit/{model}" if fold is None else f"{below}train/{place}"
    log = run.folder / "logs" / f"{name}.log"
    outputs = REFIT if fold is None else SCORES if part else WEIGHTS_AND_SCORES
    told = read_json(log.with_suffix(".progress.json"))
    marked = run.marked(f"{below}models/{place}/run.json")
    job = run.jobs.get(f"refit {model}" if fold is None else f"{rule}{model}_{fold}")
    folder = run.folder / f"{below}models" / place
    made = all(exists(folder / output) for output in outputs)
    state = "done" if made and not marked else _state(run, told, marked, job, run.failed(f"logs/{name}.log"), alive)
    if state == "done":
        return Row(model, fold, state, log, {**told, **outcome(folder)}, part=part)
    words = run.last_words(f"logs/{name}.log") if state == "failed" else ()
    if state == "failed" and told.get("state") != "failed" and not any(re.search("[Ee]rror: ", w) for w in words):
        if any(" stopped by SIG" in word for word in words):
            words = (*words, "It was told to end: at its time limit, by scancel or by a preemption.")
        else:
            killed = "It ended without a word: killed, for its memory or its time?"
            words = (*words, killed, *run.slurms_words(f"logs/{name}.log"))
    checkpoint = run.checkpoint(f"{below}checkpoints/{place}")
    if (state == "waiting" and not checkpoint) or (state == "running" and told.get("state") not in UNFINISHED):
        told = {}  # of an attempt that is over
    waits_as = job.number if job else str((marked or {}).get("external_jobid") or "")
    return Row(model, fold, state, log, told, checkpoint, words, waits_as, part)


def _state(
    run: RunFolder,
    told: dict[str, Any],
    marked: dict[str, Any] | None,
    job: ClusterJob | None,
    failed: bool,
    alive: bool | None,
) -> str:
    """Return the state of a job whose outputs are not there: what SLURM says, what it tells, what Snakemake notes."""
    if job:
        return ("requeued" if told else "queued") if job.state in WAITING else "running"
    written = number(told.get("time")) or 0.0
    unfinished = told.get("state") in UNFINISHED
    if unfinished and not is_stale(told, run.now):
        return "running"
    if marked and alive is not False:
        if marked["since"] > written:  # Snakemake has begun another attempt since
            return "queued" if marked.get("external_jobid") else "running"
        if unfinished:
            return "silent"
    if failed:
        return "failed"
    if alive and written < (number(run.plan.get("started")) or 0.0):  # what an earlier call of Snakemake left
        return "waiting"
    if told.get("state") == "failed":
        return "failed"
    # Outputs of a job that has done its work, and are not there, were taken away.
    return "stopped" if marked or told.get("state", "done") != "done" else "waiting"


def is_stale(told: dict[str, Any], now: float) -> bool:
    """Say whether the job that wrote a progress file has died: its file stands still, or its process is gone."""
    every, written = number(told.get("every")) or 0.0, number(told.get("time")) or 0.0
    if now - written > MISSED * every + SLACK:
        return True
    if told.get("host") != platform.node() or not isinstance(told.get("pid"), int):
        return False
    try:
        return psutil.Process(told["pid"]).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, ValueError, OverflowError):
        return False


def outcome(folder: Path) -> dict[str, Any]:
    """Return the figures of a finished training: of run.json, and of the best evaluation in history.tsv."""
    run = read_json(folder / "run.json")
    figures = {"epoch": run.get("best_epoch"), "rate": run.get("samples_per_second"), "took": run.get("seconds")}
    gpu = run.get("peak_gpu_memory_mib")
    figures |= {"memory_mib": gpu or run.get("peak_memory_mib"), "on_gpu": gpu is not None}
    figures |= {"resumed_from_step": run.get("resumed_from_step"), "first_step": None, "left": None}
    lines = read_text(folder / "history.tsv").splitlines()
    for row in csv.DictReader(lines, delimiter="\t"):
        if row.get("step") == str(run.get("best_step")):
            measured = {name: found for name, value in row.items() if name and (found := number(value)) is not None}
            losses = [name.removeprefix("validation_") for name in row if name and name.startswith("validation_")]
            figures["curve"] = [losses[0] if losses else "loss", run.get("metric_for_best") or ""]
            figures |= {name: value for name, value in measured.items() if name.startswith(("train_", "validation_"))}
    return {name: value for name, value in figures.items() if value is not None or name in ("first_step", "left")}


def number(value: Any) -> float | None:
    """Return a finite number, or None for anything else."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found - found == 0 else None


def other_steps(run: RunFolder, models: list[str], alive: bool | None) -> dict[str, list[Step]]:
    """Return the jobs that do not train, by section."""
    folds, methods, engines = run.folds(), run.names("baselines", "baselines/*"), run.names("engines", "engines/*")
    saved, tokens = dict.fromkeys([*run.names("saved", "final/*"), *engines]), run.names("tokens", "tokens/*")
    predictors = {"models": models, "baselines": methods, "engines": engines}
    judged = [(kind, name) for kind, names in predictors.items() for name in names]
    pooled = [(f"engines/{e}/fold_{k}/scores.npz", f"logs/engines/{e}/fold_{k}.log") for e in engines for k in folds]

    def step(name: str, files: list[tuple[str, str]]) -> Step:
        states = [_simple_state(run, output, log, alive) for output, log in files]
        logs = [log for (_, log), state in zip(files, states, strict=True) if state == "failed"]
        return Step(name, tuple(states), tuple((run.folder / log, run.last_words(log)) for log in logs))

    before = [
        step("records", [("records/records.parquet", "logs/records.log")]),
        step("labels", [("labels/label_map.json", "logs/labels.log")]),
        step("folds", [("folds/folds.tsv", "logs/folds.log")]),
        step("tokens", [(f"tokens/{name}", f"logs/tokens/{name}.log") for name in tokens]),
        step("embeddings", [(f"embeddings/{m}.npy", f"logs/embeddings/{m}.log") for m in run.names("embeddings")]),
    ]
    baselines = [
        step(m, [(f"baselines/{m}/fold_{k}/scores.npz", f"logs/baselines/{m}/fold_{k}.log") for k in folds])
        for m in methods
    ]
    evaluated = [
        (f"{kind}/{name}/fold_{k}/metrics.tsv", f"logs/evaluate/{kind}/{name}/fold_{k}.log")
        for kind, name in judged
        for k in folds
    ]
    after = [
        step("pooled", pooled),
        step("evaluated", evaluated),
        step("saved models", [(f"final/{m}", f"logs/package/{m}.log") for m in saved]),
        step("vectors", [(f"vectors/{m}.parquet", f"logs/vectors/{m}.log") for m in run.names("vectors")]),
    ]
    if models or methods:
        after += [
            step("comparison", [("comparison.tsv", "logs/compare.log")]),
            step("report", [("report/report.html", "logs/report.log")]),
        ]
    sections = {"before": before, "baselines": baselines, "after": after}
    if parts := [f"learning_curve/{part}" for part in run.parts()]:
        on_curve = [(k, n) for k in ("models", "baselines") for n in run.names(f"curve_{k}", f"learning_curve/*/{k}/*")]
        points = [(part, f"{kind}/{name}/fold_{k}") for part in parts for kind, name in on_curve for k in folds]
        learnt = [(f"{part}/{point}/scores.npz", f"logs/{part}/{point}.log") for part, point in points]
        judged_parts = [(f"{part}/{point}/metrics.tsv", f"logs/{part}/evaluate/{point}.log") for part, point in points]
        sections["curve"] = [
            step("baselines", [files for files in learnt if "/baselines/" in files[0]]),
            step("evaluated", judged_parts),
            step("points", [("learning_curve/learning_curve.tsv", "logs/learning_curve/points.log")]),
        ]
    return {name: [each for each in steps if each.states] for name, steps in sections.items()}


def _simple_state(run: RunFolder, output: str, log: str, alive: bool | None) -> str:
    marked = run.marked(output)
    if marked is None and exists(run.folder / output):
        return "done"
    if marked is not None and alive is not False:
        return "queued" if marked.get("external_jobid") else "running"
    return "failed" if run.failed(log) else "waiting"
