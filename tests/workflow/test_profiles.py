"""Profiles: each loads in a dry run, names rules that exist, and asks the scheduler for what jobs need."""

import importlib.util
import json
import logging
import math
import os
import re
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from stub_slurm import StubSlurm
from workflow_runs import Run, configuration, environment, model, simulate, write_inputs

ROOT = Path(__file__).parents[2]
PROFILES = sorted(path.parent.name for path in (ROOT / "profiles").glob("*/profile.yaml"))


def snakemake(*arguments: str) -> subprocess.CompletedProcess:
    """Run Snakemake in the repository's root without touching anything."""
    command = [sys.executable, "-m", "snakemake", "--nolock", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


# What Snakemake itself says of each rule: whether its jobs run where Snakemake runs.
SAY_WHERE = """
import json
from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings

with SnakemakeApi(OutputSettings()) as api:
    given = (ResourceSettings(), ConfigSettings())
    read = api.workflow(*given, snakefile=Path("Snakefile"), workdir=Path.cwd())._workflow
    print(json.dumps({rule.name: rule.norun or rule.name in read._localrules for rule in read.rules}))
"""


@lru_cache
def rules() -> dict[str, bool]:
    """Return the names of all rules, and whether each is local."""
    done = subprocess.run([sys.executable, "-c", SAY_WHERE], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def queued() -> tuple[str, ...]:
    """Return the rules whose jobs go to the cluster."""
    return tuple(sorted(name for name, local in rules().items() if not local))


@pytest.mark.parametrize("name", PROFILES)
def test_profile_loads_in_a_dry_run(name):
    settings = yaml.safe_load((ROOT / "profiles" / name / "profile.yaml").read_text())
    executor = settings.get("executor")
    plugin = f"snakemake_executor_plugin_{executor}"
    if executor and importlib.util.find_spec(plugin) is None:
        pytest.skip(f"the executor plugin {executor} is not installed")
    done = snakemake("-n", "--quiet", "rules", "--workflow-profile", f"profiles/{name}")
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("name", PROFILES)
def test_profile_names_rules_that_exist(name):
    # Snakemake ignores a misspelt rule under set-resources without a word, and underscored keys too.
    settings = yaml.safe_load((ROOT / "profiles" / name / "profile.yaml").read_text())
    assert set(settings.get("set-resources", {})) | set(settings.get("set-threads", {})) <= set(rules())
    assert not [key for key in settings if "_" in key and not key.startswith("__")]


def test_there_is_no_default_profile():
    # It would be loaded by itself and silently replace keys of the others.
    assert not (ROOT / "profiles" / "default").exists()


def test_every_rule_says_what_it_does_and_needs():
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for block in path.read_text().split("\nrule ")[1:]:
            directives = {line.strip() for line in block.splitlines() if line.startswith("    ")}
            name = block.split(":")[0]
            wanted = {"log:", "benchmark:", "conda:", "resources:", "message:"}
            assert wanted <= directives, (name, wanted - directives)
            assert "threads:" in block and "mem_mb=" in block and "runtime=" in block, name


@pytest.mark.skipif(not shutil.which("snakefmt"), reason="snakefmt is not installed")
def test_rules_are_formatted():
    done = subprocess.run(["snakefmt", "--check", "Snakefile", "workflow"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0


def test_the_profile_slurm_is_found_by_its_name_alone():
    assert (ROOT / "slurm").resolve() == ROOT / "profiles" / "slurm"
    assert (ROOT / "slurm" / "profile.yaml").is_file()


def test_one_snakemake_leaves_the_log_folders_that_jobs_of_another_wait_for(tmp_path):
    """At its end Snakemake's plugin removes empty folders of logs; SLURM fails a job whose log it cannot write."""
    slurm = pytest.importorskip("snakemake_executor_plugin_slurm")
    days = yaml.safe_load((ROOT / "profiles" / "slurm" / "profile.yaml").read_text())[
        "slurm-delete-logfiles-older-than"
    ]
    waiting = tmp_path / "rule_train" / "nt_0"
    waiting.mkdir(parents=True)
    asked = SimpleNamespace(delete_logfiles_older_than=days, keep_successful_logs=False)
    workflow = SimpleNamespace(executor_settings=asked)
    slurm.Executor.clean_old_logs(SimpleNamespace(workflow=workflow, slurm_logdir=tmp_path, logger=logging.getLogger()))
    assert waiting.is_dir()


def test_retries_are_in_profiles_only():
    # In a rule they would repeat the job within the allocation that was too small.
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        assert "retries:" not in path.read_text()


@pytest.mark.parametrize(("listed", "allowed", "expected"), [(2, None, 2), (0, None, 0), (4, "1,3", 2), (4, "", 0)])
def test_the_gpu_profile_counts_the_gpus(tmp_path, listed, allowed, expected):
    from snakemake.profiles import ProfileConfigFileParser

    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n" + "".join(f"echo 'GPU {i}: NVIDIA (UUID: GPU-{i})'\n" for i in range(listed)))
    tool.chmod(0o755)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", str(tmp_path))
        patched.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if allowed is not None:
            patched.setenv("CUDA_VISIBLE_DEVICES", allowed)
        with open(ROOT / "profiles" / "gpu" / "profile.yaml") as profile:
            assert ProfileConfigFileParser().parse(profile)["resources"] == [f"gpu={expected}"]


def test_metrics_and_pages_are_made_where_snakemake_runs():
    # A rule that is made of another one (use rule ... with) does not inherit localrule.
    assert set(queued()) == {
        *("tokens", "embeddings", "train", "refit", "reference", "package", "package_engine", "name_query"),
        *("baseline", "train_on_part", "baseline_on_part", "distances", "embed_records"),
    }


needs_plugin = pytest.mark.skipif(
    not importlib.util.find_spec("snakemake_executor_plugin_slurm"), reason="no executor plugin"
)


def prepared(folder: Path, models: dict, **sections) -> Run:
    """Return a run of ``models``, of which nothing is made yet."""
    config = configuration(
        write_inputs(folder / "input", simulate(of_each=4)),
        models=models,
        packaging={"mode": "refit", "models": list(models)},
        baselines={"methods": ["majority"]},
        query=str(folder / "input" / "sequences.fasta"),
        **sections,
    )
    return Run(folder / "work", config)


def asked(
    run: Run,
    targets: list[str],
    queued: tuple[str, ...],
    refused: str | None = None,
    records: int = 60,
    labels: int = 5,
) -> list:
    """Return how sbatch is called for the jobs of the rules ``queued``, which lead to ``targets``.

    The cluster refuses the job ``refused`` twice. The run has so many records and labels.
    """
    listed = run.snakemake("--summary", "--nolock", *targets).stdout
    assert "train" in listed, listed
    outputs = [run.directory / line.split("\t")[0] for line in listed.splitlines() if line.startswith("results/")]
    models = run.config["models"]
    jobs = [f"{k}/{name}" for k in ("refit", "reference", "package", "vectors", "embeddings") for name in models]
    jobs += [f"{kind}/fold_{k}" for kind in ("baselines/majority", *(f"train/{m}" for m in models)) for k in range(2)]
    jobs += [f"learning_curve/50_percent/{kind}/fold_0" for kind in ("baselines/majority", "train/one")]
    jobs += ["distances", "package/engine"]
    jobs += ["predictions/sequences", *(f"tokens/{path.name}" for path in outputs if path.parent.name == "tokens")]
    outputs += [run.results / "benchmarks" / f"{job}.tsv" for job in jobs]
    for path in outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch() if path.suffix else path.mkdir(exist_ok=True)
    # What estimates read of a run.
    counted = {"records_known": records, "records_kept": records}
    (run.results / "records" / "summary.json").write_text(json.dumps(counted))
    named = {"label2id": {str(i): i for i in range(labels)}}
    (run.results / "labels" / "label_map.json").write_text(json.dumps(named))
    slurm = StubSlurm(run.directory.parent / "slurm", outputs)
    if refused:
        slurm.fail(refused, 2)
    done = subprocess.run(
        [
            *run.command("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5"),
            *("--forcerun", *queued, "--allowed-rules", *queued, "--", *targets),
        ],
        cwd=ROOT,
        env={**environment(), "PATH": f"{slurm.bin}{os.pathsep}{environment()['PATH']}"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return slurm.submitted()


def sizes(partition: str, mem: int, minutes: int) -> list[str]:
    return ["--parsable", "--export=ALL", "-p", partition, "-t", str(minutes), "--mem", str(mem)]


def cpu(partition: str, mem: int, minutes: int, threads: int = 1) -> list[str]:
    return [*sizes(partition, mem, minutes), "--requeue", "--ntasks=1", f"--cpus-per-task={threads}"]


def gpu(gpus: int | str, mem: int, minutes: int, threads: int) -> list[str]:
    head = [*sizes("gpu", mem, minutes), "--nodes=1", "--requeue"]
    tail = [f"--cpus-per-task={threads}"]
    return [*head, *tail, f"--gpus={gpus}"] if gpus else [*head, "--ntasks=1", *tail]


def trains(gpus: int, mem: int, minutes: int, threads: int) -> list[str]:
    # Told before its time is over, so that it can save a checkpoint.
    call = gpu(gpus, mem, minutes, threads)
    place = call.index(f"--cpus-per-task={threads}") + 1
    return [*call[:place], "--signal=TERM@120", *call[place:]]


def on_nodes(nodes: int, call: list[str], gres: str) -> list[str]:
    # A task for each node, and as many GPUs on one as on another.
    call = [f"--nodes={nodes}" if argument == "--nodes=1" else argument for argument in call]
    call.insert(call.index("--requeue") + 1, f"--ntasks={nodes}")
    return [*call[:-1], f"--gres={gres}", call[-1]]


@needs_plugin
def test_sbatch_is_asked_for_what_each_rule_needs(tmp_path):
    resources = {"threads": 2, "mem_mb": 900, "runtime": 30}
    models = {
        "one": {**model(), "resources": resources},
        "four": {**model(), "resources": {**resources, "threads": 8, "gpu": 4}},
        "none": {**model("probe"), "resources": {**resources, "gpu": 0}},
        # Nothing said: estimated.
        "small": model(),
        "pair": {**model(), "resources": {"gpu": 2}},
        "apart": {**model(), "resources": {**resources, "gpu": 4, "nodes": 2}},
        "frozen": model("probe"),
        "slow": {**model(epochs=2_000_000), "resources": {"gpu": 0}},
    }
    run = prepared(tmp_path, models, engine={"experts": ["one", "majority"]})
    targets = ["predictions/sequences.tsv", "difficulty/summary.json"]
    targets += [f"learning_curve/50_percent/{kind}/fold_0/run.json" for kind in ("models/one", "baselines/majority")]
    targets = [run.file(name) for name in (*targets, *(f"vectors/{name}.parquet" for name in models))]
    calls = asked(run, targets, queued(), "rule_train_wildcards_one_0")
    assert {call.removeprefix("rule_").split("_wildcards_")[0] for call, _ in calls} == set(queued())
    # By hand: with a few thousand parameters and 14 sequences a process takes its 2000 MB (3500 with CUDA), and half a
    # GB more at most; half an hour is the shortest. Two GPUs, two processes.
    said = {"one": (1, 900, 30, 2), "four": (4, 900, 30, 8), "none": (0, 900, 30, 2)}
    shortest = {"small": (1, 4000, 30, 1), "pair": (2, 7500, 30, 1), "frozen": (1, 2500, 30, 1)}
    training = {name: trains(*needs) for name, needs in {**said, **shortest}.items()}
    training["apart"] = on_nodes(2, trains(4, 900, 30, 2), "gpu:2")
    applying = {name: gpu(min(1, gpus), *rest) for name, (gpus, *rest) in said.items()}
    applying |= {name: gpu(1, 4000, 30, 1) for name in shortest} | {"apart": gpu(1, 900, 30, 2)}
    applying["slow"] = gpu(0, 2500, 30, 1)
    expected = [("rule_name_query_wildcards_sequences", gpu(1, 4000, 30, 1))]
    expected += [(f"rule_baseline_wildcards_majority_{k}", cpu("cpu", 4000, 120)) for k in range(2)]
    expected += [("rule_baseline_on_part_wildcards_50_percent_majority_0", cpu("cpu", 4000, 120))]
    expected += [("rule_train_on_part_wildcards_50_percent_one_0", trains(1, 900, 30, 2))]
    expected += [("rule_package_engine_wildcards_engine", cpu("cpu", 4000, 120))]
    expected += [("rule_distances", cpu("cpu", 6000, 120, threads=2))]
    expected += [(f"rule_embeddings_wildcards_{name}", applying[name]) for name in ("none", "frozen")]
    # On one thread of a CPU two million epochs take longer: not by hand, but by the formula.
    slow = [call for call in calls if re.match("rule_(train|refit)_wildcards_slow", call[0])]
    minutes = slow_minutes(run)
    assert minutes > 30
    assert [arguments for _, arguments in slow] == 3 * [trains(0, 2500, minutes, 1)]
    for name in models:
        if name in training:
            expected += [(f"rule_train_wildcards_{name}_{k}", training[name]) for k in range(2)]
            expected += [(f"rule_refit_wildcards_{name}", training[name])]
        expected += [(f"rule_embed_records_wildcards_{name}", applying[name])]
        memory = models[name].get("resources", {}).get("mem_mb", 2500)
        expected += [(f"rule_package_wildcards_{name}", cpu("cpu", memory, 30))]
        expected += [(f"rule_reference_wildcards_{name}", applying[name])]
    # The two attempts that the cluster refused: the next asks for more memory and time.
    expected += [("rule_train_wildcards_one_0", trains(1, 900 * n, 30 * n, 2)) for n in (2, 3)]
    tokens = [call for call in calls if call[0].startswith("rule_tokens")]
    assert [arguments for _, arguments in tokens] == [cpu("cpu", 2500, 30)]
    assert sorted(calls) == sorted([*expected, *tokens, *slow])


def slow_minutes(run: Run) -> int:
    """Return 20 minutes, and one and a half times the operations on a thread of 2e10 a second, in whole tens."""
    text = (run.directory.parent / "input" / "sequences.fasta").read_text()
    records = [part.split("\n", 1)[1].replace("\n", "") for part in text.split(">")[1:]]
    sizes = run.config["models"]["slow"]["backbone_config"]
    width, layers = sizes["hidden_size"], sizes["num_hidden_layers"]
    parameters = layers * (4 * width**2 + 2 * width * sizes.get("intermediate_size", 4 * width))
    mean = sum(map(len, records)) / len(records)
    # Forward and backward of two million epochs; scores of 10 + 10 % after each, then of 10 and 50 % in six frames.
    passes = 6 * 2_000_000 + 2 * (0.2 * 2_000_000 + 6 * (0.1 + 1 / 2))
    seconds = len(records) * (mean / 6 + 2) * parameters * passes / 2e10
    return math.ceil((20 + 1.5 * seconds / 60) / 10) * 10


@needs_plugin
def test_the_cluster_is_asked_for_the_smallest_card_that_is_enough(tmp_path):
    models = {
        "small": model(),
        "large": {**model(), "resources": {"gpu_mem_mb": 30_000, "gpu": 2}},
        "none": {**model(), "resources": {"gpu": 0}},
    }
    run = prepared(tmp_path, models, gpu_cards={"a100": 80_000, "t4": 15_000})
    targets = [run.file(f"models/{name}/fold_0/run.json") for name in models]
    found = dict(asked(run, targets, ("train",)))
    cards = [[a for a in found[f"rule_train_wildcards_{name}_0"] if a.startswith("--gpus")] for name in models]
    assert cards == [["--gpus=t4:1"], ["--gpus=a100:2"], []]


@needs_plugin
def test_the_cluster_is_asked_for_more_where_there_is_more_data(tmp_path):
    run = prepared(tmp_path, {"full": model()}, engine={"experts": ["full", "majority"]})
    targets = [run.file(name) for name in ("baselines/majority/fold_0/run.json", "final/engine")]
    queued = ("baseline", "package_engine")
    found = dict(asked(run, targets, queued, records=1_000_000, labels=5_000))
    # Each of two folds scores half and a fifth of the rest, 600,000: 500 MB, and 14 bytes for each of 3e9 numbers.
    assert found["rule_baseline_wildcards_majority_0"] == cpu("cpu", 43_000, 120)
    # Two experts and two folds: 4 x (6 x 3e9 numbers + 45 x 100,000 x 5000 of validation).
    (engine,) = [call for name, call in found.items() if name == "rule_package_engine_wildcards_engine"]
    assert int(engine[engine.index("--mem") + 1]) == pytest.approx(72_000 + 90_000, abs=1500)
    assert int(engine[engine.index("-t") + 1]) == pytest.approx(20 + 1.5 * 3e-6 * 2e9 / 60, abs=10)
