# make demo   see it work, on a school that does not exist     make test   all tests
# make lint   style, types, layering                           make bench  the ratios we promise
#
# Another Python: make PYTHON=python3.12 ...      Another environment: make VENV=/path ...
.POSIX:
PYTHON = python3
VENV = .venv
PY = $(VENV)/bin/python
WORKERS = 2
BENCH =

.PHONY: help demo demo-serve test lint format generate bench wheel-check clean

help:
	@sed -n '1,2s/^# //p' Makefile

demo: $(VENV)/.stamp-demo
	@$(PY) -m demo

demo-serve: $(VENV)/.stamp-demo
	@$(PY) -m demo serve

test: $(VENV)/.stamp-lint wheel-check
	@scripts/fetch-restic
	$(PY) -m pytest -n $(WORKERS) --dist worksteal $(PYTEST)

lint: $(VENV)/.stamp-lint
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.stamp-lint
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

# What is made from the models: schemas and reference pages.
generate: $(VENV)/.stamp-lint
	@$(PY) -m drtests.declarations.schemas drtests/schemas
	@$(PY) -m drtests schema targets/.schemas
	@$(PY) -m drtests.declarations.reference docs/reference
	@$(PY) -m drtests.evidence.reference docs/reference/record.md
	@$(PY) -m drtests.cli.reference > docs/reference/commands.md

bench: $(VENV)/.stamp-lint
	@$(PY) -m bench $(BENCH)

wheel-check: $(VENV)/.stamp-lint
	@scripts/wheel-check $(PY)

# One stamp for each extra of pyproject.toml that is installed.
$(VENV)/.stamp-demo: pyproject.toml scripts/system-deps
	@$(MAKE) --no-print-directory EXTRA=demo stamp PYTHON="$(PYTHON)" VENV="$(VENV)"

$(VENV)/.stamp-lint: pyproject.toml scripts/system-deps
	@$(MAKE) --no-print-directory EXTRA=lint stamp PYTHON="$(PYTHON)" VENV="$(VENV)"

.PHONY: stamp
stamp:
	@scripts/system-deps $(PYTHON) $(EXTRA)
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "installing drtests[$(EXTRA)] into $(VENV)"
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRA)]'
	@touch $(VENV)/.stamp-$(EXTRA)

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache $(VENV)
	@test ! -f .demo/.drtests-demo.json || rm -rf .demo
	rm -rf /var/tmp/drtests-demo-$$(id -u)-*
	find drtests tests demo bench targets -name __pycache__ -type d -prune -exec rm -rf {} +
