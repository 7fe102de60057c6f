"""Save one model ready to name new sequences: weights, tokenizer, calibration, card, light version."""

from pathlib import Path

import pandas as pd

from dnatune import files
from dnatune.fold_data import class_names
from dnatune.job import job
from dnatune.model_card import card
from dnatune.packaging import Package, fit_calibration, settled_epochs, write_package
from dnatune.reference import add_reference
from dnatune.scores import Scores
from dnatune.tasks import task
from dnatune.tasks.base import EvaluationSettings

with job(snakemake) as log:
    params, given = snakemake.params, snakemake.input
    classes = class_names(given.label_map)
    kind = task(**params.task)
    settings = {**params.settings, "head": kind.head(classes)}
    package = Package(params.model, settings, params.seed, classes, params.mode, params.light, dict(params.task))
    runs = [files.read_json(path) for path in given.runs]
    wanted, unknowns = params.calibration, params.unknowns
    judged = EvaluationSettings(
        wanted["method"],
        wanted["cv_folds"],
        seed=params.seed,
        coverage=wanted["coverage"],
        rejection=unknowns["score"],
        false_alarm=unknowns["false_alarm"],
    )
    calibrator = fit_calibration([Scores.load(path) for path in given.scores], runs, package.mode, kind, judged)
    metrics = pd.concat([files.read_tsv(path) for path in given.metrics])
    tokens = files.read_json(Path(given.tokens) / "tokens.json")
    weights = given.weights if isinstance(given.weights, list) else [given.weights]
    with files.whole(snakemake.output.folder) as partial:
        partial.mkdir(parents=True)
        about = write_package(package, [Path(w) for w in weights], runs, calibrator, tokens, partial)
        add_reference(partial, given.get("reference"), calibrator)
        text = card(about, metrics, runs, calibrator, classes, settled_epochs(runs))
        (partial / "README.md").write_text(text, "utf-8")
    log.info("%s saved in %s (calibration: %s)", params.model, snakemake.output.folder, calibrator["method"])
