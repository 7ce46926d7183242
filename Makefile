# `make dev` runs everything on this machine; `make test` is what CI runs.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3

.PHONY: dev install test check format unit flows bench lock clean

dev: $(VENV)/.installed
	$(BIN)/devstack up

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml requirements/dev.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements/dev.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/unit tests/properties tests/architecture tests/docs

test: check
	sh tests/browser.sh
	$(BIN)/pytest -q --cov --cov-report=term-missing:skip-covered tests
	$(BIN)/python -m tests.coverage_floor

format:
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	$(BIN)/python -m bench

lock:
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
	  --no-emit-find-links --no-annotate --extra dev -o requirements/dev.lock pyproject.toml requirements/build.in
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
	  --no-emit-find-links --no-annotate -o requirements/runtime.lock pyproject.toml

clean:
	rm -rf $(VENV) .devstack .pytest_cache .mypy_cache .ruff_cache .coverage
