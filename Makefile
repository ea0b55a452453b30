# Every verb does its own set-up on first use: a virtual environment in .venv with the training stack (about 6 GB, most of it
# torch and its CUDA libraries). Needs Linux x86-64, Python 3.10 or later with venv, and gcc. No GPU.

PYTHON ?= python3
BIN := .venv/bin
NATIVE := pytest_vramguard/devices/emulated/native
NATIVE_SOURCES := $(wildcard $(NATIVE)/*.c $(NATIVE)/*.h $(NATIVE)/*.py $(NATIVE)/symbols/*.txt)

export HF_HUB_OFFLINE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := test
.PHONY: bench build clean compat demo factory fidelity format lint long sanitize test types venv

venv: .venv/installed

# The install builds the native libraries in the checkout, so a change to their sources installs again. Bytecode is left to the
# first import of each module, since most of what is installed is never imported.
.venv/installed: pyproject.toml setup.py $(NATIVE_SOURCES)
	@echo "installing into .venv; the first time this takes a few minutes"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[train,dev]'
	@touch $@

demo: venv
	$(BIN)/python -m pytest examples --vram-target rtx3060

test: venv
	$(MAKE) --no-print-directory --jobs 2 --output-sync lint types build
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not gpu and not long"

# The tests that `make test` leaves out: whole frameworks, launchers of many processes, and planted regressions.
long: venv
	$(BIN)/python -m pytest -n 2 --dist load -m "long and not gpu"

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/interrogate --quiet pytest_vramguard tests

types: venv
	$(BIN)/mypy

# What a user installs: the wheel must hold every file that the checkout has, and the libraries.
build: venv
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(BIN)/python tools/check_wheel.py dist/*.whl

# The native tests once more, on libraries that gcc's sanitizers watch.
sanitize: venv
	$(BIN)/python -m pip install --quiet 'nvidia-cuda-runtime>=13,<14' 'nvidia-cuda-crt>=13,<14' 'nvidia-cuda-runtime-cu12>=12.9,<13'
	$(BIN)/python -m tests.sanitize

# Each supported release of torch in an environment of its own, one after the other; `make compat RELEASES=2.7.1` for one.
compat: venv
	$(BIN)/python -m tests.compat.walk $(RELEASES)

# Published measurements against the emulated card, each row with the versions of its time, and the report of it: GROUND_TRUTH is a
# folder of such files. An interrupted run goes on where it stopped; environments are kept in ENVIRONMENTS where that is given.
# All rows are then run with today's versions.
FIDELITY := -m tests.fidelity $(GROUND_TRUTH) --jobs 2 --answers build/fidelity $(if $(ENVIRONMENTS),--environments $(ENVIRONMENTS) --keep)
fidelity: venv
	@test -d "$(GROUND_TRUTH)" || { echo "GROUND_TRUTH='$(GROUND_TRUTH)': no folder, expected one with published measurements"; exit 4; }
	$(BIN)/python $(FIDELITY) --out tests/fidelity/results
	$(BIN)/python $(FIDELITY) --out tests/fidelity/results/today --era today
	rm -rf build/fidelity
	$(BIN)/python -m tests.fidelity.report

# LLaMA-Factory's own command on its own examples, in an environment of its own.
factory: venv
	$(BIN)/python -m tests.compat.factory

bench: venv
	$(BIN)/python tools/bench.py

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist *.egg-info $(NATIVE)/../lib .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
