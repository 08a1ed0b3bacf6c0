# Two commands set everything up on a fresh machine with Python 3.11, 3.12 or 3.13: `make demo` and `make test`.
RUNS := -c "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1
# The newest of them that runs: a shim of a version that is not installed is on the path, and fails.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11; do \
	$$python $(RUNS) && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# One process a core; a folder of tests, with what it prepares, stays in one of them.
PARALLEL := -n 2 --dist loadgroup

.PHONY: help install demo test test-slow test-faults check format lint types docs clean

help:
	@echo "make demo         train a small network on digits, prune it, export it, report it (a few minutes)"
	@echo "make test         the test suite"
	@echo "make test-slow    the full-size checks as well"
	@echo "make test-faults  whole campaigns of wrong files, full disks and kills"
	@echo "make check        format, lint, types, tests"
	@echo "make docs         the documentation site, in site/"
	@echo "make clean        remove .venv and caches (runs/ stays)"

install: $(READY)

$(READY): requirements.txt requirements-detection.txt requirements-openvino.txt setup.py pyproject.toml
	@$(or $(PYTHON),false) $(RUNS) || { echo "error: $(or $(PYTHON),python3.11 to python3.13) does not run, is older than 3.11, or has no venv; install Python 3.11, 3.12 or 3.13, or set PYTHON=/path/to/python" >&2; exit 2; }
	@echo "Making $(VENV) with $(PYTHON) and installing the pinned packages: PyTorch is large, this takes a few minutes ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar off -r requirements.txt
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar off --no-deps -r requirements-detection.txt -r requirements-openvino.txt
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@
	@echo "Installed."

demo: $(READY)
	@echo "1/2  Training a PreResNet-20 on scikit-learn's digits: a checkpoint to start from"
	@$(BIN)/python tools/train.py recipes/width/preresnet20_digits_rarts.py --work-dir runs/demo_baseline --resume
	@echo "2/2  Pruning that checkpoint by 40 % of its channels"
	@$(BIN)/python tools/prune.py recipes/width/preresnet20_digits_rarts.py --checkpoint runs/demo_baseline \
		--pruning-ratio 0.4 --work-dir runs/demo --resume

test: $(READY)
	@$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not faults"

docs: $(READY)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar off -r requirements-docs.txt
	@NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/python -W ignore -m mkdocs build --strict --quiet
	@echo "Open site/index.html, or serve it: $(BIN)/python -m http.server --directory site"

test-slow: $(READY)
	@$(BIN)/python -m pytest $(PARALLEL) -m "not faults"

test-faults: $(READY)
	@$(BIN)/python -m pytest tests/faults -n 2 --dist loadfile

check: format lint types test

format: $(READY)
	@$(BIN)/ruff format .

lint: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(READY)
	@$(BIN)/mypy

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache *.egg-info
