"""Pool the experts' scores of one fold.

input: scores (one file per expert), label_map; params: name, experts, fold, folds (of cross-fitting), seed; output:
scores, run.
"""

import platform
import resource
import time

import numpy as np
import scipy

from dnatune.engine import combine
from dnatune.files import read_json, write_json
from dnatune.job import job
from dnatune.scores import Scores
from dnatune.taxonomy import Taxonomy

with job(snakemake) as log:
    began = time.monotonic()
    params = snakemake.params
    experts = {name: Scores.load(path) for name, path in zip(params.experts, snakemake.input.scores, strict=True)}
    taxonomy = Taxonomy.of(read_json(snakemake.input.label_map))
    scores, about = combine(experts, params.name, params.seed, params.folds, taxonomy)
    scores.save(snakemake.output.scores)
    run = {"model": params.name, "fold": params.fold, "seconds": time.monotonic() - began}
    run["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    run["versions"] = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    write_json(snakemake.output.run, run | about)
    pool = about["pool"]
    weights = zip(pool["members"], pool["weights"], pool["temperatures"], strict=True)
    log.info("Weights: %s.", ", ".join(f"{name} {weight:.3f} (T {t:.2f})" for name, weight, t in weights))
    losses = ", ".join(f"{name} {loss:.4f}" for name, loss in about["validation_log_loss"].items())
    log.info("Log loss on validation, out of fold: %s.", losses or "no validation records")
