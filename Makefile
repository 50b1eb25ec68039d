# `make` shows what there is. Everything needs Python 3.11+ and make, and nothing else on the machine.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

# The first that is new enough; python3 if none is, so that the message can name it.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && exit; done; echo python3)
VENV := .venv
RUN := $(VENV)/bin/python
ARGS ?=

.PHONY: help
help: ## show this
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  ARGS="..." goes to what is run: make test ARGS="-k keys -x", make bites ARGS="G2 G3"'

.PHONY: demo
demo: $(VENV)/.installed ## a hundred clients at once, over real HTTP: without, with a naive dict, with coalesce_kit
	@$(RUN) -m examples.odds_service.demo $(ARGS)

.PHONY: demo-redis
demo-redis: $(VENV)/.installed ## four workers over one Redis: one upstream call, then the server is killed
	@$(RUN) -m examples.odds_service.demo_redis $(ARGS)

.PHONY: serve
serve: $(VENV)/.installed ## the example service, left running until Ctrl-C; WORKERS=4 REDIS=1: four of it
	@$(RUN) -m examples.odds_service.serve $(if $(WORKERS),--workers $(WORKERS)) $(if $(REDIS),--redis $(REDIS)) $(ARGS)

.PHONY: test
test: $(VENV)/.installed ## the tests, on the default Python
	@$(RUN) -m pytest -n 2 --dist loadfile $(ARGS)

.PHONY: test-all
test-all: test ## the same on every other Python, then with servers and a browser; coverage; schedules; bites
	@# Where CI runs, nothing may be skipped for want of a program; elsewhere a loud line says what was.
	@$(RUN) -m tools.binaries --install || [ -z "$${CI:-}" ]
	@$(RUN) -m tools.every_python --others $(ARGS)
	@$(MAKE) test-oldest ARGS=
	@$(MAKE) explore ARGS="--most 10000"
	@$(MAKE) bites ARGS=

.PHONY: test-oldest
test-oldest: ## the tests of the store on the oldest redis-py that is supported
	@$(PYTHON) tools/venv.py --group redis-oldest .venvs/redis-oldest
	@.venvs/redis-oldest/bin/python -m pytest -m "heavy or not heavy" tests/stores/test_redis_*.py $(ARGS)

.PHONY: explore
explore: $(VENV)/.installed ## every order of events of the small scenarios, many of the large, and the planted bugs
	@$(RUN) -m tests.exploration $(ARGS)
	@$(RUN) -m tests.exploration.planted
	@$(RUN) -m tests.exploration.fleet

.PHONY: mutants
mutants: $(VENV)/.installed ## change the package in every small way there is: a test must notice (twenty minutes)
	@"$$($(RUN) -m tools.every_python --newest)" -m tools.mutants $(ARGS)

.PHONY: bites
bites: $(VENV)/.installed ## break the package once per guarantee: its tests must notice
	@$(RUN) -m tools.bites --python "$$($(RUN) -m tools.every_python --newest)" $(ARGS)

.PHONY: lint
lint: $(VENV)/.installed ## ruff: rules, then format
	@$(RUN) -m ruff check $(ARGS) .
	@$(RUN) -m ruff format --check .

.PHONY: format
format: $(VENV)/.installed ## let ruff repair what it can
	@$(RUN) -m ruff check --fix-only --quiet .
	@$(RUN) -m ruff format .

.PHONY: typecheck
typecheck: $(VENV)/.installed ## mypy --strict
	@$(RUN) -m mypy --strict $(ARGS)

.PHONY: pythons
pythons: $(VENV)/.installed ## which Pythons this machine has, and which are passed over
	@$(RUN) -m tools.interpreters

.PHONY: bench
bench: ## every benchmark, beside pinned rivals in .venvs/bench; writes benchmarks/results
	@$(PYTHON) tools/venv.py --group bench .venvs/bench
	@.venvs/bench/bin/python -m benchmarks all --keep $(ARGS)

.PHONY: bench-check
bench-check: ## the ratios of the budget, with pass or short; fails if one is short
	@$(PYTHON) tools/venv.py --group bench .venvs/bench
	@.venvs/bench/bin/python -m benchmarks check --keep $(ARGS)

.PHONY: docs
docs: ## the documentation as a site, in site/index.html
	@$(PYTHON) tools/venv.py --group docs .venvs/docs
	@NO_MKDOCS_2_WARNING=1 .venvs/docs/bin/python -m mkdocs build --clean $(ARGS)
	@echo 'file://$(CURDIR)/site/index.html'

.PHONY: clean
clean: ## remove what the other targets made
	@rm -rf $(VENV) .venvs .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .mutants dist build site
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "coalesce_kit needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)." >&2; \
		echo "Name another one: make $(or $(MAKECMDGOALS),test) PYTHON=/path/to/python3.12" >&2; \
		exit 1; }
	@$(PYTHON) tools/venv.py $(VENV)
	@touch $@
