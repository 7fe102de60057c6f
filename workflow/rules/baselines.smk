# Classical methods on the same folds.


rule baseline:
    input:
        records="<results>/records/records.parquet",
        folds="<results>/folds/folds.tsv",
        label_map="<results>/labels/label_map.json",
    output:
        scores="<results>/baselines/{method}/fold_{fold}/scores.npz",
        run="<results>/baselines/{method}/fold_{fold}/run.json",
    log:
        "<logs>/baselines/{method}/fold_{fold}.log",
    benchmark:
        "<benchmarks>/baselines/{method}/fold_{fold}.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=estimated("baseline", "mem_mb"),
        runtime=estimated("baseline", "runtime"),
    params:
        method="{method}",
        fold="{fold}",
        settings=lambda wildcards: config["baselines"].get(wildcards.method, {}),
        tune=lambda wildcards: config["baselines"]["tune"] and wildcards.method in TASK.tuned,
        seed=config["seed"],
        task=TASK_NAMED,
        code=code("run_baseline.py", "labels", "baselines"),
    message:
        "Baseline {wildcards.method} on fold {wildcards.fold}"
    script:
        "../../scripts/run_baseline.py"
