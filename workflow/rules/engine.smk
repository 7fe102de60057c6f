# The engine: models and baselines pooled, one predictor more on the same folds.


rule combine:
    input:
        scores=lambda wildcards: expert_files("scores.npz", [wildcards.fold]),
        label_map="<results>/labels/label_map.json",
    output:
        scores="<results>/engines/{engine}/fold_{fold}/scores.npz",
        run="<results>/engines/{engine}/fold_{fold}/run.json",
    log:
        "<logs>/engines/{engine}/fold_{fold}.log",
    benchmark:
        "<benchmarks>/engines/{engine}/fold_{fold}.tsv"
    localrule: True
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=estimated("combine", "mem_mb"),
        runtime=estimated("combine", "runtime"),
    params:
        name="{engine}",
        experts=EXPERTS,
        fold="{fold}",
        folds=config["calibration"]["cv_folds"],
        seed=config["seed"],
        code=code("combine_experts.py"),
    message:
        "Pooling {params.experts} on fold {wildcards.fold}"
    script:
        "../../scripts/combine_experts.py"


rule package_engine:
    input:
        models=lambda wildcards: [f"<results>/final/{name}" for name in EXPERTS if name in MODELS],
        records="<results>/records/records.parquet",
        folds="<results>/folds/folds.tsv",
        label_map="<results>/labels/label_map.json",
        scores=expert_files("scores.npz", FOLDS),
        expert_runs=expert_files("run.json", FOLDS),
        runs=fold_files("run.json", ENGINES),
        metrics=fold_files("metrics.tsv", ENGINES),
    output:
        folder=directory("<results>/final/{engine}"),
    log:
        "<logs>/package/{engine}.log",
    benchmark:
        "<benchmarks>/package/{engine}.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=estimated("package_engine", "mem_mb"),
        runtime=estimated("package_engine", "runtime"),
    params:
        **{**JUDGING, "calibration": CALIBRATION["engines"]},
        name="{engine}",
        experts=EXPERTS,
        settings=lambda wildcards: {name: config["baselines"].get(name, {}) for name in EXPERTS},
        seed=config["seed"],
        task=TASK_NAMED,
        code=code("package_engine.py", "labels", "baselines", "judging"),
    message:
        "Saving {wildcards.engine} with its experts, calibration and card"
    script:
        "../../scripts/package_engine.py"
