# One vector per sequence: `snakemake embed`, or the whole run of the task `embedding`.


rule embed_records:
    input:
        unpack(model_backbone),
        unpack(saved_for_embedding),
        records="<results>/records/records.parquet",
        tokens=tokens_of,
    output:
        embeddings="<results>/vectors/{model}.parquet",
    log:
        "<logs>/vectors/{model}.log",
    benchmark:
        "<benchmarks>/vectors/{model}.tsv"
    conda:
        f"../../envs/train-{config['training_environment']}.yaml"
    threads: model_threads
    resources:
        mem_mb=asked("embed_records", "mem_mb"),
        runtime=asked("embed_records", "runtime"),
        gpu=one_gpu,
        gpu_mem_mb=asked("embed_records", "gpu_mem_mb"),
        gpu_model=card("embed_records"),
        nodes=1,
    params:
        model="{model}",
        settings=embedding_settings,
        pooling=config["embedding"]["pooling"],
        task=TASK_NAMED,
        seed=config["seed"],
        code=code("embed_records.py"),
    message:
        "Embedding all sequences with {wildcards.model}"
    script:
        "../../scripts/embed_records.py"
