# Two commands do it all: `make lab` opens the class, `make test` proves the kit. CI runs the same.
.PHONY: setup lab down dev test parity check labs slides bench

python := .venv/bin/python
workshop := .venv/bin/workshop

setup:            ## system packages (if missing), .venv, pinned Python packages
	@slurm_env/setup.sh setup

lab:              ## setup, then corpus, class cluster, JupyterLab; prints the link
	@slurm_env/setup.sh lab

down:             ## stop the class cluster and everything it started
	@if [ -x $(workshop) ]; then $(workshop) down; else echo "Nothing was set up here."; fi

dev:              ## setup, and what the tests and checks need
	@slurm_env/setup.sh dev

test: dev         ## every test, clusters beside what computes; the tests start and stop their own
	@$(python) -m pytest tests -n 2 --no-loadscope-reorder

parity: dev       ## the proofs of parallel training alone; prints their tables
	@$(python) -m pytest tests/parity

check: dev        ## format, lint (notebooks too), types, layers
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/pyright
	@.venv/bin/lint-imports

labs: dev         ## build the notebooks from their text, run each on a cluster, say so in FRESHNESS.md
	@$(python) labs/build.py
	@$(python) -m pytest tests/labs tests/browser
	@$(python) labs/freshness.py

slides: dev      ## the lectures as pages that need no network, and as PDF
	@$(python) -m slides.notebook
	@$(python) -m slides.build

bench: dev        ## cluster, trainer, profiler, advisor, planner: ratios to limits, peers and promises
	@$(python) -m tests.benchmarks.cluster
	@$(python) -m tests.benchmarks.trainer
	@$(python) -m tests.benchmarks.profiling
	@$(python) -m tests.benchmarks.advisor
	@$(python) -m tests.benchmarks.scaling
	@$(python) -m tests.benchmarks.planner
	@$(python) -m tests.benchmarks.search
	@$(python) -m tests.benchmarks.forecast
	@$(python) -m tests.benchmarks.explorer
