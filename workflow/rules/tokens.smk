# Tokens, once for all folds and all models that share a tokenizer; embeddings, once for all folds of a probe.


rule tokens:
    input:
        unpack(lambda wildcards: backbone_of(TOKEN_SETS[wildcards.token_set]["backbone"])),
        records="<results>/records/records.parquet",
    output:
        tokens=directory("<results>/tokens/{token_set}"),
    log:
        "<logs>/tokens/{token_set}.log",
    benchmark:
        "<benchmarks>/tokens/{token_set}.tsv"
    conda:
        f"../../envs/train-{config['training_environment']}.yaml"
    threads: 1
    resources:
        mem_mb=asked("tokens", "mem_mb"),
        runtime=asked("tokens", "runtime"),
    params:
        backbone=lambda wildcards: TOKEN_SETS[wildcards.token_set]["backbone"],
        tokens=lambda wildcards: TOKEN_SETS[wildcards.token_set]["tokens"],
        code=code("tokenize_sequences.py"),
    message:
        "Tokenizing all sequences for {wildcards.token_set}"
    script:
        "../../scripts/tokenize_sequences.py"


rule embeddings:
    input:
        unpack(model_backbone),
        tokens=tokens_of,
        label_map="<results>/labels/label_map.json",
    output:
        embeddings="<results>/embeddings/{model}.npy",
    log:
        "<logs>/embeddings/{model}.log",
    benchmark:
        "<benchmarks>/embeddings/{model}.tsv"
    conda:
        f"../../envs/train-{config['training_environment']}.yaml"
    threads: model_threads
    resources:
        mem_mb=asked("embeddings", "mem_mb"),
        runtime=asked("embeddings", "runtime"),
        gpu=model_gpus,
        gpu_mem_mb=asked("embeddings", "gpu_mem_mb"),
        gpu_model=card("embeddings"),
        nodes=1,
    params:
        model="{model}",
        settings=embedding_settings,
        task=TASK_NAMED,
        seed=config["seed"],
        code=code("embed_backbone.py"),
    message:
        "Embedding all sequences with the frozen backbone of {wildcards.model}"
    script:
        "../../scripts/embed_backbone.py"
