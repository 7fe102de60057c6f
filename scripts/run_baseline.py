"""Score one baseline on one fold.

input: records, folds, label_map; params: method, fold, settings (that method's), tune, seed; output: scores, run.
"""

import platform
import resource
import time
from dataclasses import replace

import numpy as np
import scipy
import sklearn

from dnatune.baseline_tuning import tune
from dnatune.baselines import baseline_logits, merged_settings
from dnatune.files import write_json
from dnatune.fold_data import fold_scores, load_fold, load_sequences, load_vectors
from dnatune.job import job
from dnatune.tasks import task

READERS = {"sequence": load_sequences, "vector": load_vectors}

with job(snakemake) as log:
    began = time.monotonic()
    given, params = snakemake.input, snakemake.params
    kind = task(**params.task)
    data = load_fold(given.records, given.folds, given.label_map, params.fold, kind)
    method = kind.baseline(params.method)
    train, query = (READERS[method.reads](given.records, rows) for rows in (data.train, data.scored))
    log.info(
        "Baseline %s, fold %s: %d training records of %d classes, %d records to score.",
        params.method, params.fold, len(data.train), len(data.classes), len(data.scored),
    )  # fmt: skip
    settings, tried = merged_settings(params.method, method, params.settings), []
    if params.tune:
        validation = READERS[method.reads](given.records, data.validation)
        parts = (train, data.labels[data.train], validation, data.labels[data.validation])
        settings, tried = tune(
            params.method, method, *parts, len(data.classes), settings, params.seed, snakemake.threads
        )
    logits = baseline_logits(
        params.method,
        method,
        train,
        data.labels[data.train],
        query,
        len(data.classes),
        settings=settings,
        seed=params.seed,
        threads=snakemake.threads,
    )
    scores = fold_scores(data, logits)
    if kind.classes and method.evidence:
        scores = replace(scores, evidence=method.evidence(logits))
    scores.save(snakemake.output.scores)
    # vsearch is a child process: the larger of the two peaks is what the job needs at least.
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    peak = max(usage.ru_maxrss for usage in usages) / 1024
    seconds = time.monotonic() - began
    run = {"model": params.method, "fold": params.fold, "seconds": seconds, "peak_memory_mib": peak}
    run |= {"settings": settings, "tried": tried}
    versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    run["versions"] = versions | {"scikit-learn": sklearn.__version__}
    write_json(snakemake.output.run, run)
    log.info("Baseline %s, fold %s: %.1f s, peak %.0f MiB.", params.method, params.fold, seconds, peak)
