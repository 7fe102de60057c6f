"""Write learning_curve.html and its figure: would more data help."""

from pathlib import Path

from dnatune import report_more_data
from dnatune.figures import save_figure
from dnatune.figures_more_data import more_data
from dnatune.files import whole
from dnatune.job import job
from dnatune.report import caption
from dnatune.tasks import task

with job(snakemake) as log:
    given, params, made = snakemake.input, snakemake.params, snakemake.output
    kind = task(**params.task)
    found = report_more_data.read(
        given.curve, given.gains, given.counts, kind, params.keep, list(params.language_models)
    )
    save_figure(more_data(found.curve, kind, params.colors), *map(Path, made.figure))
    figure = {"more_data": (made.figure[0], caption(given.caption))}
    text = report_more_data.page(params.name, found, figure, given.template, given.css, given.js)
    with whole(made.page) as partial:
        partial.write_text(text, "utf-8")
    log.info("%s", found.sentences[0].text)
