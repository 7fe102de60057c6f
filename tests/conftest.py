"""Every test runs offline, on one thread, and with the same random examples each time."""

import os
from pathlib import Path

# Before torch and transformers are imported: nothing is fetched, and sums come out the same each time.
os.environ.update(
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
    CUDA_VISIBLE_DEVICES="",
)

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "dnatune",
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("dnatune")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def coi_sequences():
    """400 real COI barcodes (lizard_island_coi), cleaned."""
    path = SHARED_DATA / "lizard_island_coi" / "sequences.fasta"
    if not path.is_file():
        pytest.skip("the real data of ../shared/data are not here")
    from dnatune.fasta import read_clean

    return [sequence for _, sequence in zip(range(400), (s for _, s in read_clean(path)), strict=False)]


@pytest.fixture
def alive(tmp_path):
    """A run whose Snakemake, this very process, has its log open."""
    from run_tree import RunTree

    run = RunTree(tmp_path)
    with open(run.log, "a"):
        yield run


@pytest.fixture
def dead(tmp_path):
    """A run whose Snakemake is gone."""
    from run_tree import RunTree

    return RunTree(tmp_path)
