# Records, labels and folds: what is learnt from, what it is called, who is tested when.
# On a cluster these small steps run where Snakemake runs: a fault in the data shows at once, not after a queue.


rule records:
    input:
        sequences=config["data"]["sequences"],
        labels=config["data"]["labels"] or [],
        more=[path for path in (config["data"]["vectors"], config["data"]["clusters"]) if path],
    output:
        records="<results>/records/records.parquet",
        removed="<results>/records/removed.tsv",
        summary="<results>/records/summary.json",
    log:
        "<logs>/records.log",
    benchmark:
        "<benchmarks>/records.tsv"
    localrule: True
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        data=config["data"],
        filter=config["filter"],
        task=TASK_NAMED,
        code=code("read_records.py", "labels"),
    message:
        "Reading, matching and cleaning the sequences"
    script:
        "../../scripts/read_records.py"


rule labels:
    input:
        records="<results>/records/records.parquet",
    output:
        label_map="<results>/labels/label_map.json",
        class_balance="<results>/labels/class_balance.tsv",
        summary="<results>/labels/summary.json",
    log:
        "<logs>/labels.log",
    benchmark:
        "<benchmarks>/labels.tsv"
    localrule: True
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        task=TASK_NAMED,
        code=code("map_labels.py", "labels"),
    message:
        "Numbering the classes"
    script:
        "../../scripts/map_labels.py"


rule folds:
    input:
        records="<results>/records/records.parquet",
        label_map="<results>/labels/label_map.json",
    output:
        folds="<results>/folds/folds.tsv",
        audit="<results>/folds/audit.json",
    log:
        "<logs>/folds.log",
    benchmark:
        "<benchmarks>/folds.tsv"
    localrule: True
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        split=config["split"],
        held_out=config["unknowns"]["held_out_share"],
        seed=config["seed"],
        task=TASK_NAMED,
        code=code("split_folds.py", "labels"),
    message:
        "Splitting into folds and proving that nothing leaks"
    script:
        "../../scripts/split_folds.py"
