"""A workflow killed in the middle of a fold goes on from the last checkpoint and ends with the same numbers."""

from __future__ import annotations

import re
import time
from pathlib import Path

from dnatune.run_status import Row, Status, status_of
from dnatune.status_table import text_of
from workflow_runs import Run, add_split, configuration, kill_group, model, simulate, write_inputs

EPOCHS = 15
PATIENCE = 900


def test_a_killed_fold_goes_on_and_gives_the_same_metrics(tmp_path):
    inputs = write_inputs(tmp_path / "input", simulate(of_each=7))
    add_split(inputs)  # one fold
    settings = {**model(epochs=EPOCHS), "resources": {"threads": 1}}
    config = configuration(inputs, models={"full": settings}, baselines={"methods": []})
    config["data"]["columns"]["split"] = "split"
    whole, killed = Run(tmp_path / "whole", config), Run(tmp_path / "killed", config)
    target = whole.file("metrics.tsv")
    whole.make(target)

    # What comes before the training is of no interest here: the kill must hit a fold.
    killed.make(*(killed.file(name) for name in ("folds/folds.tsv", "labels/label_map.json")))
    process = killed.start(target)
    try:
        hit = wait_for_epoch(killed, 2)
        running = status_of(killed.results)
    finally:
        kill_group(process)
    assert f"Snakemake runs (process {process.pid})" in running.snakemake
    row = row_of(running, hit)
    assert (row.state, row.figures["attempt"], row.resumed_from) == ("running", 1, None)
    assert 0 < row.figures["step"] < row.figures["steps"]
    assert row.figures["validation_log_loss"] > 0
    # Snakemake is gone; a process that it started may take a moment to die.
    ends = time.monotonic() + 60
    while row_of(stopped := status_of(killed.results), hit).state != "stopped":
        assert time.monotonic() < ends, row_of(stopped, hit)
        time.sleep(0.1)
    assert "Snakemake is gone without having come to its end" in stopped.snakemake
    assert row_of(stopped, hit).checkpoint > 0
    assert not (hit.parent.parent.parent.parent / "models/full" / hit.stem / "scores.npz").exists()

    assert killed.snakemake("--unlock").returncode == 0
    killed.make(target, "--rerun-incomplete")
    story = hit.read_text()
    resumed = re.findall(r"goes on from step (\d+)", story)
    assert len(resumed) == 1, story
    last = int(re.findall(r"step \d+/(\d+)", story)[0])
    assert 0 < int(resumed[0]) < last
    steps = [int(step) for step in re.findall(r"step (\d+)/", story.split("goes on from step")[1])]
    assert min(steps) > int(resumed[0])
    assert max(steps) == last

    metrics, history = "metrics.tsv", "models/full/fold_0/history.tsv"
    assert (killed.results / metrics).read_bytes() == (whole.results / metrics).read_bytes()
    assert without_seconds(killed.results / history) == without_seconds(whole.results / history)
    ended = status_of(killed.results)
    assert ended.snakemake.startswith("Snakemake has ended;")
    row = row_of(ended, hit)
    assert (row.state, row.figures["attempt"], row.resumed_from) == ("done", 2, int(resumed[0]))
    assert "Of 2 trainings 1 done, 1 waiting." in text_of(ended)
    assert not (killed.results / "checkpoints").exists()
    assert not (whole.results / "checkpoints").exists()


def row_of(status: Status, log: Path) -> Row:
    """Return the row of the training with this log."""
    return next(row for row in status.rows if row.log == log)


def wait_for_epoch(run: Run, epoch: int):
    """Return the log of the first fold that has ended an epoch, as soon as it has."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        for log in sorted((run.results / "logs/train/full").glob("fold_*.log")):
            epochs = re.findall(r"epoch (\d+)\.\d+/", log.read_text())
            if epochs and int(epochs[-1]) >= epoch:
                return log
        time.sleep(0.01)
    raise AssertionError(
        f"no fold came to epoch {epoch} in {PATIENCE} s: {(run.directory / 'started.log').read_text()}"
    )


def without_seconds(path) -> list[list[str]]:
    """Return a learning curve without the time it took."""
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    keep = [i for i, name in enumerate(rows[0]) if name != "seconds"]
    return [[row[i] for i in keep] for row in rows]
