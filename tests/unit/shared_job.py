"""Training jobs as a script of its own, which several processes run: python shared_job.py FOLDER SETTINGS [TROUBLE].

SETTINGS is a mapping of names to model settings; FOLDER/<name> gets weights, history.tsv, logits.npy and run.json.
TROUBLE lets something go wrong, in step 7 unless it says otherwise.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

import dnatune.offline  # noqa: F401 (before transformers)
from dnatune import distributed, files, tuning
from dnatune.callbacks import Progress
from dnatune.errors import UserError
from dnatune.job import job
from small_fold import fit, tokens_for


def trouble(self, args, state, control, **kwargs):
    """Take the place of what is called after each step."""
    if state.global_step == 7:
        if TROUBLE == "told" and distributed.rank() == distributed.size() - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        if "all killed" in TROUBLE or (TROUBLE == "one dies" and distributed.rank()):
            os._exit(9)
        if TROUBLE == "stuck":
            (FOLDER / f"stuck_{distributed.rank()}").touch()
            time.sleep(600)
        if TROUBLE == "one raises" and distributed.rank():
            raise RuntimeError("out of memory, say")


def shard_on_a_cpu():
    """Let accelerate take FSDP on a CPU, which it knows on GPUs alone."""
    from accelerate.state import DistributedType, PartialState

    PartialState._prepare_backend = lambda self, *a, **k: ("gloo", DistributedType.MULTI_GPU)


if __name__ == "__main__":
    torch.set_num_threads(1)
    FOLDER, TROUBLE = Path(sys.argv[1]), sys.argv[3] if len(sys.argv) > 3 else ""
    FOLDER.mkdir(parents=True, exist_ok=True)
    Progress.on_step_end = trouble
    with job(SimpleNamespace(log=[str(FOLDER / "log")])), distributed.processes(0):
        (FOLDER / f"pid_{distributed.rank()}").write_text(str(os.getpid()))
        if TROUBLE == "all refuse":
            raise UserError("One sentence.")
        if TROUBLE == "loads":
            (FOLDER / f"loads_{distributed.rank()}").touch()
            time.sleep(600)
        if TROUBLE.startswith("shard") and distributed.size() > 1:
            shard_on_a_cpu()
        for name, settings in json.loads(sys.argv[2]).items():
            trained, scores, run = fit(FOLDER / name / "checkpoints", settings, tokens_for(settings))
            if distributed.rank() == 0:
                tuning.save(trained.model, FOLDER / name / "weights", settings["tuning"])
                files.write_tsv(FOLDER / name / "history.tsv", trained.history)
                files.write_json(FOLDER / name / "run.json", run)
                np.save(FOLDER / name / "logits.npy", scores.logits)
        distributed.others_end_here()
