"""What a job asks a scheduler for, from the size of the model and of the data: memory, minutes, memory of the GPU.

Estimates on the safe side, as pure functions; a number in ``models.<name>.resources`` takes their place, and what
was too little is asked for again with more. The reasoning and its sources: docs/costs.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dnatune.data_size import DataSize
from dnatune.fold_size import FoldSize
from dnatune.model_size import ModelSize
from dnatune.tuning_kinds import kind_of
from dnatune.views import needed_views, prediction_views

MB, GIB = 1_000_000, 1024**3
# Memory of a process before it has a model (Python, torch, tables), without and with the libraries of CUDA.
PROCESS_MB, CUDA_PROCESS_MB = 2000, 3500
CUDA_GIB = 1.0  # what CUDA takes of a GPU besides tensors
# Operations a second in half precision of the cards that a job of so many GiB fits: a T4 (35 % of its peak), an L4 or
# A10 (a third of theirs), an A100 (40 %). In float32 it is about a fourth. A thread of a CPU has 20 thousand million.
CARDS = ((14, 23e12), (22, 40e12), (math.inf, 125e12))
THREAD = 2e10
STEP_SECONDS = 0.1  # on a GPU a step takes that long however small the model
SAFETY, START_MINUTES = 1.5, 20
# Operations per parameter and token: forward 2, backward through weights 2 and into them 2, and a second forward
# with checkpointing (Kaplan et al. 2020, section 2.1).
FORWARD = 2
# Bytes of activations per token, hidden unit and layer in half precision (Korthikanti et al. 2022, equation 2, without
# the attention matrix, which is never stored).
ACTIVATION_BYTES = 34
NF4_BYTES = 0.5625  # four bits, and four bytes of scale for 64 numbers
# Jobs without a model, from what was measured (docs/costs.md) and half as much again: Python with its tables and the
# two Snakemakes of a job; bytes of each number in a table of scores while a training or a baseline makes it, while it
# is judged, and (for each expert) pooled, loaded, and cross-fitted for a saved engine; bytes of k-mers for each base.
PLAIN_MB, COMPARING_MB = 500, 1200
TRAINED_BYTES, SCORED_BYTES, JUDGED_BYTES = 120, 14, 25
POOLED_BYTES, LOADED_BYTES, CROSSED_BYTES = 27, 6, 45
KMER_BYTES, COMPARED_BYTES = 40, 45
# Seconds for each such number, and for each base of a pair of sequences.
JUDGED_SECONDS, POOLED_SECONDS, CROSSED_SECONDS, PAIR_SECONDS = 1.5e-6, 5e-7, 3e-6, 1.2e-10
VECTOR = 1024  # numbers of a user's vector, which is not looked into before the run
# Larger tables of features stay sparse; operations a second of a regression on the one and on the other.
DENSE_BYTES, DENSE, SPARSE = GIB, 5e10, 1e10


@dataclass(frozen=True)
class Needs:
    """``mem_mb`` of the job on each node, ``runtime`` in minutes, ``gpu_mem_mb`` of each GPU (0 without one)."""

    mem_mb: int
    runtime: int
    gpu_mem_mb: int


@dataclass(frozen=True)
class Reading:
    """Token rows of all sequences, read once in one frame: how many, and tokens of one on average and at most."""

    rows: float
    mean: float
    longest: float

    @property
    def tokens(self) -> float:
        """Tokens of all rows."""
        return self.rows * self.mean


def reading(settings: dict[str, Any], model: ModelSize, data: DataSize) -> Reading:
    """Return what sequences become as tokens; those longer than a window are read in several."""
    window = min(settings["tokens"]["max_tokens"] or model.context, model.context)
    mean, longest = (max(1.0, length / model.bases) + 2 for length in (data.mean, data.longest))
    windows = math.ceil(mean / window) if settings["tokens"]["long_sequences"] == "windows" else 1
    return Reading(data.sequences * windows, min(mean / windows, window), min(longest, window))


def activations(settings: dict[str, Any], model: ModelSize, read: Reading, gpus: int, half: bool) -> float:
    """Return bytes that one process keeps of a batch for the way back (batch x tokens x width, per layer)."""
    batch = math.ceil(settings["training"]["batch_size"] / max(1, gpus))
    one = batch * read.longest * model.width * (1 if half else 2)
    if settings["training"]["gradient_checkpointing"]:
        return one * (2 * model.layers + ACTIVATION_BYTES)  # the input of each layer, and one layer at work
    return one * ACTIVATION_BYTES * model.layers


def adapters(settings: dict[str, Any], model: ModelSize) -> float:
    """Return the number of parameters of LoRA adapters: r x (in + out) on four square matrices of each layer."""
    return settings["lora"]["r"] * 2 * model.width * 4 * model.layers


def weights_on_gpu(settings: dict[str, Any], model: ModelSize, gpus: int, half: bool) -> float:
    """Return bytes of weights, gradients and Adam's two averages (4 each in float32) on one GPU."""
    kind = kind_of(settings)
    copy = 2 if half else 0  # autocast's half-precision copy of float32 weights
    if not kind.frozen_backbone:
        shared = gpus if settings["training"]["sharding"] == "fsdp" else 1
        return model.parameters * (16 / max(1, shared) + copy)
    frozen = NF4_BYTES if kind.quantised else 2 if half and settings["base_precision"] != "fp32" else 4 + copy
    return model.parameters * frozen + (16 * adapters(settings, model) if kind.adapter else 0)


# What jobs without a model ask for at least.
LEAST = {
    "baseline": Needs(4000, 120, 0),
    "distances": Needs(6000, 120, 0),
    "package_engine": Needs(4000, 120, 0),
    "combine": Needs(4000, 60, 0),
    "evaluate": Needs(4000, 60, 0),
}


@dataclass(frozen=True)
class Way:
    """How a baseline works: the length ``k`` of its k-mers (0: none), the longest among the ``tried`` settings where it
    is tuned, and whether it ``learns`` weights, ``counts`` k-mers, ``searches`` for hits, and ``aligns`` them."""

    k: int = 0
    longest: int = 0
    tried: int = 0
    learns: bool = False
    counts: bool = False
    searches: bool = False
    aligns: bool = False


WAYS = {
    "majority": Way(),
    "mean": Way(),
    "naive_bayes": Way(k=8, longest=10, tried=9, counts=True),
    "logistic_regression": Way(k=6, longest=7, tried=9, learns=True),
    "vector_logistic_regression": Way(tried=4, learns=True),
    "kmer_ridge": Way(k=5, learns=True),
    "vector_ridge": Way(learns=True),
    "context_logistic_regression": Way(learns=True),
    "vsearch_top_hit": Way(searches=True, aligns=True),
    "blast_top_hit": Way(searches=True, aligns=True),
    "sintax": Way(searches=True, aligns=True),
    "kmer_top_hit": Way(k=10, searches=True),
}


def training(
    settings: dict[str, Any], model: ModelSize, data: DataSize, folds: int, times: int = 1, cells: float = 0
) -> Needs:
    """Return what training a model on one fold, or on all data, needs; ``times``: so many models one by one.

    ``cells`` is the size of the table of its scores.
    """
    kind, wanted, learn = kind_of(settings), settings["resources"], settings["training"]
    gpus, half, read = wanted["gpu"], learn["precision"] != "fp32", reading(settings, model, data)
    processes = max(1, gpus // wanted["nodes"])  # that share the memory of a node
    if not kind.through_backbone:  # only a head learns, from a table of numbers
        table = 4 * read.rows * len(needed_views(settings["tokens"], model.frames)) * model.width
        memory = PROCESS_MB + tables(data) + (table + TRAINED_BYTES * cells) / MB
        return _needs(processes, gpus, memory, learn["epochs"] * read.rows / 10_000, 0.5 * GIB)
    kept = activations(settings, model, read, gpus, half and gpus > 0)
    on_gpu = weights_on_gpu(settings, model, gpus, half) + kept
    if gpus:
        # In float32 on the way to the GPU; with Adam's averages when it goes on from a checkpoint.
        memory = CUDA_PROCESS_MB + model.parameters * (5 if kind.frozen_backbone else 13) / MB
    else:
        memory = PROCESS_MB + (model.parameters * (5 if kind.frozen_backbone else 17) + kept) / MB
    once = FORWARD + (2 if kind.frozen_backbone else 4) + (2 if learn["gradient_checkpointing"] else 0)
    scored = FORWARD * (
        0.2 / learn["evaluate_every"] * learn["epochs"]
        + len(prediction_views(settings["tokens"], model.frames)) * (0.1 + 1 / folds)
    )
    operations = read.tokens * (model.parameters - model.embedded) * (once * learn["epochs"] + scored)
    steps = learn["epochs"] * read.rows / learn["batch_size"]
    seconds = max(operations / speed(wanted, half, on_gpu), steps * STEP_SECONDS if gpus else 0)
    memory += tables(data) + TRAINED_BYTES * cells / MB
    return _needs(processes, gpus, memory, seconds * times, on_gpu)


def applying(
    settings: dict[str, Any], model: ModelSize, data: DataSize, members: int = 1, every: bool = False, cells: float = 0
) -> Needs:
    """Return what reading all sequences once needs; ``members`` models, ``every``: in every frame, not the averaged.

    ``cells`` is the size of the table of scores that comes of it.
    """
    gpus, half = min(1, settings["resources"]["gpu"]), settings["training"]["precision"] != "fp32"
    read = reading(settings, model, data)
    seen = (
        len(needed_views(settings["tokens"], model.frames))
        if every
        else len(prediction_views(settings["tokens"], model.frames))
    )
    weights = 4 * model.parameters * members
    # One layer at work, on as many tokens as a training batch has.
    layer = settings["training"]["batch_size"] * read.longest * model.width * ACTIVATION_BYTES * 2
    on_gpu = weights * (1.5 if half else 1) + layer
    memory = (CUDA_PROCESS_MB if gpus else PROCESS_MB) + (weights * 1.25 + (0 if gpus else layer)) / MB
    memory += tables(data) + (4 * read.rows * seen * model.width + TRAINED_BYTES * cells) / MB
    operations = FORWARD * read.tokens * seen * (model.parameters - model.embedded) * members
    return _needs(1, gpus, memory, operations / speed(settings["resources"], half, on_gpu), on_gpu)


def packaging(model: ModelSize, members: int, fold: FoldSize | None = None, folds: int = 0) -> Needs:
    """Return what joining ``members`` models into the saved one needs: each, all together, and half copies; and its
    calibration on the validation scores of all folds."""
    memory = PROCESS_MB + 4 * model.parameters * (2 * members + 1) / MB
    if fold:
        memory += folds * (LOADED_BYTES * fold.cells + JUDGED_BYTES * fold.validation_cells) / MB
    return _needs(1, 0, memory, 20 * members, 0)


def tokenizing(data: DataSize) -> Needs:
    """Return what tokens need: twelve bytes of a base in all frames, a million bases in ten seconds."""
    return _needs(1, 0, PROCESS_MB + 12 * data.bases / MB, data.bases / 100_000, 0)


def searching(queries: DataSize, data: DataSize, outputs: int, experts: int) -> Needs:
    """Return what an engine of so many k-mer models and top hits needs to name ``queries``."""
    scores = POOLED_BYTES * experts * queries.sequences * outputs
    memory = PROCESS_MB + tables(data) + tables(queries) + (KMER_BYTES * (data.bases + queries.bases) + scores) / MB
    return _needs(1, 0, memory, experts * hits_seconds(queries.sequences, data.sequences, data.mean), 0)


def baseline(
    method: str, settings: Mapping[str, Any], data: DataSize, fold: FoldSize, tuned: bool = False, threads: int = 1
) -> Needs:
    """Return what a baseline needs to learn from a fold and score it; ``settings`` are those that are not default."""
    return _needs(1, 0, *_baseline(method, settings, data, fold, tuned, threads), 0)


def _baseline(
    method: str, settings: Mapping[str, Any], data: DataSize, fold: FoldSize, tuned: bool = False, threads: int = 1
) -> tuple[float, float]:
    """Return MB and seconds of a baseline."""
    way = WAYS[method]
    k = max(settings.get("k", way.k), way.longest if tuned else 0)
    memory = PLAIN_MB + tables(data) + (SCORED_BYTES * fold.cells + (KMER_BYTES * data.bases if k else 0)) / MB
    seconds = 0.0
    if way.learns:
        features = 4**k if k else VECTOR
        train = min(fold.train * fold.rows, settings.get("train_bases", 100_000)) if fold.rows > 1 else fold.train
        # Weights, gradients, Adam's averages and what is taken off them; classes as a table; features.
        memory += 32 * features * fold.outputs / MB + 10 * train * fold.outputs / MB
        memory += min(DENSE_BYTES, 4 * train * features) / MB
        rate = DENSE if 4 * train * features <= DENSE_BYTES else SPARSE
        seconds = 6 * settings.get("epochs", 30) * train * features * fold.outputs / rate
    elif way.counts:
        # Each k-mer of a query meets the classes that have it.
        met = min(fold.outputs, data.mean * fold.train / 4**k)
        seconds = 5e-9 * fold.scored * data.mean * met
    elif way.searches:
        seconds = hits_seconds(fold.scored, fold.train, data.mean, way.aligns) / threads
    return memory, seconds * (way.tried + 1 if tuned else 1)


def hits_seconds(queries: float, references: float, mean: float, aligned: bool = True) -> float:
    """Return seconds on one thread of the hits of sequences of ``mean`` bases: each query meets all references, and
    may be aligned with some."""
    return queries * (PAIR_SECONDS * references * mean + (0.02 + 4e-8 * mean**2 if aligned else 0))


def judging(fold: FoldSize) -> Needs:
    """Return what calibrating and evaluating one fold's scores needs."""
    return _needs(1, 0, PLAIN_MB + JUDGED_BYTES * fold.cells / MB, JUDGED_SECONDS * fold.cells, 0)


def pooling(fold: FoldSize, experts: int) -> Needs:
    """Return what pooling experts' scores of a fold needs."""
    cells = experts * fold.cells
    return _needs(1, 0, PLAIN_MB + POOLED_BYTES * cells / MB, POOLED_SECONDS * cells, 0)


def saving_engine(
    methods: Mapping[str, Mapping[str, Any]], models: int, data: DataSize, fold: FoldSize, folds: int
) -> Needs:
    """Return what saving an engine needs: the scores of all folds, a pool of their validation parts, and its baselines
    (settings by method) trained on all known records, one after the other; ``models`` are saved already."""
    everything = replace(fold, train=fold.known, scored=0, validation=0)
    made = [_baseline(method, settings, data, everything) for method, settings in methods.items()]
    experts = models + len(methods)
    crossed = experts * folds * fold.validation_cells
    memory = (LOADED_BYTES * experts * folds * fold.cells + CROSSED_BYTES * crossed) / MB
    memory += max((mb for mb, _ in made), default=PLAIN_MB)
    return _needs(1, 0, memory, CROSSED_SECONDS * crossed + sum(seconds for _, seconds in made), 0)


def comparing(data: DataSize, compared: int | None, threads: int) -> Needs:
    """Return what comparing all sequences, or so many of them, with all others on both strands needs."""
    asked = min(data.sequences, compared or data.sequences)
    seconds = 2 * PAIR_SECONDS * asked * data.sequences * data.mean / threads
    return _needs(1, 0, COMPARING_MB + COMPARED_BYTES * data.bases / MB, seconds, 0)


def at_least(job: str, needs: Needs) -> Needs:
    """Return what a job without a model asks for: never less than ``LEAST``."""
    return largest([needs, LEAST[job]])


def largest(needs: Sequence[Needs]) -> Needs:
    """Return what suffices for each of several jobs."""
    return Needs(*(max(getattr(each, name) for each in needs) for name in ("mem_mb", "runtime", "gpu_mem_mb")))


def smallest_card(cards: Mapping[str, int], gpu_mem_mb: int) -> str | None:
    """Return the GPU type with the least memory that is enough, or else the largest; None where none is named."""
    enough = [name for name, memory in cards.items() if memory >= gpu_mem_mb]
    return min(enough, key=cards.__getitem__) if enough else max(cards, key=cards.__getitem__, default=None)


def tables(data: DataSize) -> float:
    """Return MB of records and scores in one process: three times the bases, and 2 kB for each sequence."""
    return (3 * data.bases + 2000 * data.sequences) / MB


def speed(wanted: dict[str, Any], half: bool, on_gpu: float) -> float:
    """Return operations a second; of the smallest card that ``on_gpu`` bytes fit."""
    gpus = wanted["gpu"]
    if not gpus:
        return THREAD * wanted["threads"]
    card = next(rate for memory, rate in CARDS if on_gpu / GIB + CUDA_GIB <= memory)
    return card * (1 if half else 0.25) * (1 if gpus == 1 else 0.8 * gpus)


def _needs(processes: int, gpus: int, memory: float, seconds: float, on_gpu: float) -> Needs:
    minutes = START_MINUTES + SAFETY * seconds / 60
    card = 1.1 * on_gpu / MB + CUDA_GIB * GIB / MB if gpus else 0
    return Needs(_up(memory * processes, 500), _up(minutes, 10), _up(card, 500))


def _up(value: float, step: int) -> int:
    return math.ceil(value / step) * step
