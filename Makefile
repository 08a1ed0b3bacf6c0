# Two commands set everything up on a fresh machine with Python 3.11, 3.12 or 3.13: `make demo` and `make test`.
RUNS := -c "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1
# The newest of them that runs: a shim of a version that is not installed is on the path, and fails.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11; do \
	$$python $(RUNS) && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
MADE := $(VENV)/.made
READY := $(VENV)/.ready
COMPLETE := $(VENV)/.complete
# GPU=no, where no NVIDIA driver is found: PyTorch without NVIDIA's libraries, which take 4 GB.
GPU ?= $(if $(or $(wildcard /proc/driver/nvidia),$(shell command -v nvidia-smi)),yes,no)
CPU_WHEELS := https://download.pytorch.org/whl/cpu
# WHEELHOUSE=FOLDER: install from what `make wheelhouse` downloaded, without a network.
WHEELHOUSE ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --progress-bar off $(if $(WHEELHOUSE),--no-index --find-links $(WHEELHOUSE))
COLLECT := $(PIP) wheel --progress-bar off --wheel-dir wheelhouse --find-links wheelhouse
# Both of torch and torchvision: where the first index is not reached, PyPI has them.
CPU_TORCH := --no-deps --retries 1 --timeout 30 --extra-index-url $(CPU_WHEELS) $$(grep -E "^torch(vision)?==" requirements.txt)
# One process a core; a folder of tests, with what it prepares, stays in one of them. The longest start first (tests/longest_first.py).
PARALLEL := -n 2 --dist loadgroup --no-loadscope-reorder

.PHONY: help install wheelhouse demo test test-slow test-faults check format lint types docs clean

help:
	@echo "make demo         train a small network on digits, prune it, export it, report it (a few minutes)"
	@echo "make test         the test suite"
	@echo "make test-slow    the full-size checks as well"
	@echo "make test-faults  whole campaigns of wrong files, full disks and kills"
	@echo "make check        format, lint, types, tests"
	@echo "make docs         the documentation site, in site/"
	@echo "make install      all packages that the tests need; GPU=no or GPU=yes says which PyTorch (here: $(GPU))"
	@echo "make wheelhouse   download them into wheelhouse/; make install WHEELHOUSE=wheelhouse takes them from there"
	@echo "make clean        remove .venv and caches (runs/ and wheelhouse/ stay)"

install: $(COMPLETE)

$(MADE):
	@$(or $(PYTHON),false) $(RUNS) || { echo "error: $(or $(PYTHON),python3.11 to python3.13) does not run, is older than 3.11, or has no venv; install Python 3.11, 3.12 or 3.13, or set PYTHON=/path/to/python" >&2; exit 2; }
	@echo "Making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# The library and what the demo needs.
$(READY): requirements.txt setup.py pyproject.toml | $(MADE)
	@echo "Installing the pinned packages (GPU=$(GPU)): PyTorch is large, this takes a few minutes ..."
ifeq ($(GPU)$(WHEELHOUSE),no)
	@$(INSTALL) $(CPU_TORCH)
endif
	@$(INSTALL) -r requirements.txt
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@
	@echo "Installed: PyTorch $$($(BIN)/python -c 'import torch; print(torch.__version__)'), $$(du -sh $(VENV) | cut -f 1) in $(VENV)."

# And what the tests need: detectors, OpenVINO, TensorRT-RTX.
$(COMPLETE): $(READY) requirements-dev.txt requirements-tensorrt.txt requirements-detection.txt requirements-openvino.txt
	@$(INSTALL) -r requirements-dev.txt -r requirements-tensorrt.txt
	@$(INSTALL) --no-deps -r requirements-detection.txt -r requirements-openvino.txt
	@touch $@

wheelhouse: $(MADE)
	@echo "Downloading the pinned packages (GPU=$(GPU)) into wheelhouse/, for $$($(BIN)/python -V) ..."
ifeq ($(GPU),no)
	@$(COLLECT) $(CPU_TORCH)
endif
	@$(COLLECT) -r requirements.txt -r requirements-dev.txt -r requirements-tensorrt.txt -r requirements-docs.txt
	@$(COLLECT) --no-deps -r requirements-detection.txt -r requirements-openvino.txt
	@echo "$$(du -sh wheelhouse | cut -f 1) in wheelhouse/: make install WHEELHOUSE=wheelhouse"

demo: $(READY)
	@echo "1/2  Training a PreResNet-20 on scikit-learn's digits: a checkpoint to start from"
	@$(BIN)/python tools/train.py recipes/width/preresnet20_digits_rarts.py --work-dir runs/demo_baseline --resume
	@echo "2/2  Pruning that checkpoint by 40 % of its channels"
	@$(BIN)/python tools/prune.py recipes/width/preresnet20_digits_rarts.py --checkpoint runs/demo_baseline \
		--pruning-ratio 0.4 --work-dir runs/demo --resume

test: $(COMPLETE)
	@$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not faults"

docs: $(COMPLETE)
	@$(INSTALL) -r requirements-docs.txt
	@NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/python -W ignore -m mkdocs build --strict --quiet
	@echo "Open site/index.html, or serve it: $(BIN)/python -m http.server --directory site"

test-slow: $(COMPLETE)
	@$(BIN)/python -m pytest $(PARALLEL) -m "not faults"

test-faults: $(COMPLETE)
	@$(BIN)/python -m pytest tests/faults -n 2 --dist loadfile

check: format lint types test

format: $(COMPLETE)
	@$(BIN)/ruff format .

lint: $(COMPLETE)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(COMPLETE)
	@$(BIN)/mypy

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache *.egg-info
