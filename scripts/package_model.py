"""Save one model ready to name new sequences: weights, tokenizer, calibration, card, light version."""

from pathlib import Path

import pandas as pd

import dnatune.offline  # noqa: F401 (before transformers)
from dnatune import files
from dnatune.backbones.local_copies import located
from dnatune.fold_data import class_names
from dnatune.job import job
from dnatune.judging_settings import judging_settings
from dnatune.model_card import card
from dnatune.packaging import Package, fit_calibration, settled_epochs, write_package
from dnatune.reference import add_reference
from dnatune.scores import Scores
from dnatune.tasks import task

with job(snakemake) as log:
    params, given = snakemake.params, snakemake.input
    classes = class_names(given.label_map)
    kind = task(**params.task)
    settings = {**located(params.settings, given.get("backbone")), "head": kind.head(classes)}
    package = Package(params.model, settings, params.seed, classes, params.mode, params.light, dict(params.task))
    runs = [files.read_json(path) for path in given.runs]
    judged = judging_settings(params, given.label_map)
    calibrator = fit_calibration([Scores.load(path) for path in given.scores], runs, package.mode, kind, judged)
    metrics = pd.concat([files.read_tsv(path) for path in given.metrics])
    tokens = files.read_json(Path(given.tokens) / "tokens.json")
    weights = given.weights if isinstance(given.weights, list) else [given.weights]
    with files.whole(snakemake.output.folder) as partial:
        partial.mkdir(parents=True)
        about = write_package(package, [Path(w) for w in weights], runs, calibrator, tokens, partial)
        add_reference(partial, given.get("reference"))
        text = card(about, metrics, runs, calibrator, classes, settled_epochs(runs))
        (partial / "README.md").write_text(text, "utf-8")
    log.info("%s saved in %s (calibration: %s)", params.model, snakemake.output.folder, calibrator["method"])
