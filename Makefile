# make demo   sets itself up, runs the whole chain on the bundled example, prints where the report is
# make test   sets itself up, runs the tests
# make cluster   those on a throw-away SLURM cluster alone (needs Debian's slurmctld, slurmd, slurm-client, munge)
# make resume CONFIG=my.yaml   on a SLURM cluster: runs, or goes on with a run whose Snakemake died (docs/cluster.md)
# make status CONFIG=my.yaml   how each fold of a run stands; ARGS="--watch 10" looks again every 10 seconds
# make lint   style of Python, Snakemake rules and workflow
# make bench  timed claims, printed as tables (tests/bench/)
# make docs   writes config/README.md from the schema

PYTHON ?= python3
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
VENV := .venv
BIN := $(VENV)/bin
PIN := pyproject.toml constraints.txt
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: demo test cluster resume status lint bench docs clean
.DELETE_ON_ERROR:

demo: $(VENV)/.workflow
	$(RUN) snakemake --cores $(CORES) --quiet rules
	@echo
	@echo "Report: $(CURDIR)/results/example/report/report.html"
	@echo "Model:  $(CURDIR)/results/example/final/nt-mini"

test: $(VENV)/.dev
	$(RUN) pytest -n 3 --dist loadfile --no-loadscope-reorder

cluster: $(VENV)/.dev
	$(RUN) pytest tests/cluster

resume: $(VENV)/.slurm
	$(RUN) python scripts/resume_run.py --profile slurm $(if $(CONFIG),--configfile $(CONFIG)) $(ARGS)

# Sets nothing up: a look must not change what a run works with.
status:
	@$(RUN) python scripts/status.py $(if $(CONFIG),--configfile $(CONFIG)) $(ARGS)

lint: $(VENV)/.dev
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) snakefmt --check Snakefile workflow
	$(RUN) snakemake --lint

bench: $(VENV)/.dev
	$(RUN) python tests/bench/run_all.py

docs: $(VENV)/.workflow
	$(RUN) python scripts/write_config_reference.py

$(VENV)/.workflow: $(PIN)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dnatune needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@echo "Setting up $(VENV) (once, a few minutes) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip==26.3
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group workflow --constraint constraints.txt
	@touch $@

$(VENV)/.slurm: $(VENV)/.workflow
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group slurm --constraint constraints.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.workflow
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev --constraint constraints.txt
	@touch $@

clean:
	rm -rf $(VENV) .snakemake
