"""Training at full size on one GPU: tokens per second, peak memory, share of the card's rate.

Random weights in the published format (written here, no download), read and trained the way a fold is; 110-token
sequences, one optimiser step per batch, random labels. Operations are 4 x parameters x tokens for frozen weights
with adapters (6 with checkpointing), 6 for full tuning; of a mixture only the experts at work count. The card's
rate is that of a plain bf16 product of matrices, measured in the same process.

    python tests/bench/bench_gpu.py [--only nt-2.5b-lora ...] [--small] [--folder /tmp/weights]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from measuring import ROOT, in_fresh_process, print_table, simulated_sequences

sys.path.insert(0, str(ROOT / "tests" / "unit"))

TOKENS = 110
CLASSES = 100
SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}


@dataclass(frozen=True)
class Case:
    """A backbone at full size, and how it is trained."""

    backbone: str
    bases: int  # of a sequence of 110 tokens; byte pairs have no fixed width
    tuning: str
    batch: int
    steps: int
    training: dict[str, Any] = field(default_factory=dict)


LORA = {"r": 16, "alpha": 32, "dropout": 0.05}
CASES = {
    "nt-2.5b-lora": Case("nt-2.5b", 654, "lora", 32, 40),
    "nt-2.5b-lora-128": Case("nt-2.5b", 654, "lora", 128, 15),
    "nt-2.5b-lora-fp16-checkpointing": Case(
        "nt-2.5b", 654, "lora", 8, 30, {"precision": "fp16", "gradient_checkpointing": True}
    ),
    "aido-7b-lora": Case("aido-7b", 108, "lora", 32, 20),
    "aido-7b-qlora": Case("aido-7b", 108, "qlora", 32, 20),
    "aido-7b-qlora-checkpointing": Case("aido-7b", 108, "qlora", 32, 12, {"gradient_checkpointing": True}),
    "mistral-17m-full": Case("mistral-17m", 330, "full", 64, 60),
    "mistral-17m-qlora": Case("mistral-17m", 330, "qlora", 64, 60),
}


def write_weights(name: str, folder: Path, small: bool) -> None:
    """Save random weights of a backbone in half precision, with its tokenizer."""
    import torch
    import transformers as t

    from dnatune.backbones.modeling_rnabert import RNABertConfig, RNABertForSequenceClassification
    from miniature_entries import write_mistral_dna
    from miniatures import nt_config, write_nt_tokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    if name == "nt-2.5b":
        full = {"hidden_size": 2560, "num_hidden_layers": 32, "num_attention_heads": 20, "intermediate_size": 10240}
        with torch.device(device):
            model = t.EsmForMaskedLM(nt_config(**(SMALL if small else full)))
        model.bfloat16().save_pretrained(folder)
        write_nt_tokenizer(folder)
    elif name == "aido-7b":
        full = {"hidden_size": 4352, "num_hidden_layers": 32, "num_attention_heads": 32, "intermediate_size": 11584}
        shape = {**(SMALL if small else full), "normalization_type": "LayerNorm", "max_position_embeddings": 4000}
        with torch.device(device):
            model = RNABertForSequenceClassification(RNABertConfig(**shape))
        model.bfloat16().save_pretrained(folder)
    else:
        write_mistral_dna(folder)
        sizes = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 8, "num_attention_heads": 8}
        config = t.MixtralConfig(
            **sizes, vocab_size=4096, num_key_value_heads=8, num_local_experts=8, num_experts_per_tok=1,
            max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=3, tie_word_embeddings=False,
        )  # fmt: skip
        t.MixtralForCausalLM(config).save_pretrained(folder)


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """Train a case on the weights in ``folder``; return what it took."""
    import torch

    from dnatune import tuning
    from dnatune.config import resolve
    from dnatune.hardware import device_name
    from dnatune.inputs import TokenInputs
    from dnatune.tasks import task
    from dnatune.tokens import TokenSettings, TokenTable
    from dnatune.training import TrainingData, train

    model = {
        "backbone": str(folder),
        "tuning": case.tuning,
        **({} if case.tuning == "full" else {"lora": LORA}),
        "tokens": {"max_tokens": 128, "random_frame": False, "average_frames": False},
        "training": {"epochs": 1, "batch_size": case.batch, "warmup": 0, **case.training},
    }
    config = resolve({"name": "bench", "data": {"sequences": "-", "labels": "-"}, "models": {"it": model}})
    settings, multiclass = config["models"]["it"], task("multiclass")
    torch.set_num_threads(8)  # for loading; what is measured happens on the GPU
    records = case.batch * case.steps
    sequences = simulated_sequences(records, case.bases, case.bases)
    encoder = tuning.backbone_of(settings).encoder()
    table = TokenTable.of_sequences(sequences, encoder, TokenSettings.of(settings["tokens"], encoder))
    tokens = sum(len(ids) for ids in (encoder.encode(sequences[:200], 0))) / min(200, records)
    tokens += len(encoder.prefix) + len(encoder.suffix)
    labels = np.random.default_rng(0).integers(CLASSES, size=records)
    start = time.perf_counter()
    built = tuning.build(settings, {str(i): i for i in range(CLASSES)}, 0)
    ready = time.perf_counter() - start
    trainable, parameters = tuning.parameter_counts(built)
    at_work = parameters - idle_experts(built)
    everything = np.arange(records)
    work = TrainingData(TokenInputs(table, encoder.pad_id), labels, everything, everything[:0], CLASSES)
    steps, losses = clock_of_steps()
    with tempfile.TemporaryDirectory() as checkpoints:
        run = train(
            built,
            work,
            settings["training"],
            multiclass,
            views=np.zeros(1, dtype=int),
            folder=Path(checkpoints),
            seed=0,
        ).run
    del built
    warm = len(steps) // 4  # the first steps choose kernels and take memory
    seconds = (steps[-1] - steps[warm]) / (len(steps) - 1 - warm)
    per_token = 6 if case.tuning == "full" or settings["training"]["gradient_checkpointing"] else 4
    rate = case.batch * tokens / seconds
    return {
        "device": device_name(),
        "parameters": parameters,
        "at_work": at_work,
        "trainable": trainable,
        "precision": run["precision"],
        "tokens": tokens,
        "tokens_per_second": rate,
        "share_of_peak": per_token * at_work * rate / rate_of_products(),
        "step_seconds": seconds,
        "peak_gib": (run["peak_gpu_memory_mib"] or 0) / 1024,
        "reserved_gib": torch.cuda.max_memory_reserved() / 2**30 if torch.cuda.is_available() else 0,
        "loading_seconds": ready,
        "first_loss": float(np.mean(losses[:3])),
        "last_loss": float(np.mean(losses[-3:])),
    }


def rate_of_products(width: int = 8192, times: int = 20) -> float:
    """Return the bf16 operations per second of a plain product of square matrices, NaN without a GPU."""
    import torch

    if not torch.cuda.is_available():
        return float("nan")
    a, b = (torch.randn(width, width, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(2):  # the first round warms up
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(times):
            a @ b
        torch.cuda.synchronize()
    return 2 * width**3 * times / (time.perf_counter() - start)


def clock_of_steps() -> tuple[list[float], list[float]]:
    """Let the trainer note the time after each step and its loss, in lists that fill while it trains."""
    import torch

    from dnatune import training

    times: list[float] = []
    losses: list[float] = []

    class Clocked(training.FoldTrainer):
        def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
            loss = super().training_step(*arguments, **named)
            losses.append(float(loss))  # waits for the GPU
            times.append(time.perf_counter())
            return loss

    training.FoldTrainer = Clocked
    return times, losses


def idle_experts(model: Any) -> int:
    """Return how many numbers of a mixture no token meets: the experts that were not chosen."""
    from dnatune import quantisation

    config = model.config.backbone if hasattr(model.config, "backbone") else model.config
    experts, chosen = getattr(config, "num_local_experts", 1), getattr(config, "num_experts_per_tok", 1)
    stacked = sum(quantisation.count(p) for name, p in model.named_parameters() if ".experts." in name)
    return stacked * (experts - chosen) // experts


def main(only: list[str], small: bool, root: Path) -> None:
    """Measure the cases one by one, each in a fresh process, and print one table."""
    rows, written = [], None
    for name in only:
        case = CASES[name]
        folder = root / case.backbone
        if written != folder:
            if written:
                shutil.rmtree(written)  # one backbone at a time: the large ones take 15 GB
            in_fresh_process(__file__, "--write", case.backbone, "--folder", str(root), *["--small"][: int(small)])
            written = folder
        found = in_fresh_process(__file__, "--part", name, "--folder", str(root), *["--small"][: int(small)])
        print(json.dumps({"case": name, **found}), flush=True)
        size = f"{found['parameters'] / 1e6:,.0f} M"
        keys = ("precision", "tokens", "tokens_per_second", "share_of_peak", "peak_gib", "reserved_gib", "step_seconds")
        rows.append(
            [name, size, *[found[key] for key in keys], f"{found['first_loss']:.3f} to {found['last_loss']:.3f}"]
        )
    if written:
        shutil.rmtree(written)
    header = ["case", "parameters", "format", "tokens", "tokens/s", "of peak", "GiB", "GiB held", "s/step", "loss"]
    print_table(f"Training, {found['device']}", header, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--small", action="store_true", help="miniatures, to try the benchmark without a GPU")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--part", choices=list(CASES))
    parser.add_argument("--write")
    options = parser.parse_args()
    if options.write:
        write_weights(options.write, options.folder / options.write, options.small)
        sys.stdout.write("\n{}\n")
    elif options.part:
        case = CASES[options.part]
        sys.stdout.write("\n" + json.dumps(measure(case, options.folder / case.backbone)) + "\n")
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(options.only, options.small, options.folder or Path(temporary))
