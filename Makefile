# The commands a newcomer needs. Everything lives in .venv/ and results/, both ignored by git.
SHELL := /bin/bash
PYTHON ?= python3
CONFIG ?= jobs/configs/digits.yaml
export STRSWEEP_RESULTS ?= $(CURDIR)/results
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help install quickstart docs picture service unit test test-all soak check bench bench-step bench-gpu bench-search bench-start bench-setups \
    bench-methods bench-onset bench-landing bench-ablation bench-lowrank bench-scale format ui clean
BENCH := PYTHONPATH=jobs python -m benchmarks
DEVICE ?= cpu
SEEDS ?= 9
PEER_SEEDS ?= 3

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: .venv/installed ## make .venv with the exact versions the tests ran on

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed: make PYTHON=python3.11")'
	@echo "making .venv, and installing torch, Ray, MLflow and the tools of the tests into it: a few minutes"
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

quickstart: install ## sweep digits to 80, 90, 95 and 98 % sparsity on a Ray of its own
	infra/local_ray.sh run ray job submit --working-dir . \
	    --runtime-env-json '{"env_vars": {"STRSWEEP_RESULTS": "$(STRSWEEP_RESULTS)"}}' \
	    -- python jobs/sweep.py --config $(CONFIG)

docs: install ## the pages of docs/ as a site in results/docs; every link is checked
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

picture: install ## docs/images/quickstart.svg, from a quickstart that is run for it
	rm -rf results/picture
	STRSWEEP_RESULTS=$(CURDIR)/results/picture $(MAKE) --no-print-directory quickstart | tee results/quickstart.log
	python docs/picture.py results/quickstart.log docs/images/quickstart.svg

service: install ## MLflow with passwords, on PostgreSQL and an S3 server; infra/local_service.sh stop ends it
	infra/local_service.sh start

unit: install ## a minute: the tests that need neither Ray nor long training
	tests/run.sh --unit

test: install ## run the tests but those that take long
	tests/system_packages.sh
	tests/run.sh

test-all: install ## also separate hosts, the service under faults, runs on S3 that crashes, the browser; needs root
	tests/system_packages.sh
	tests/run.sh --all

soak: install ## sweeps back to back for 20 minutes while anything may die; STRSWEEP_SOAK_SEED chooses what
	STRSWEEP_SOAK_MINUTES=20 tests/run.sh tests/service/test_soak.py -rP

check: install ## formatting, lint, spelling and types, as CI does
	ruff format --check .
	ruff check .
	codespell
	pyright

bench: bench-step bench-search bench-start bench-setups bench-methods bench-onset bench-landing bench-ablation bench-lowrank bench-scale ## all that is measured

bench-step: install ## cost of an STR step beside a dense one; DEVICE=cuda on a GPU
	$(BENCH).step --device $(DEVICE)

bench-gpu: install ## on a GPU: steps, kernels, images per second, and a second compiled run
	$(BENCH).gpu

bench-search: install ## what it takes to hit five sparsities, beside other searches; an hour, SEEDS=1 is quick
	$(BENCH).search --seeds $(SEEDS) --peer-seeds $(PEER_SEEDS)

bench-start: install ## how long runs wait for their first epoch, in lanes and in bare Ray
	$(BENCH).start

bench-setups: install ## sweeps with auto everywhere that nothing was tuned for
	$(BENCH).setups

bench-methods: install ## accuracy and multiply-adds of all methods at equal sparsity; an hour
	$(BENCH).methods --seeds $(SEEDS)

bench-onset: install ## when thresholds should begin to act
	$(BENCH).onset

bench-landing: install ## how far landing is harmless, and how many images it needs
	$(BENCH).landing

bench-ablation: install ## what every fitted number is worth, on recorded runs
	$(BENCH).ablation

bench-lowrank: install ## learned ranks beside preset ones and unstructured sparsity, on speech; an hour a core
	$(BENCH).lowrank

bench-scale: install ## a thousand runs that take no time, through Ray Tune, journal and MLflow
	infra/local_ray.sh run env PYTHONPATH=jobs python -m benchmarks.scale

format: install ## mend what can be mended
	ruff format .
	ruff check --fix .

ui: install ## MLflow on 127.0.0.1:5000 with everything under results/
	mlflow ui --host 127.0.0.1 --port 5000 --backend-store-uri "sqlite:///$(STRSWEEP_RESULTS)/mlflow.db"

clean: ## remove what make wrote: .venv/, results/ and caches
	infra/local_ray.sh stop
	infra/local_service.sh stop
	rm -rf .venv results .coverage* .pytest_cache .ruff_cache .hypothesis
