"""Training and prediction in samples per CPU-second: the tutorials' way, plain dynamic padding, dnatune.

The same miniature (ESM, 4 layers, hidden 256) and 480 sequences of 150 to 650 bases, one epoch, batch 32, one thread.

    python tests/bench/bench_training.py [--runs 3]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import in_fresh_process, medians, print_table, simulated_sequences

CLASSES = 20
SEQUENCES = 480
SIZES = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8}
WAYS = {
    "tutorial": "plain Trainer, padded to 512 tokens, eager attention, slow tokenizer",
    "dynamic": "plain Trainer, dynamic padding, slow tokenizer",
    "dnatune": "batches of similar length, precision of the hardware, fused GELU, array tokenizer",
}


def data() -> tuple[list[str], np.ndarray]:
    """Return sequences and class ids, the same for every way."""
    return simulated_sequences(SEQUENCES, 150, 650), np.random.default_rng(1).integers(CLASSES, size=SEQUENCES)


def plain_trainer(pad_to_512: bool) -> dict[str, float]:
    """Measure what tutorials show: EsmTokenizer, AutoModelForSequenceClassification, Trainer."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        DataCollatorWithPadding,
        EsmTokenizer,
        Trainer,
        TrainingArguments,
    )

    from dnatune.backbones.nt_mini import NtMini
    from dnatune.kmer_encoding import vocabulary

    sequences, labels = data()
    config = NtMini("builtin:nt-mini", None, False).with_config(SIZES).config
    config.update({"num_labels": CLASSES})
    attention = {"attn_implementation": "eager"} if pad_to_512 else {}
    model = AutoModelForSequenceClassification.from_config(config, **attention)
    with tempfile.TemporaryDirectory() as folder:
        vocab = Path(folder) / "vocab.txt"
        vocab.write_text("\n".join(vocabulary()))
        tokenizer = EsmTokenizer(str(vocab), eos_token=None, model_max_length=1000)
        padding = {"padding": "max_length", "max_length": 512} if pad_to_512 else {}

        def encoded() -> list[dict]:
            texts = tokenizer(sequences, truncation=pad_to_512, **padding)
            keys = ("input_ids", "attention_mask")
            return [{**{k: texts[k][i] for k in keys}, "labels": int(labels[i])} for i in range(len(sequences))]

        arguments = TrainingArguments(
            folder,
            num_train_epochs=1,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=32,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        torch.manual_seed(0)
        start = time.process_time()
        trainer = Trainer(model, arguments, train_dataset=encoded(), data_collator=DataCollatorWithPadding(tokenizer))
        trainer.train()
        trained = time.process_time()
        trainer.predict(encoded())
        return {"train": SEQUENCES / (trained - start), "predict": SEQUENCES / (time.process_time() - trained)}


def dnatune() -> dict[str, float]:
    """Measure the way of this project on the same work: one frame, one epoch."""
    from dnatune import tuning
    from dnatune.config import resolve
    from dnatune.inference import log_probabilities
    from dnatune.inputs import TokenInputs
    from dnatune.tasks import task
    from dnatune.tokens import TokenSettings, TokenTable
    from dnatune.training import TrainingData, train

    sequences, labels = data()
    config = resolve(
        {
            "name": "bench",
            "data": {"sequences": "-", "labels": "-"},
            "models": {
                "mini": {
                    "backbone": "builtin:nt-mini",
                    "backbone_config": SIZES,
                    "tokens": {"random_frame": False, "average_frames": False},
                    "training": {"epochs": 1, "batch_size": 32},
                }
            },
        }
    )
    settings = config["models"]["mini"]
    encoder = tuning.backbone_of(settings).encoder()
    model = tuning.base_model(settings, {str(i): i for i in range(CLASSES)}, 0)
    multiclass = task("multiclass")
    start = time.process_time()
    everything = np.arange(SEQUENCES)
    table = TokenTable.of_sequences(sequences, encoder, TokenSettings.of(settings["tokens"], encoder))
    inputs = TokenInputs(table, encoder.pad_id)
    work = TrainingData(inputs, labels, everything, everything[:0], CLASSES)
    with tempfile.TemporaryDirectory() as folder:
        trained = train(
            model, work, settings["training"], multiclass, views=np.zeros(1, dtype=int), folder=Path(folder), seed=0
        )
    middle = time.process_time()
    table = TokenTable.of_sequences(sequences, encoder, TokenSettings.of(settings["tokens"], encoder))
    log_probabilities(
        trained.model,
        TokenInputs(table, encoder.pad_id),
        everything,
        views=[0],
        classes=CLASSES,
        probabilities=multiclass.probabilities,
        precision=trained.run["precision"],
    )
    return {"train": SEQUENCES / (middle - start), "predict": SEQUENCES / (time.process_time() - middle)}


PARTS = {"tutorial": lambda: plain_trainer(True), "dynamic": lambda: plain_trainer(False), "dnatune": dnatune}


def main(runs: int) -> None:
    """Run every way ``runs`` times in fresh processes and print medians and ratios."""
    found = {way: medians(runs, lambda way=way: in_fresh_process(__file__, "--part", way)) for way in WAYS}
    ours = found["dnatune"]
    rows = [
        [
            way,
            figures["train"],
            ours["train"] / figures["train"],
            figures["predict"],
            ours["predict"] / figures["predict"],
            WAYS[way],
        ]
        for way, figures in found.items()
    ]
    header = ["way", "train samples/CPU-s", "dnatune is x", "predict samples/CPU-s", "dnatune is x", "what"]
    print_table(f"Training and prediction, median of {runs} runs", header, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--part", choices=list(WAYS))
    options = parser.parse_args()
    if options.part:
        sys.stdout.write("\n" + json.dumps(PARTS[options.part]()) + "\n")
    else:
        main(options.runs)
