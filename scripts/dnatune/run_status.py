"""How a run stands: a row for each training job, counts of the others, and whether Snakemake lives.

In: the folder of a run, whose files may be half-written or missing at any moment. Nothing is written and no lock
taken, so a look never disturbs the run. ``status_table`` makes text of it.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from dnatune.cluster_runs import WAITING, ClusterJob
from dnatune.errors import UserError
from dnatune.run_queue import NOT_ASKED, Queue, snakemake_of

PLAN = "logs/plan.json"
WEIGHTS_AND_SCORES = ("weights", "run.json", "history.tsv", "scores.npz")
REFIT = ("weights", "run.json", "history.tsv")
# A job is believed dead when its file has stood still for so many writings, and for what clocks and caches may differ.
MISSED, SLACK = 4, 60.0
TAIL = 8192  # bytes of a log that are looked at
UNFINISHED = ("starting", "training", "scoring")


@dataclass(frozen=True)
class Row:
    """One training job: a model on a fold, or on all data (``fold`` None).

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


class RunFolder:
    """The files of one run, read forgivingly."""

    def __init__(self, folder: str | Path, now: float | None = None, jobs: Iterable[ClusterJob] = ()) -> None:
        self.folder = Path(folder)
        self.now = time.time() if now is None else now
        self.plan = read_json(self.folder / PLAN)
        directory = self.plan.get("directory")
        self.snakemake = Path(directory) / ".snakemake" if isinstance(directory, str) else None
        self.story = read_text(Path(str(self.plan.get("log", ""))))
        self.failures = failures_in(self.story)
        self.jobs = {job.work: job for job in jobs if not job.ended}

    def snakemake_does(self, alive: bool | None) -> str:
        """Return in words whether Snakemake is at work on this run."""
        log, host = self.plan.get("log"), self.plan.get("host")
        if not log:
            return "No plan was found, so what Snakemake does is not known: the run was not started yet, or long ago."
        where = f"its log: {shortest(Path(str(log)))}"
        if "Complete log(s):" in self.story:
            badly = re.search(r"^(Exiting because a job|WorkflowError)", self.story, re.M)
            return f"Snakemake has ended{', not well' if badly else ''}; {where}"
        if alive is None:
            return f"Snakemake was started on {host}, and only there it can be seen whether it lives; {where}"
        if alive:
            return f"Snakemake runs (process {self.plan.get('pid')}); {where}"
        return f"Snakemake is gone without having come to its end: start it again; {where}"

    def names(self, key: str, *found: str) -> list[str]:
        """Return names of the plan, or those for which folders (patterns below the run's folder) are found."""
        planned = self.plan.get(key)
        if isinstance(planned, list):
            return [str(name) for name in planned]
        return sorted({p.name for pattern in found for p in matching(self.folder, pattern) if p.name[0] != "."})

    def folds(self) -> list[int]:
        """Return the numbers of the folds."""
        planned = self.plan.get("folds")
        if isinstance(planned, list) and all(isinstance(fold, int) for fold in planned):
            return planned
        paths = matching(self.folder, "logs/*/*/fold_*") + matching(self.folder, "models/*/fold_*")
        found = {re.match(r"fold_(\d+)", path.name) for path in paths}
        return sorted({int(match[1]) for match in found if match})

    def marked(self, output: str) -> dict[str, Any] | None:
        """Return what Snakemake notes of an output that it makes just now, or None.

        It holds the number of a job that waits on a cluster, and nothing while one runs.
        """
        if self.snakemake is None:
            return None
        name = urlsafe_b64encode(f"{self.plan.get('folder')}/{output}".encode()).decode()
        parts = [name[i : i + 254] for i in range(0, len(name), 254)]
        path = self.snakemake.joinpath("incomplete", *("@" + part for part in parts[:-1]), parts[-1])
        try:
            return {**read_json(path), "since": path.stat().st_mtime}
        except OSError:
            return None

    def checkpoint(self, place: str) -> int | None:
        """Return the step of the newest whole checkpoint of a training job."""
        marks = matching(self.folder, f"checkpoints/{place}/*/*/complete")
        steps = [path.parent.name.rpartition("-")[2] for path in marks]
        return max((int(step) for step in steps if step.isdigit()), default=None)

    def failed(self, log: str) -> bool:
        """Say whether the last call of Snakemake saw the job with this log fail."""
        return f"{self.plan.get('folder')}/{log}" in self.failures

    def last_words(self, log: str) -> tuple[str, ...]:
        """Return why the job with this log ended: what SLURM said if it did not take the job, or else the log's end."""
        refusal, _ = self.failures.get(f"{self.plan.get('folder')}/{log}", ((), None))
        return refusal or last_words(self.folder / log)

    def slurms_words(self, log: str) -> tuple[str, ...]:
        """Return why SLURM ended the job with this log, as its own log says it; nothing if it did not."""
        _, path = self.failures.get(f"{self.plan.get('folder')}/{log}", ((), None))
        told = re.findall(r"^slurmstepd\S* (error: .*)$", read_text(path, TAIL), re.M) if path else []
        return (f"SLURM says in {shortest(path)}:", *dict.fromkeys(told[:3])) if path and told else ()


def failures_in(story: str) -> dict[str, tuple[tuple[str, ...], Path | None]]:
    """Return the logs of the jobs that failed by Snakemake's log.

    Each with what SLURM said if it did not take the job, and with SLURM's own log if it did.
    """
    found = {}
    for told in re.findall(r"^Error in rule .*\n(?:(?!\[|Error in rule ).*\n)*", story, re.M):
        refused = re.search(r"sbatch failed\. The error message was '(.*?)'\.?$", told, re.M | re.S)
        if logs := re.search(r"^ +log: (.+?)(?:, (\S+))? \(check log", told, re.M):
            refusal = ("SLURM did not take it:", *refused[1].splitlines()) if refused else ()
            found[logs[1]] = (refusal, Path(logs[2]) if logs[2] else None)
    return found


def read_text(path: Path, tail: int | None = None) -> str:
    """Return the text of a file, or of its last bytes; nothing if it is not there."""
    try:
        with open(path, "rb") as handle:
            if tail:
                handle.seek(max(0, os.fstat(handle.fileno()).st_size - tail))
            return handle.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def read_json(path: Path) -> dict[str, Any]:
    """Return a mapping from a JSON file; an empty one if it is missing, half-written or something else."""
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def exists(path: Path) -> bool:
    """Say whether a file or folder is there; one that may not be looked at is not."""
    try:
        return path.exists()
    except OSError:
        return False


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return the paths below a folder that match a pattern; none if a folder among them vanishes meanwhile."""
    try:
        return list(folder.glob(pattern))
    except OSError:
        return []


def last_words(log: Path) -> tuple[str, ...]:
    """Return the lines of a log that say why its job ended: the error, or the last lines."""
    lines = [line.rstrip() for line in read_text(log, TAIL).splitlines() if line.strip()]
    errors = [i for i, line in enumerate(lines) if "Error: " in line]
    return tuple(lines[errors[-1] :][:3] if errors else lines[-3:])


def shortest(path: Path) -> Path:
    """Return a path as seen from the working directory, if it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


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
    steps = other_steps(run, models, alive)
    return Status(run.folder, run.now, rows, steps, run.snakemake_does(alive), queue.warnings)


def _refits(run: RunFolder, model: str) -> bool:
    return bool(run.plan.get("refit")) and model in run.names("saved")


def training_row(run: RunFolder, model: str, fold: int | None, alive: bool | None) -> Row:
    """Return how one training job stands."""
    place = f"{model}/refit" if fold is None else f"{model}/fold_{fold}"
    name = f"refit/{model}" if fold is None else f"train/{place}"
    log = run.folder / "logs" / f"{name}.log"
    outputs = REFIT if fold is None else WEIGHTS_AND_SCORES
    told = read_json(log.with_suffix(".progress.json"))
    marked = run.marked(f"models/{place}/run.json")
    job = run.jobs.get(f"refit {model}" if fold is None else f"train {model}_{fold}")
    made = all(exists(run.folder / "models" / place / output) for output in outputs)
    state = "done" if made and not marked else _state(run, told, marked, job, run.failed(f"logs/{name}.log"), alive)
    if state == "done":
        return Row(model, fold, state, log, {**told, **outcome(run.folder / "models" / place)})
    words = run.last_words(f"logs/{name}.log") if state == "failed" else ()
    if state == "failed" and told.get("state") != "failed" and not any(re.search("[Ee]rror: ", w) for w in words):
        if any(" stopped by SIG" in word for word in words):
            words = (*words, "It was told to end: at its time limit, by scancel or by a preemption.")
        else:
            killed = "It ended without a word: killed, for its memory or its time?"
            words = (*words, killed, *run.slurms_words(f"logs/{name}.log"))
    checkpoint = run.checkpoint(place)
    if (state == "waiting" and not checkpoint) or (state == "running" and told.get("state") not in UNFINISHED):
        told = {}  # of an attempt that is over
    waits_as = job.number if job else str((marked or {}).get("external_jobid") or "")
    return Row(model, fold, state, log, told, checkpoint, words, waits_as)


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
    if alive and written < (number(run.plan.get("started")) or 0.0):  # what an earlier call of Snakemake left
        return "waiting"
    if told.get("state") == "failed" or failed:
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
    return {name: [each for each in steps if each.states] for name, steps in sections.items()}


def _simple_state(run: RunFolder, output: str, log: str, alive: bool | None) -> str:
    marked = run.marked(output)
    if marked is None and exists(run.folder / output):
        return "done"
    if marked is not None and alive is not False:
        return "queued" if marked.get("external_jobid") else "running"
    return "failed" if run.failed(log) else "waiting"
