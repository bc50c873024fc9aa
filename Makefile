# make demo [DATA=folder]   train a classifier and write its report       make test    the quick suite
# make check                formatting, lint, types, floors, docs         make docs    renew the generated pages
# make format               tidy the code                                 make bench DATA=folder   measure speed
# Python 3.11 or newer, git and make are all that is needed: each target first makes .venv.

PYTHON ?= python3
DATA ?=
BIN := .venv/bin
READY := .venv/.ready
# Idle threads sleep: two test workers and their libraries share two cores.
QUIET_CORES := OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help demo test check docs format bench clean

help:
	@sed -n '/^# make/s/^# //p' Makefile

$(READY): pyproject.toml constraints.txt scripts/install.sh
	@sh scripts/install.sh "$(PYTHON)"

demo: $(READY)
	@sh scripts/demo.sh "$(DATA)"

test: $(READY)
	@$(QUIET_CORES) $(BIN)/python -m pytest -q -n 2 -m "not slow and not data and not gpu"

check: $(READY)
	$(BIN)/python -m ruff format --check --quiet .
	$(BIN)/python -m ruff check --quiet .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell
	$(BIN)/python scripts/make_docs.py --check
	$(BIN)/python scripts/refuse_data.py

docs: $(READY)
	@$(BIN)/python scripts/make_docs.py

format: $(READY)
	@$(BIN)/python -m ruff check --fix --quiet . ; $(BIN)/python -m ruff format --quiet .

bench: $(READY)
	@[ -n "$(DATA)" ] || { echo "Say which ECGs: make bench DATA=/path/to/ptb-xl" >&2; exit 2; }
	@for name in import store train; do $(BIN)/python benchmarks/bench_$$name.py "$(DATA)" || exit 1; done
	@for name in bootstrap synthetic; do $(BIN)/python benchmarks/bench_$$name.py || exit 1; done

# Stores and runs took hours: they stay.
clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist src/*.egg-info
