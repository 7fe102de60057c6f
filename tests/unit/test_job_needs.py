"""What jobs ask for: sizes read from files, formulas against cases worked out by hand and against docs/costs.md."""

import gzip
import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dnatune import job_needs
from dnatune.data_size import DataSize, data_size
from dnatune.files import write_json
from dnatune.fold_size import FoldSize, fold_size, size_in_run
from dnatune.job_needs import Needs
from dnatune.model_size import UNKNOWN, ModelSize, builtin_size, folder_size, model_size, named_size
from miniatures import model_settings, write_generic, write_nt

SCRIPTS = Path(__file__).parents[2] / "scripts"
# 1,000 sequences of 1,000 bases; a model with round numbers that reads one base per token.
DATA = DataSize(1000, 1_000_000, 1500)
ROUND = ModelSize(1_000_000_000, 0, 10, 1000, 4000, 1)
# The data and the two models of docs/costs.md.
BARCODES = DataSize(22_073, 22_073 * 925, 2472)
NT = ModelSize(2_547_000_000, 4105 * 2560, 32, 2560, 1000, 6, 6)
AIDO = ModelSize(7_300_000_000, 16 * 4352, 32, 4352, 4000, 1)
CAREFUL = {"batch_size": 8, "gradient_accumulation": 4, "gradient_checkpointing": True}


def settings(tuning="full", training=None, **resources):
    """Return complete settings of a model from a hub, with what every case below is worked out for."""
    training = {"batch_size": 10, "epochs": 4, "precision": "auto", **(training or {})}
    found = model_settings(training, backbone="owner/model", tuning=tuning, resources=resources)
    return {**found, "resources": {"gpu": 1, "nodes": 1, "threads": 1, **resources}}


def test_full_tuning_on_a_gpu_by_hand():
    # Weights, gradients, Adam's two averages: 16 bytes, and 2 of the copy in half precision: 18e9 bytes. Activations of
    # 10 x 1502 tokens x 1000 x 34 bytes x 10 layers: 5.1068e9. 1.1 x 23.1068e9 + 1 GiB (1.0737e9) = 26.491e9 bytes.
    found = job_needs.training(settings(), ROUND, DATA, folds=5)
    assert found.gpu_mem_mb == 26_500
    # 3500 + 13 bytes x 1e9 + records (3 x 1e6 bases + 2000 x 1000) / 1e6.
    assert found.mem_mb == 17_000  # 16,505 up
    # 1,002,000 tokens x 1e9 x (6 x 4 epochs + 2 x (0.2 x 4 + 0.3)) = 2.6252e16 at 125e12 a second: 210 s, but 400 steps
    # of 0.1 s are less. 20 + 1.5 x 210 / 60 = 25.3 minutes.
    assert found.runtime == 30


def test_lora_with_checkpointing_on_a_gpu_by_hand():
    # Frozen 2e9 bytes; adapters 16 x (r 8 x 2000 x 4 x 10 layers = 640,000); kept: 10 x 1502 x 1000 x (2 x 10 + 34).
    lora = {**settings("lora", {"gradient_checkpointing": True})}
    lora["lora"] = {**lora["lora"], "r": 8}
    found = job_needs.training(lora, ROUND, DATA, folds=5)
    assert found.gpu_mem_mb == 4_500  # 1.1 x (2000 + 10.24 + 811.08) + 1073.7 = 4177
    assert found.mem_mb == 9_000  # 3500 + 5000 + 5 = 8505


def test_several_gpus_share_the_batch_and_each_loads_the_model():
    one, four = (job_needs.training(settings(gpu=n), ROUND, DATA, folds=5) for n in (1, 4))
    assert four.mem_mb == 66_500  # 4 x 16,505 = 66,020
    # 3 of 10 sequences on a GPU: 1.1 x (18e9 + 3 x 1502 x 1000 x 340) + 1 GiB.
    assert four.gpu_mem_mb == 23_000
    assert four.runtime <= one.runtime
    spread = settings(gpu=4)
    spread["training"] = {**spread["training"], "sharding": "fsdp"}
    # 16 bytes over four GPUs, and 2 on each: 1.1 x (6e9 + 1.532e9) + 1 GiB.
    assert job_needs.training(spread, ROUND, DATA, folds=5).gpu_mem_mb == 9_500


def test_on_a_cpu_there_is_no_gpu_memory_and_threads_count():
    one, two = (job_needs.training(settings(gpu=0, threads=n), ROUND, DATA, folds=5) for n in (1, 2))
    # 2000 + 17 x 1000 + activations in float32 (2 x 5106.8) + 5.
    assert (one.gpu_mem_mb, one.mem_mb) == (0, 29_500)
    # 2.6252e16 / 2e10 = 1.3126e6 s on one thread: 20 + 1.5 x 21,877 minutes.
    assert one.runtime == 32_840
    assert two.runtime == pytest.approx(one.runtime / 2, abs=20)


def test_more_data_epochs_and_models_take_longer():
    base = job_needs.training(settings(gpu=0), ROUND, DATA, folds=5)
    twice = job_needs.training(settings(gpu=0), ROUND, DataSize(2000, 2_000_000, 1500), folds=5)
    assert twice.runtime - 20 == pytest.approx(2 * (base.runtime - 20), abs=20)
    assert job_needs.training(settings(gpu=0), ROUND, DATA, 5, times=3).runtime > 2.9 * base.runtime
    longer = job_needs.training(settings(training={"epochs": 8}, gpu=0), ROUND, DATA, folds=5)
    assert longer.runtime > 1.8 * base.runtime


@pytest.mark.parametrize(
    ("tuning", "training", "model", "lowest", "highest"),
    [
        ("lora", CAREFUL, NT, 7, 8),
        ("lora", {"batch_size": 32}, NT, 20, 45),
        ("qlora", CAREFUL, NT, 3.5, 4.5),
        ("lora", {**CAREFUL, "batch_size": 4}, AIDO, 17, 22),
        ("qlora", {**CAREFUL, "batch_size": 4}, AIDO, 7.5, 11),
    ],
)
def test_gpu_memory_is_that_of_the_cost_page(tuning, training, model, lowest, highest):
    found = job_needs.training(settings(tuning, {"epochs": 10, **training}), model, BARCODES, folds=5)
    assert lowest <= found.gpu_mem_mb * 1e6 / 1024**3 <= highest


def test_hours_are_more_than_those_of_the_cost_page_but_not_absurd():
    # One fold of NT 2.5B with LoRA: 5 hours on a T4, 0.6 on an A100.
    found = [
        job_needs.training(settings("lora", {"epochs": 10, **training}), NT, BARCODES, 5).runtime / 60
        for training in (CAREFUL, {"batch_size": 32})
    ]
    assert 5 < found[0] < 15 and 0.6 < found[1] < 3


def test_applying_packaging_and_tokens_by_hand():
    probe = settings("probe", gpu=1)
    # 1,000 rows x 4 bytes x 1000 wide = 4 MB; 3500 + 1.25 x 4000 + 5 + 4.
    assert job_needs.applying(probe, ROUND, DATA).mem_mb == 9_000
    assert job_needs.applying(probe, ROUND, DATA, members=5).mem_mb > 5 * 4000
    assert job_needs.packaging(ROUND, 1).mem_mb == 14_000  # 2000 + 4000 x 3
    assert job_needs.packaging(ROUND, 5).mem_mb == 46_000  # 2000 + 4000 x 11
    assert job_needs.tokenizing(DATA) == Needs(2_500, 30, 0)  # 2000 + 12 MB; 20 minutes + 1.5 x 10 s
    six = replace(ROUND, bases=6, frames=6)
    once, every = (job_needs.applying(probe, six, DATA, every=e).runtime for e in (False, True))
    assert every == once  # predictions are averaged over all six frames already
    head = job_needs.training(probe, ROUND, DATA, folds=5)
    assert head.gpu_mem_mb <= 2000 and head.mem_mb < 3000


def test_the_size_of_a_fold_by_hand(tmp_path):
    # Of 1,000 known records 200 are tested; of the other 800 a tenth validates; 50 are held out, 30 are unknown.
    found = fold_size(1000, 30, 7, 5, 0.1, held_out_share=0.05, rows=3)
    assert found == FoldSize(1000, 800, 80, 200 + 80 + 50 + 30, 7, 3)
    assert (found.cells, found.validation_cells) == (360 * 3 * 7, 80 * 3 * 7)
    assert fold_size(1000, 30, 7, 1, 0.1) == FoldSize(1000, 1000, 1000, 1030, 7), "the user's own parts"
    # In a run: all sequences and ten labels until both are counted.
    config = {"split": {"validation_share": 0.1}, "unknowns": {"held_out_share": 0.05}}
    sized = lambda: size_in_run(tmp_path, DATA, config, 5)  # noqa: E731
    assert sized() == fold_size(1000, 0, 10, 5, 0.1, 0.05)
    for name in ("records", "labels"):
        (tmp_path / name).mkdir()
    write_json(tmp_path / "records" / "summary.json", {"records_known": 600, "records_kept": 700})
    write_json(tmp_path / "labels" / "label_map.json", {"label2id": {"a": 0, "b": 1, "c": 2}})
    assert sized() == fold_size(600, 100, 3, 5, 0.1, 0.05)
    assert size_in_run(tmp_path, DATA, config, 5, per_base=True).rows == 1000


def counted(folder, split, kept=200_000, labels=3_000):
    """Write what estimates read of a run of 200,000 known records, its parts ``split``."""
    for name in ("records", "labels"):
        (folder / name).mkdir()
    summary = {"records_known": 200_000, "records_kept": kept, "split": split}
    write_json(folder / "records" / "summary.json", summary)
    write_json(folder / "labels" / "label_map.json", {"label2id": {str(i): i for i in range(labels)}})
    return folder


def test_of_a_given_split_the_parts_are_those_that_were_counted(tmp_path):
    large, split = DataSize(200_000, 130_000_000, 700), {"train": 160_000, "validation": 20_000, "test": 20_000}
    config = {"split": {"validation_share": 0.1}, "unknowns": {"held_out_share": 0.0}}
    run = counted(tmp_path, split)
    found = size_in_run(run, large, config, 1)
    assert found == FoldSize(200_000, 160_000, 20_000, 40_000, 3_000)
    # Three experts: 6 bytes of 3 x 1.2e8 scores, 45 of 3 x 6e7; 500 MB, 43 bytes of each base, 2 kB of each record.
    three = {"naive_bayes": {}, "kmer_top_hit": {}, "vsearch_top_hit": {}}
    assert job_needs.saving_engine(three, 0, large, found, 1).mem_mb == 17_000  # 2160 + 8100 + 500 + 5590 + 400
    # A regression learns from all 200,000, once: 1 x (720 + 2700) + 6490 + 32 x 4096 x 3000 + 10 x 6e8, and 1 GiB.
    alone = {"logistic_regression": {}}
    assert job_needs.saving_engine(alone, 0, large, found, 1).mem_mb == 17_500  # 17,377
    assert job_needs.judging(found).mem_mb == 3_500  # 500 + 25 x 1.2e8
    # A column that was taken out of use since then says nothing of folds.
    assert size_in_run(run, large, config, 5) == fold_size(200_000, 0, 3_000, 5, 0.1)


def test_of_a_given_split_what_is_not_in_its_parts_is_added(tmp_path):
    # Without validation records a tenth of training is set aside; 1,000 are unknown, 2,000 of all held out.
    split = {"train": 180_000, "validation": 0, "test": 20_000}
    config = {"split": {"validation_share": 0.1}, "unknowns": {"held_out_share": 0.01}}
    found = size_in_run(counted(tmp_path, split, kept=201_000, labels=9), DATA, config, 1)
    assert found == FoldSize(200_000, 180_000, 18_000, 18_000 + 20_000 + 1_000 + 2_000, 9)


# marine_mix of docs/benchmarks.md, and what its jobs took: MB at most, and seconds of a CPU.
MARINE = DataSize(23_768, 21_992_910, 2464)
OF_MARINE = fold_size(20_225, 3_543, 3_023, 5, 0.1)
PAIR = {"naive_bayes": {}, "kmer_top_hit": {}}
MEASURED = {
    "majority": (463, 2, lambda fold, _: job_needs.baseline("majority", {}, MARINE, fold)),
    "naive_bayes": (860, 10, lambda fold, _: job_needs.baseline("naive_bayes", {}, MARINE, fold)),
    "kmer_top_hit": (1054, 15, lambda fold, _: job_needs.baseline("kmer_top_hit", {}, MARINE, fold)),
    "vsearch_top_hit": (637, 253, lambda fold, _: job_needs.baseline("vsearch_top_hit", {}, MARINE, fold)),
    "logistic_regression": (
        1269,
        302,
        lambda _, more: job_needs.baseline("logistic_regression", {"epochs": 30 * more}, MARINE, OF_MARINE),
    ),
    "evaluate": (723, 15, lambda fold, _: job_needs.judging(fold)),
    "combine": (1234, 14, lambda fold, _: job_needs.pooling(fold, 2)),
    "package_engine": (2695, 97, lambda fold, _: job_needs.saving_engine(PAIR, 0, MARINE, fold, 5)),
    "distances": (
        1336,
        44,
        lambda _, more: job_needs.comparing(DataSize(more * 23_768, more * MARINE.bases, 2464), 23_768, 1),
    ),
}


@pytest.mark.parametrize("job", MEASURED)
def test_memory_is_what_was_measured_and_half_as_much_again(job):
    measured, _, needs = MEASURED[job]
    assert 1.5 * measured <= needs(OF_MARINE, 1).mem_mb <= max(4 * measured, 1000)


def test_memory_of_judging_so_many_and_of_a_model_with_so_many_names():
    # 24,000 x 3,200 judged: 1.36 GiB. nt-mini on marine_mix: 3,216 MiB, and 2,500 MB for few names.
    assert 1.5 * 1460 <= job_needs.judging(FoldSize(0, 0, 0, 24_000, 3_200)).mem_mb <= 4 * 1460
    settings = model_settings({"epochs": 1}, resources={"gpu": 0, "nodes": 1, "threads": 1})
    mini = builtin_size({})
    few, many = (job_needs.training(settings, mini, MARINE, 5, cells=c).mem_mb for c in (0, OF_MARINE.cells))
    assert few <= 3000 and 1.5 * 3372 <= many <= 4 * 3372


@pytest.mark.parametrize("job", [name for name in MEASURED if name != "majority"])
def test_time_is_what_was_measured_and_half_as_much_again(job):
    # Of a thousand times as much, for minutes are rounded and 20 are given to every job.
    _, seconds, needs = MEASURED[job]
    large = replace(OF_MARINE, scored=1000 * OF_MARINE.scored, validation=1000 * OF_MARINE.validation)
    found = (needs(large, 1000).runtime - 20) * 60 / 1000
    assert 1.5 * seconds <= found <= 4.5 * seconds


def test_small_data_keep_what_was_always_asked_for():
    small = fold_size(60, 2, 5, 2, 0.2)
    fixed = {"baseline": (4000, 120), "distances": (6000, 120), "package_engine": (4000, 120)}
    for job, least in {**fixed, "combine": (4000, 60), "evaluate": (4000, 60)}.items():
        names = {"baseline": "majority"}
        needs = MEASURED[names.get(job, job)][2](small, 1) if job != "distances" else job_needs.comparing(DATA, 50, 2)
        assert job_needs.at_least(job, needs) == Needs(*least, 0)


def test_every_baseline_has_its_needs_with_its_own_k():
    from dnatune.baselines import METHODS
    from dnatune.config import load_schema
    from dnatune.tasks import TASKS, task

    listed = load_schema()["properties"]["baselines"]["properties"]["methods"]["items"]["enum"]
    assert set(job_needs.WAYS) == set(listed)
    for name, kind in itertools.product(job_needs.WAYS, TASKS):
        if name in task(kind).baselines:
            assert task(kind).baseline(name).defaults.get("k", 0) == job_needs.WAYS[name].k
    for name, method in METHODS.items():
        if method.grid:
            way = job_needs.WAYS[name]
            tried = {values for values in itertools.product(*method.grid.values())}
            assert (way.tried, way.longest) == (len(tried), max(method.grid.get("k", (0,))))


def test_a_baseline_that_is_tuned_or_given_longer_k_mers_needs_more():
    plain = job_needs.baseline("logistic_regression", {}, MARINE, OF_MARINE)
    tuned = job_needs.baseline("logistic_regression", {}, MARINE, OF_MARINE, tuned=True)
    longer = job_needs.baseline("logistic_regression", {"k": 7}, MARINE, OF_MARINE)
    # Four times the weights of 3,023 classes: 32 x 3 x 4,096 x 3,023 bytes more, and the features.
    assert longer.mem_mb - plain.mem_mb == pytest.approx(3 * (32 * 4096 * 3023 + 4 * 16_180 * 4096) / 1e6, abs=600)
    assert tuned.mem_mb == longer.mem_mb and tuned.runtime > 8 * plain.runtime
    two = job_needs.baseline("vsearch_top_hit", {}, MARINE, replace(OF_MARINE, scored=1e6), threads=2)
    one = job_needs.baseline("vsearch_top_hit", {}, MARINE, replace(OF_MARINE, scored=1e6))
    assert two.runtime - 20 == pytest.approx((one.runtime - 20) / 2, abs=10)
    # Of bases, a sample is learnt from.
    genes = fold_size(5000, 0, 4, 5, 0.1, rows=3000)
    context = job_needs.baseline("context_logistic_regression", {}, DataSize(5000, 15_000_000, 9000), genes)
    assert context.mem_mb < 4000 and context.runtime < 120


def test_naming_and_packaging_count_the_scores():
    few, many = (job_needs.searching(DATA, MARINE, outputs, 2).mem_mb for outputs in (10, 100_000))
    assert many - few == pytest.approx(27 * 2 * 1000 * 99_990 / 1e6, abs=600)
    probe = settings("probe", gpu=1)
    with_scores = job_needs.applying(probe, ROUND, DATA, cells=1e8).mem_mb
    assert with_scores - job_needs.applying(probe, ROUND, DATA).mem_mb == pytest.approx(12_000, abs=600)
    # Five folds: 6 bytes of 4.6e7 numbers, 25 of those of validation.
    more = job_needs.packaging(ROUND, 1, OF_MARINE, 5).mem_mb - job_needs.packaging(ROUND, 1).mem_mb
    assert more == pytest.approx(5 * (6 * OF_MARINE.cells + 25 * OF_MARINE.validation_cells) / 1e6, abs=600)


def test_the_smallest_card_that_is_enough():
    cards = {"a100": 80_000, "t4": 15_000, "a30": 24_000}
    assert [job_needs.smallest_card(cards, n) for n in (900, 15_000, 15_001, 200_000)] == ["t4", "t4", "a30", "a100"]
    assert job_needs.smallest_card({}, 900) is None


@pytest.mark.parametrize(
    "overrides", [{}, {"hidden_size": 64, "num_hidden_layers": 2}, {"k": 4}, {"overlapping": True}]
)
def test_the_builtin_size_is_that_of_the_model(overrides):
    from dnatune import tuning

    model = tuning.base_model(model_settings(backbone_config=overrides), {"a": 0, "b": 1}, 0)
    assert builtin_size(overrides).parameters == pytest.approx(sum(p.numel() for p in model.parameters()), rel=0.03)


@pytest.mark.parametrize(("kind", "bases"), [("nt", 6), ("bert", 4), ("gpt2", 4)])
def test_a_folders_size_is_that_of_the_model(tmp_path, kind, bases):
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    folder = write_nt(tmp_path / "m") if kind == "nt" else write_generic(tmp_path / "m", kind)
    auto = AutoModelForCausalLM if kind == "gpt2" else AutoModelForMaskedLM
    model = auto.from_pretrained(folder)
    counted = sum(p.numel() for p in model.parameters())
    found = folder_size(folder)
    assert found.parameters == pytest.approx(counted, rel=0.02)
    assert (found.width, found.layers, found.bases) == (32, 1, bases)
    # The same weights as a .bin file, of which only the size is looked at.
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(bytes(4 * counted))
    assert folder_size(folder).parameters == counted


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("InstaDeepAI/nucleotide-transformer-2.5b-multi-species", 2_500_000_000),
        ("InstaDeepAI/nucleotide-transformer-v2-50m-multi-species", 50_000_000),
        ("RaphaelMourad/Mistral-DNA-v1-17M-hg38", 17_000_000),
        ("zhihan1996/DNABERT-2-117M", 117_000_000),
        ("genbio-ai/AIDO.DNA-7B", 7_000_000_000),
        ("zhangtaolab/plant-dnagpt-6mer", UNKNOWN),
        ("bioscan-ml/BarcodeBERT", UNKNOWN),
    ],
)
def test_a_name_tells_the_size_until_the_files_are_here(name, parameters, tmp_path):
    found = named_size(name)
    assert found.parameters == parameters
    assert 12 * found.layers * found.width**2 == pytest.approx(parameters, rel=0.01)
    asked = {**model_settings(backbone=name)}
    assert model_size(asked, tmp_path / "main.json") == found
    folder = write_nt(tmp_path / "commit")
    write_json(tmp_path / "main.json", {"repository": name, "commit": "c", "folder": "commit", "files": []})
    assert model_size(asked, tmp_path / "main.json") == folder_size(folder)
    (folder / "model.safetensors").write_bytes(b"cut")
    assert model_size(asked, tmp_path / "main.json") == found, "the job that loads it says what is wrong"


def test_fasta_is_scaled_up_from_its_beginning(tmp_path):
    records = [f">seq{i:06d} of a species\n{'ACGT' * 60}\n{'ACG' * (10 + i % 30)}\n" for i in range(20_000)]
    text = "".join(records)
    bases = sum(240 + 3 * (10 + i % 30) for i in range(20_000))
    (tmp_path / "a.fasta").write_text(text)
    with gzip.open(tmp_path / "a.fasta.gz", "wt") as handle:
        handle.write(text)
    (tmp_path / "b.fasta.gz").write_bytes(
        b"".join(gzip.compress("".join(records[i : i + 500]).encode()) for i in range(0, 20_000, 500))
    )
    for name in ("a.fasta", "a.fasta.gz", "b.fasta.gz"):
        found = data_size(tmp_path / name)
        assert found.sequences == pytest.approx(20_000, rel=0.02), name
        assert found.bases == pytest.approx(bases, rel=0.02), name
        assert found.longest == 240 + 3 * 39
    (tmp_path / "small.fasta").write_text(">a\nACGT\nAC\n>b\nACG\n")
    assert data_size(tmp_path / "small.fasta") == DataSize(2, 9, 6)


def test_asking_needs_no_torch():
    code = "import sys; import dnatune.job_needs, dnatune.model_size; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, check=False).returncode == 0
