# Everything a user or developer runs; `make demo` and `make test` need only python3, pip and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_PROCESSES ?= 2
# No telemetry from any dependency, in tests and demos too.
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: demo test test-slow deploy-check soak fuzz bench gpu-check docs lint lock clean

demo: $(STAMP)
	$(BIN)/surveycnn run-flow demo

# Two processes, each of which makes the shared fixtures for itself: more gain little.
test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow and not gpu and not deploy" -n $(TEST_PROCESSES) --dist loadfile

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

# Real services on this machine: PostgreSQL, a Prefect server with a worker, Slurm; each skips with a reason where it is not installed.
deploy-check: $(STAMP)
	$(BIN)/python -m pytest -m "deploy and not slow" -rs -n $(TEST_PROCESSES) --dist loadfile

# Random kills of workers, schedulers and drivers, and inputs that are broken on purpose: half an hour each.
soak: $(STAMP)
	$(BIN)/python -m benchmarks.soak

fuzz: $(STAMP)
	$(BIN)/python -m benchmarks.fuzz

bench: $(STAMP)
	$(BIN)/python -m benchmarks

gpu-check: $(STAMP)
	$(BIN)/python -m pytest -m gpu -rs
	$(BIN)/python -m benchmarks.gpu_check

# The documentation site: open build/docs/index.html.
docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -q -d build/doctrees docs build/docs

# mypy sees catalogs/ and flows/ inside the package only where it is installed from a wheel.
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	sh tests/typecheck.sh $(BIN)/python

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || { \
	  echo "$(PYTHON) is $$($(PYTHON) --version 2>&1), but Python 3.11 or 3.12 is needed: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) from requirements.lock; this takes some minutes"
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(STAMP)

# After a change of the dependencies: one lock for both Pythons, from the bounds in pyproject.toml, and one for CUDA that agrees with it.
lock:
	uv pip compile --universal --python-version 3.11 --no-header --no-annotate --extra simulation --extra test pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --no-header --no-annotate --extra cuda --extra kubernetes --extra simulation \
	  --extra slurm --extra s3 -c requirements.lock pyproject.toml -o requirements-cuda.lock

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
