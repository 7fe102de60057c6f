"""Which device and number format a job uses, and what memory it took. Chosen by itself, and written down."""

from __future__ import annotations

import logging
import resource
import sys
from pathlib import Path

import torch

from dnatune.errors import UserError

LOGGER = logging.getLogger("dnatune")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def device_name() -> str:
    """Return the GPU's name, or 'cpu'."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def available_precisions() -> list[str]:
    """Return the number formats that the hardware computes in, the best first."""
    if torch.cuda.is_available():
        return ["bf16", "fp16", "fp32"] if torch.cuda.get_device_capability() >= (8, 0) else ["fp16", "fp32"]
    return ["bf16", "fp32"] if _cpu_computes_bf16() else ["fp32"]


def choose_precision(asked: str) -> str:
    """Return bf16, fp16 or fp32 for 'auto', or check what was asked for.

    bf16 where the hardware computes in it (GPUs from Ampere on, CPUs with AVX512-BF16 or AMX), fp16 on older
    GPUs, fp32 otherwise. Raises UserError for a format the hardware lacks.
    """
    available = available_precisions()
    if asked == "auto":
        return available[0]
    if asked not in available:
        raise UserError(
            f"Configuration key 'training.precision': {asked} is not available on {device_name()}, which has "
            f"{', '.join(available)}; use auto."
        )
    return asked


def choose_base_precision(asked: str, precision: str) -> str:
    """Return the number format of frozen matrices when a model computes in ``precision``.

    'auto' is ``precision`` on a GPU, where memory is short, and fp32 on a CPU. Raises UserError for a format that
    the hardware lacks, or another half precision than that of the computation.
    """
    if asked == "auto":
        return precision if torch.cuda.is_available() else "fp32"
    if asked not in available_precisions():
        raise UserError(
            f"Configuration key 'base_precision': {asked} is not available on {device_name()}, which has "
            f"{', '.join(available_precisions())}; use auto."
        )
    if asked not in (precision, "fp32"):
        options = " or ".join(dict.fromkeys((precision, "fp32")))
        raise UserError(
            f"Configuration key 'base_precision': found {asked} while this job computes in {precision} "
            f"(training.precision); expected {options}."
        )
    return asked


def autocast(device: str, precision: str) -> torch.autocast:
    """Return the context in which a model's forward pass runs in ``precision``."""
    return torch.autocast(device, DTYPES[precision], enabled=precision != "fp32")


def check_card(asked_mb: float) -> None:
    """Log a warning if a GPU here has less memory than the job asked for (MB, the resource ``gpu_mem_mb``)."""
    if not torch.cuda.is_available():
        return
    found = min(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())) / 1e6
    if found < asked_mb:
        LOGGER.warning(
            "Warning: this job is estimated to take %.0f MB of GPU memory, and the %s here has %.0f MB; if that "
            "runs out, halve training.batch_size and double gradient_accumulation, or set gradient_checkpointing.",
            asked_mb,
            device_name(),
            found,
        )


def _cpu_computes_bf16() -> bool:
    # Without these instructions bf16 is emulated and slower than fp32.
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text("utf-8", errors="replace") if cpuinfo.is_file() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def peak_memory_mib() -> float:
    """Return the largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform != "darwin" else peak / 1024**2


def peak_gpu_memory_mib() -> float | None:
    """Return the largest GPU memory allocated so far, in MiB, or None without a GPU."""
    return torch.cuda.max_memory_allocated() / 1024**2 if torch.cuda.is_available() else None
