"""Draw the figures of the report as SVG and PNG; which one a file is, its name says."""

from pathlib import Path

from dnatune.figure_data import DRAWN, FigureData
from dnatune.figures import save_figure
from dnatune.job import job
from dnatune.tasks import task

with job(snakemake) as log:
    params = snakemake.params
    data = FigureData(snakemake.input, task(**params.task), params.colors, params.saved, params.predict_with)
    paths = [Path(path) for path in snakemake.output]
    for name in dict.fromkeys(path.stem for path in paths):
        save_figure(DRAWN[name](data), *(path for path in paths if path.stem == name))
        log.info("drew %s", name)
