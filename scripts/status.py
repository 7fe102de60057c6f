"""Show how a run stands: each fold of each model, everything else in a line, and why what failed did.

    python scripts/status.py results/fish-coi
    python scripts/status.py --configfile my.yaml --watch 10

Reads files alone, so it never disturbs the run, and works from any machine that sees them. On a SLURM cluster it also
asks squeue, once and not for long.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

import yaml

from dnatune.errors import UserError
from dnatune.run_folder import PLAN, read_json
from dnatune.run_queue import NOT_ASKED, queue_of
from dnatune.run_status import status_of
from dnatune.status_table import text_of

FROM_THE_TOP = "\033[H\033[J"


def arguments() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="the run's folder; without it the newest under results/")
    parser.add_argument("--configfile", type=Path, help="the run's configuration, instead of its folder")
    parser.add_argument("--watch", type=float, metavar="SECONDS", help="on a terminal: look again and again")
    parser.add_argument("--no-queue", action="store_true", help="do not ask SLURM")
    return parser.parse_args()


def run_folder(options: argparse.Namespace) -> Path:
    """Return the folder of the run that is asked for."""
    if options.folder:
        return options.folder
    if options.configfile:
        try:
            config = yaml.safe_load(options.configfile.read_text("utf-8"))
            return Path(config.get("results_folder", "results"), str(config["name"]))
        except (OSError, KeyError, AttributeError, yaml.YAMLError) as reason:
            raise UserError(
                f"File {options.configfile}: found no configuration ({type(reason).__name__}), expected one that has "
                "a name; give the run's folder instead."
            ) from None
    plans = sorted(Path("results").glob(f"*/{PLAN}"), key=lambda path: path.stat().st_mtime)
    if not plans:
        raise UserError("Folder results: found no run that was started; name the run's folder, or its --configfile.")
    return plans[-1].parents[1]


def look(folder: Path, options: argparse.Namespace) -> None:
    """Print how the run stands; when watched, from the top of the screen and not longer than it."""
    queue = NOT_ASKED if options.no_queue else queue_of(read_json(folder / PLAN), limit=5)
    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    status = status_of(folder, queue)
    text = text_of(status, color)
    if options.watch:
        height = shutil.get_terminal_size().lines
        if text.count("\n") >= height:
            text = text_of(status, color, brief=True)
        lines = text.splitlines()
        text = FROM_THE_TOP + "\n".join(lines if len(lines) < height else [*lines[: height - 2], "..."]) + "\n"
    print(text, end="", flush=True)


def main() -> None:
    """Look once, or until Ctrl-C."""
    options = arguments()
    folder = run_folder(options)
    if not sys.stdout.isatty():
        options.watch = None
    look(folder, options)
    while options.watch:
        time.sleep(max(1.0, options.watch))
        look(folder, options)


if __name__ == "__main__":
    try:
        main()
    except UserError as mistake:
        sys.exit(f"Error: {mistake}")
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(0)
