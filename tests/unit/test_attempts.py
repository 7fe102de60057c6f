"""What a job said before it was killed or failed can still be read when it is tried again."""

from contextlib import suppress
from types import SimpleNamespace

import pytest

from dnatune.attempts import attempts_of
from dnatune.errors import UserError
from dnatune.job import job


@pytest.fixture
def attempt(tmp_path):
    """One attempt of a rule: its log is removed before, as Snakemake does it, then it says a word and ends."""
    log = tmp_path / "logs" / "fold_0.log"

    def run(word, error=None):
        log.unlink(missing_ok=True)
        with suppress(SystemExit), job(SimpleNamespace(log=[str(log)])) as logger:
            logger.info(word)
            if error is not None:
                raise error
        kept = attempts_of(log)
        return log.read_text(), kept.read_text() if kept.is_file() else None

    return run


def test_a_job_that_does_its_work_leaves_its_log_alone(attempt):
    said, kept = attempt("one")
    assert "one" in said and "attempt" not in said
    assert kept is None


def test_earlier_attempts_stay_beside_the_log(attempt, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert attempt("one", UserError("No such column."))[1].count("SLURM job 77") == 1
    with pytest.raises(KeyboardInterrupt):
        attempt("two", KeyboardInterrupt())
    said, kept = attempt("three")
    assert "three" in said and "attempt 3; what was said before stands in" in said
    assert "one" not in said and "two" not in said
    lines = [line.split(",")[0] if line.startswith("===") else line.split(" ", 1)[1] for line in kept.splitlines()]
    lines = [line for line in lines if not line.startswith("attempt")]
    wanted = ["=== attempt 1", "one", "Error: No such column.", "=== attempt 2", "two", "=== attempt 3", "three"]
    assert lines == [*wanted, "=== done"]


def test_a_job_that_is_made_anew_begins_anew(attempt):
    attempt("one", ValueError("a bug"))
    assert "=== attempt 2" in attempt("two")[1]
    assert attempt("three")[1] is None
    said, kept = attempt("four", ValueError("a bug"))
    assert "attempt 2" not in said
    assert kept.count("===") == 1 and "Traceback" in kept
