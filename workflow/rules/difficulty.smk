# How hard the names are to tell apart, from the sequences alone: needs no fold and no model.


rule distances:
    input:
        records="<results>/records/records.parquet",
    output:
        species="<results>/difficulty/species.tsv",
        suspicious="<results>/difficulty/suspicious.tsv",
        summary="<results>/difficulty/summary.json",
    log:
        "<logs>/distances.log",
    benchmark:
        "<benchmarks>/distances.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 2
    resources:
        mem_mb=estimated("distances", "mem_mb"),
        runtime=estimated("distances", "runtime"),
    params:
        settings=config["difficulty"],
        seed=config["seed"],
        code=code("measure_difficulty.py"),
    message:
        "Measuring how far each sequence is from its own and from other names"
    script:
        "../../scripts/measure_difficulty.py"


rule difficulty:
    input:
        **difficulty_of_data(),
        template=report_source("difficulty.html.j2"),
        more=[report_source("sections/difficulty.html.j2"), report_source("pieces.html.j2")],
        css=report_source("report.css"),
        js=report_source("report.js"),
        caption=report_source("barcode_gap.rst"),
    output:
        page="<results>/difficulty/difficulty.html",
        figure=multiext("<results>/difficulty/barcode_gap", ".svg", ".png"),
    log:
        "<logs>/difficulty.log",
    benchmark:
        "<benchmarks>/difficulty.tsv"
    localrule: True
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        name=config["name"],
        colors=config["report"]["colors"],
        task=TASK_NAMED,
        code=code("write_difficulty.py"),
    message:
        "Writing how hard the names are to tell apart"
    script:
        "../../scripts/write_difficulty.py"
