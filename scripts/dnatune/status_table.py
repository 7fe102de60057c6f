"""How a run stands, as plain text of at most 80 columns: a table of the training jobs, and everything else in a line.

In: a ``Status``. Colours only if asked for; neither numbers nor words depend on them.
"""

from __future__ import annotations

import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from dnatune.run_status import Row, Status, Step, number

WIDTH = 80
COLORS = {"done": 32, "running": 36, "resumed": 36, "failed": 31, "stopped": 33, "silent": 33, "requeued": 33}
# Short names of metrics for a heading of seven letters; others are cut.
METRICS = {
    "pr_auc_macro": "PR-AUC",
    "pr_auc_micro": "PR-AUC",
    "f1_macro": "F1",
    "f1_micro": "F1",
    "r2": "R2",
    "mse": "MSE",
    "mcc": "MCC",
    "log_loss": "loss",
    "hamming_loss": "hamming",
}
# Heading and width of each column, to the right but for the state.
COLUMNS = (("fold", 5), ("state", -8), ("epoch", 10), ("train", 8), ("valid", 8), ("", 8), ("seq/s", 6), ("left", 6))
COLUMNS += (("memory", 7), ("try", 4))
STATES = ("done", "running", "queued", "requeued", "waiting", "silent", "stopped", "failed")


def text_of(status: Status, color: bool = False, brief: bool = False) -> str:
    """Return the whole of it; ``brief`` puts the finished folds of a model into one line."""
    paint = _painted if color else _plain
    lines = [*_head(status), *_warnings(status, paint)]
    for model, part in dict.fromkeys((row.model, row.part) for row in status.rows):
        rows = [row for row in status.rows if (row.model, row.part) == (model, part)]
        lines += ["", *_table(status, rows, brief, paint)]
    lines += ["", *_others(status)] if any(status.steps.values()) else []
    return "\n".join([*lines, *_failures(status, paint)]) + "\n"


def _plain(text: str, state: str) -> str:
    return text


def _painted(text: str, state: str) -> str:
    return f"\033[{COLORS[state]}m{text}\033[0m" if state in COLORS else text


def _head(status: Status) -> Iterator[str]:
    counts = Counter(row.state for row in status.rows)
    yield f"{status.folder.name[: WIDTH - 11]}   {time.strftime('%H:%M:%S', time.localtime(status.time))}"
    if counts:
        told = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
        yield from _wrapped(f"Of {counts.total()} trainings {told}.")
    yield from _wrapped(status.snakemake)


def _warnings(status: Status, paint: Callable[[str, str], str]) -> Iterator[str]:
    for warning in status.warnings:
        yield from (paint(line, "failed") for line in _wrapped(f"Warning: {warning}"))


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _table(status: Status, rows: list[Row], brief: bool, paint: Callable[[str, str], str]) -> Iterator[str]:
    loss, metric = next((_curve(row) for row in rows if _curve(row)[1]), ("loss", ""))
    trained = f" on {rows[0].share} of the records" if rows[0].part else ""
    yield f"{rows[0].model[: WIDTH - 30 - len(trained)]}{trained}   (train, valid: {loss.replace('_', ' ')[:12]})"
    headings = [name if name else METRICS.get(metric, metric)[:7] for name, _ in COLUMNS]
    yield _line(headings)
    for group in _together(rows, brief):
        yield from _group(status, group, paint)


def _together(rows: list[Row], brief: bool) -> Iterator[list[Row]]:
    """Yield rows alone, or several in a row that have nothing to tell apart: those that wait, if brief the done."""
    group: list[Row] = []
    for row in rows:
        dull = row.fold is not None and not row.figures and not row.checkpoint and row.state == "waiting"
        dull = dull or (brief and row.fold is not None and row.state == "done")
        if group and not (dull and row.state == group[0].state):
            yield group
            group = []
        group.append(row)
        if not dull:
            yield group
            group = []
    if group:
        yield group


def _group(status: Status, rows: list[Row], paint: Callable[[str, str], str]) -> Iterator[str]:
    first = rows[0]
    if len(rows) > 1:
        yield _line([f"{first.fold}-{rows[-1].fold}", first.state], paint, first.state)
        return
    figures = first.figures
    loss, metric = _curve(first)
    state = "resumed" if first.state == "running" and first.resumed_from else first.state
    memory = number(figures.get("memory_mib"))
    cells = [
        "all" if first.fold is None else str(first.fold),
        state,
        _epochs(figures),
        _figure(figures.get(f"train_{loss}", figures.get("train_loss"))),
        _figure(figures.get(f"validation_{loss}")),
        _figure(figures.get(f"validation_{metric}")),
        _rate(number(figures.get("rate"))),
        duration(number(figures.get("left"))) if first.state == "running" else "",
        "" if memory is None else f"{memory / 1024:.1f}G",
        str(figures.get("attempt", ""))[:3],
    ]
    yield _line(cells, paint, state)
    if notes := _notes(first, status.time):
        yield from _wrapped("; ".join(notes), " " * 6)


def _line(cells: list[str], paint: Callable[[str, str], str] = _plain, state: str = "") -> str:
    fold, named, *others = (
        cell.ljust(-width) if width < 0 else cell.rjust(width) for cell, (_, width) in zip(cells, COLUMNS, strict=False)
    )
    rest = "".join(others).rstrip()
    return f"{fold} {paint(named if rest else named.rstrip(), state)}{rest}"


def _curve(row: Row) -> tuple[str, str]:
    curve = row.figures.get("curve")
    if isinstance(curve, list) and len(curve) == 2:
        return str(curve[0]), str(curve[1])
    return "loss", ""


def _epochs(figures: dict[str, Any]) -> str:
    epoch, epochs = number(figures.get("epoch")), number(figures.get("epochs"))
    if epoch is None:
        return ""
    return f"{epoch:.3g}" + ("" if epochs is None else f"/{epochs:.3g}")


def _figure(value: Any) -> str:
    found = number(value)
    if found is None:
        return ""
    return f"{found:.4f}" if abs(found) < 100 else f"{found:.3g}"


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.1f}" if rate < 100 else f"{rate:.0f}"[:6]


def duration(seconds: float | None) -> str:
    """Return a length of time in five letters or so: 42s, 12m, 3h05, 2d04h."""
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    if seconds < 99.5:
        return f"{seconds:.0f}s"
    if minutes < 100:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}" if hours < 48 else f"{hours // 24}d{hours % 24:02d}h"


def _notes(row: Row, now: float) -> list[str]:
    """Return what a row has no column for."""
    notes, figures = [], row.figures
    if row.state in ("queued", "requeued") and row.cluster_job:
        notes.append(f"job {row.cluster_job}")
    part = figures.get("part")
    if row.state == "running" and isinstance(part, list) and len(part) == 2:
        notes.append(f"training {part[0]} of {part[1]} of this job")
    if row.state == "running" and figures.get("state") == "scoring":
        notes.append("trained, scores its sequences")
    if row.state == "running" and row.resumed_from:
        notes.append(f"goes on from step {row.resumed_from}")
    written = number(figures.get("time"))
    if row.state in ("silent", "stopped") and written:
        notes.append(f"no sign of life for {duration(now - written)}")
    if row.state == "silent":
        notes.append("killed, or back in the queue")
    if row.state not in ("done", "running") and row.checkpoint:
        notes.append(f"will go on from step {row.checkpoint}")
    return notes


def _others(status: Status) -> Iterator[str]:
    for title, steps in status.steps.items():
        told = ", ".join(_counted(step) for step in steps)
        if told:
            lines = _wrapped(told, " " * 11)
            yield f"{title:<11}" + lines[0].lstrip()
            yield from lines[1:]


def _counted(step: Step) -> str:
    """Return a step with what is done of it."""
    whole, done = len(step.states), step.count("done")
    more = [f"{n} {state}" for state in ("running", "queued", "failed") if (n := step.count(state))]
    if whole == 1:
        return f"{step.name} {step.states[0]}"
    return f"{step.name} {done}/{whole}" + (f" ({', '.join(more)})" if more else "")


def _data(row: Row) -> str:
    return "all data" if row.fold is None else f"fold {row.fold}"


def _failures(status: Status, paint: Callable[[str, str], str]) -> Iterator[str]:
    failed = [
        (", ".join(filter(None, (row.model, row.share, _data(row)))), row.log, row.said)
        for row in status.rows
        if row.state == "failed"
    ]
    failed += [(step.name, log, said) for steps in status.steps.values() for step in steps for log, said in step.failed]
    for name, log, said in failed:
        yield ""
        yield from (paint(line, "failed") for line in _wrapped(f"{name} failed; its log:"))
        yield f"  {log}"
        for line in said:
            yield from _wrapped(line, " " * 4)
