"""A training job as a script of its own, which several processes run: python shared_job.py FOLDER SETTINGS [TROUBLE].

Writes history.tsv, logits.npy and run.json into FOLDER. TROUBLE makes the last process misbehave.
"""

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from dnatune import distributed, files, tuning
from dnatune.callbacks import Progress
from dnatune.errors import UserError
from dnatune.job import job
from small_fold import fit, tokens_for


def trouble(kind):
    """Let something go wrong at step 7."""

    def happens(self, args, state, control, **kwargs):
        if state.global_step == 7:
            if kind == "all killed":
                os._exit(9)
            if kind == "one stuck" and distributed.rank() == 0:
                (folder / "pids").write_text(str(os.getpid()))
                time.sleep(600)
            if kind == "one dies" and distributed.rank():
                os._exit(9)

    Progress.on_step_end = happens


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    with job(SimpleNamespace(log=[str(folder / "log")])), distributed.processes(0):
        (folder / f"pid_{distributed.rank()}").write_text(str(os.getpid()))
        trouble(sys.argv[3] if len(sys.argv) > 3 else "")
        if "all refuse" in sys.argv:
            raise UserError("One sentence.")
        trained, scores, run = fit(folder / "checkpoints", settings, tokens_for(settings))
        distributed.others_end_here()
        tuning.save(trained.model, folder / "weights", settings["tuning"])
        files.write_tsv(folder / "history.tsv", trained.history)
        files.write_json(folder / "run.json", run)
        np.save(folder / "logits.npy", scores.logits)
