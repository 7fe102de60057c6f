"""Device and number format are chosen by what the hardware has, and a wish it cannot grant is refused."""

import pytest
import torch

from dnatune import hardware
from dnatune.errors import UserError


def machine(monkeypatch, gpu=None, bf16_cpu=False):
    """Pretend to be a machine with a GPU of compute capability ``gpu``, or none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *a: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *a: "Some GPU")
    monkeypatch.setattr(hardware, "_cpu_computes_bf16", lambda: bf16_cpu)


@pytest.mark.parametrize(
    ("gpu", "bf16_cpu", "chosen"),
    [
        ((9, 0), False, "bf16"),
        ((8, 0), False, "bf16"),
        ((7, 5), True, "fp16"),
        ((7, 0), False, "fp16"),
        (None, True, "bf16"),
        (None, False, "fp32"),
    ],
)
def test_precision_is_chosen_by_the_hardware(monkeypatch, gpu, bf16_cpu, chosen):
    machine(monkeypatch, gpu, bf16_cpu)
    assert hardware.choose_precision("auto") == chosen
    assert hardware.choose_precision("fp32") == "fp32"
    assert hardware.device_name() == ("Some GPU" if gpu else "cpu")


@pytest.mark.parametrize(("gpu", "asked"), [((7, 0), "bf16"), (None, "fp16"), (None, "bf16")])
def test_what_the_hardware_lacks_is_refused(monkeypatch, gpu, asked):
    machine(monkeypatch, gpu)
    with pytest.raises(UserError, match=f"{asked} is not available.*fp32"):
        hardware.choose_precision(asked)


@pytest.mark.parametrize(
    ("gpu", "precision", "chosen"), [((8, 0), "bf16", "bf16"), ((7, 5), "fp16", "fp16"), (None, "bf16", "fp32")]
)
def test_frozen_weights_are_halved_on_a_gpu_alone(monkeypatch, gpu, precision, chosen):
    machine(monkeypatch, gpu, bf16_cpu=True)
    assert hardware.choose_base_precision("auto", precision) == chosen
    assert hardware.choose_base_precision("fp32", precision) == "fp32"
    assert hardware.choose_base_precision(precision, precision) == precision


@pytest.mark.parametrize(
    ("gpu", "asked", "precision", "words"),
    [
        ((7, 5), "bf16", "fp16", "bf16 is not available on Some GPU, which has fp16, fp32"),
        ((8, 0), "bf16", "fp32", "computes in fp32.*expected fp32"),
        ((8, 0), "fp16", "bf16", "computes in bf16.*expected bf16 or fp32"),
    ],
)
def test_a_format_of_frozen_weights_that_cannot_be_is_refused(monkeypatch, gpu, asked, precision, words):
    machine(monkeypatch, gpu)
    with pytest.raises(UserError, match=f"base_precision.*{words}"):
        hardware.choose_base_precision(asked, precision)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_computes_in_the_precision(precision, dtype):
    with hardware.autocast("cpu", precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_memory_is_in_mib():
    before = hardware.peak_memory_mib()
    assert 10 < before < 100_000
    block = bytearray(300 << 20)
    block[:: 1 << 12] = b"x" * len(block[:: 1 << 12])
    assert hardware.peak_memory_mib() >= before
    assert hardware.peak_memory_mib() > 300
    assert hardware.peak_gpu_memory_mib() is None
