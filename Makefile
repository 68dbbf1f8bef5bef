# `make demo` needs nothing but Python 3.11 and make. Everything goes into .venv and .threedrs.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
# Says every ten seconds that pip is at work, until pip or this shell has ended.
SHOWN := s=0; (while sleep 10 && kill -0 $$$$ 2>/dev/null; do s=$$((s+10)); \
  echo "  $$s s, pip is at work"; done) & beat=$$!; trap 'kill $$beat 2>/dev/null' EXIT;

.DEFAULT_GOAL := help
.PHONY: help install dev lock demo smoke test test-whole test-ray test-servers test-browser check docs format clean

help:
	@echo "make demo     install, then run ablations.yaml on this machine"
	@echo "make smoke    the same pipeline in its smallest sizes"
	@echo "make install  only install into $(VENV)"
	@echo "make test     the default tests, in WORKERS=2 processes"
	@echo "make test-whole  those that go a long way: crashes, every kind of step, tuning by several"
	@echo "make test-ray those that start a local Ray cluster, or a training on several ranks"
	@echo "make test-servers  those against a bucket (moto) and, where one can be had, PostgreSQL"
	@echo "make test-browser  pages in Chromium, examined by axe-core, where both can be had"
	@echo "make check    style, types, import rules"
	@echo "make docs     the documentation as a site, in .site; a broken link is an error"
	@echo "make lock     write constraints.txt anew, from the newest versions that pyproject.toml allows"
	@echo "make clean    remove $(VENV) and caches; results in .threedrs stay"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "no python3 found: install Python 3.11, or say make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11: say make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV): torch, ray, mlflow and others; two or three minutes the first time"
	@$(SHOWN) $(PIP) install -c constraints.txt --editable ".[dashboards]"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/.installed
	@echo "installing what tests and documentation need into $(VENV)"
	@$(SHOWN) $(PIP) install -c constraints.txt --editable ".[dashboards,dev]"
	@touch $@

install: $(VENV)/.installed

dev: $(VENV)/.installed-dev

# Resolves without installing, so that nothing that somebody added to the venv enters the file.
# Local versions ("+cpu") are left out: they name one index's build, not a release.
LOCKED := import json, sys; \
  found = [each["metadata"] for each in json.load(sys.stdin)["install"]]; \
  lines = ["%s==%s" % (each["name"].lower(), each["version"].split("+")[0]) for each in found]; \
  print("\# Versions that work together. `make lock` writes this file, every `make` installs by it."); \
  print(*sorted(line for line in lines if not line.startswith("threedrs==")), sep="\n")

lock: | $(BIN)/python
	@$(PIP) install --dry-run --ignore-installed --report $(VENV)/lock.json \
	  --editable ".[dashboards,dev,scenes]"
	@$(BIN)/python -c '$(LOCKED)' < $(VENV)/lock.json > $(VENV)/locked.txt
	@mv $(VENV)/locked.txt constraints.txt

demo: install
	@$(BIN)/workflows submit ablations.yaml
	@echo
	@echo "the table again      $(BIN)/workflows results"
	@echo "where a number is from   $(BIN)/workflows trace --help"
	@echo "in the browser       $(BIN)/workflows ui"
	@echo "edit ablations.yaml and run \`make demo\` again: only the difference is computed"

smoke: install
	@$(BIN)/workflows submit workflows/grids/micro_full.yaml --smoke

test: dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

test-whole: dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile \
	  -m "whole and not (ray or ranks or slow or slurm or gpu or e2e)"

test-ray: dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "(ray or ranks) and not slow"

test-servers: dev
	@OMP_NUM_THREADS=1 .ci/servers $(BIN)/python -m pytest -q -k "postgresql or s3" \
	  -m "not slow" tests/platform/database tests/platform/store tests/workflows/tuning \
	  tests/workflows/engine/test_faults.py tests/workflows/engine/test_lost_connections.py

test-browser: dev
	@PIP_PYTHON=$(BIN)/python .ci/browser $(BIN)/python -m pytest -q -m e2e \
	  tests/dashboards/browser/test_accessibility.py \
	  tests/dashboards/browser/test_compare_in_browser.py \
	  tests/dashboards/browser/test_growing_curves_in_browser.py \
	  tests/dashboards/browser/test_tuning_in_browser.py

check: dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: dev
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs --quiet build --strict

format: dev
	@$(BIN)/ruff check --fix --quiet
	@$(BIN)/ruff format --quiet

clean:
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .site dist
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
