"""Save the engine ready to name new sequences: its experts, the pool, calibration, card."""

from pathlib import Path

import pandas as pd

from dnatune import files
from dnatune.engine import final_pool, final_witness
from dnatune.engine_package import Engine, card, settled_settings, write_engine
from dnatune.fold_data import load_fold, load_sequences
from dnatune.job import job
from dnatune.judging_settings import judging_settings
from dnatune.scores import Scores
from dnatune.tasks import task

with job(snakemake) as log:
    params, given = snakemake.params, snakemake.input
    kind, names = task(**params.task), list(params.experts)
    # Files stand fold after fold, in each the experts in their order.
    of_folds = [given.scores[start : start + len(names)] for start in range(0, len(given.scores), len(names))]
    scores = [dict(zip(names, map(Scores.load, paths), strict=True)) for paths in of_folds]
    judging = judging_settings(params, given.label_map)
    fitted = final_pool(scores, params.name, params.seed, judging.cv_folds, judging.taxonomy)
    calibrator = kind.judging.calibrate(fitted.validation, judging, fitted.held_out)
    models = {Path(folder).name: Path(folder) for folder in given.models}
    settings = {
        name: settled_settings([files.read_json(path) for path in given.expert_runs[place :: len(names)]], given_to)
        for place, (name, given_to) in enumerate(params.settings.items())
        if name not in models
    }
    # Any fold holds all known records.
    data = load_fold(given.records, given.folds, given.label_map, 0, kind)
    runs = [files.read_json(path) for path in given.runs]
    metrics = pd.concat([files.read_tsv(path) for path in given.metrics])
    with files.whole(snakemake.output.folder) as partial:
        partial.mkdir(parents=True)
        engine = Engine(params.name, models, settings, params.seed, final_witness(scores))
        sequences = load_sequences(given.records, data.known)
        write_engine(engine, fitted, data, sequences, calibrator, kind, params.task, partial)
        (partial / "README.md").write_text(card(fitted.pool, params.name, metrics, runs, calibrator), "utf-8")
    log.info("%s saved in %s (calibration: %s)", params.name, snakemake.output.folder, calibrator["method"])
