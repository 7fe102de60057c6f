"""Write difficulty.html and its figure: what the data says before anything is trained."""

from pathlib import Path

from dnatune import report_difficulty
from dnatune.errors import UserError
from dnatune.figures import save_figure
from dnatune.figures_difficulty import barcode_gap
from dnatune.files import whole
from dnatune.job import job
from dnatune.report import caption

with job(snakemake) as log:
    given, params, made = snakemake.input, snakemake.params, snakemake.output
    if not given.get("species"):
        raise UserError(
            f"snakemake difficulty: found task: {params.task['name']}, expected task: multiclass; the distance to "
            "other names means something only where each sequence has one of several names."
        )
    found = report_difficulty.read(given.species, given.suspicious, given.difficulty)
    save_figure(barcode_gap(found.species, params.colors), *map(Path, made.figure))
    figure = {"barcode_gap": (made.figure[0], caption(given.caption))}
    text = report_difficulty.page(params.name, found, figure, given.template, given.css, given.js)
    with whole(made.page) as partial:
        partial.write_text(text, "utf-8")
    log.info("%s", found.summary["suspicious"])
