# make run         the whole service on http://127.0.0.1:8000; Ctrl-C stops it
# make quick       lint, types, and the tests that start no process of their own
# make test        everything that a merge must pass
# make demo        the story through the REST API (SPEECH=DIR tells it with real speech, see docs/speech-format.md)
# make bench       how fast a service of its own verifies, and how fast a clip is scored (BENCH="latency --calls 20",
#                  PIPELINE=DIR); with SPEECH=DIR also what the gate and the replay check catch
# make faults      break each part of a service of its own under load, and see that no call is lost (FAULTS="--only Redis")
# make screenshots pictures of every page, light and dark, wide and narrow, in var/screenshots (SCREENSHOTS=DIR)
# make mutations   change the code of the rules and see that a test fails (MODULE=policy: only one module)
# make fuzz        give mutated recordings to the code of a scoring worker (EXAMPLES=20000)
# make contract    compare the answers of the API with its OpenAPI document, by many requests (REQUESTS=50)
# make hooks       install the git hooks, which run the checks of CI before each commit
# make clean       remove the virtual environment (the state in var/ stays)

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTHON := $(shell command -v python3.11 || command -v python3)
# The tests start some hundred Python processes: each module is compiled once, also where the environment forbids it.
unexport PYTHONDONTWRITEBYTECODE
# Tests without a worker process, a browser, a launcher or a training program.
SLOW := tests/launcher tests/demo tests/docker tests/review/test_browser.py tests/review/test_try_in_a_browser.py tests/review/test_models_in_a_browser.py tests/review/test_a_run_in_a_browser.py tests/review/test_second_factor_in_a_browser.py tests/test_openapi_contract.py tests/test_examples.py \
        tests/mltraining/speech tests/mltraining/test_scorer.py tests/mltraining/test_worker_client.py \
        tests/mltraining/test_fuzz.py tests/retraining tests/verification/test_end_to_end.py tests/enrollment tests/platform/test_rotate_keys.py tests/platform/test_tracing.py

.PHONY: run quick test pytest demo bench faults screenshots mutations fuzz contract hooks lint clean
.DELETE_ON_ERROR:

run: $(VENV)/installed
	@exec $(BIN)/python manage.py serve

demo: $(VENV)/installed
	@exec $(BIN)/python manage.py demo $(if $(SPEECH),--speech "$(SPEECH)") $(DEMO)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy .
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py lintmigrations --settings tests.migration_settings --quiet ok ignore

quick: lint
	$(BIN)/pytest -q -n 2 --dist loadfile $(addprefix --ignore=,$(SLOW)) $(PYTEST)

# The types are checked beside the tests: that takes one core for a minute.
test:
	@$(MAKE) --no-print-directory --jobs 2 lint pytest

pytest: $(VENV)/installed-dev
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST)

PIPELINE ?= mltraining/base_model
BENCH ?= latency overload poison
bench: $(VENV)/installed
	$(BIN)/python manage.py benchmark_calls $(BENCH)
	$(BIN)/python manage.py benchmark scoring --pipeline "$(PIPELINE)"
ifdef SPEECH
	$(BIN)/python -m mltraining.speech benchmark-gate --pipeline "$(PIPELINE)" --speech "$(SPEECH)"
	$(BIN)/python -m mltraining.speech benchmark-replay --speech "$(SPEECH)"
endif

faults: $(VENV)/installed
	$(BIN)/python manage.py benchmark_faults $(FAULTS)

SCREENSHOTS ?= var/screenshots
screenshots: $(VENV)/installed-dev
	VOICEAUTH_TEST_SCREENSHOTS="$(abspath $(SCREENSHOTS))" $(BIN)/pytest -n 2 --dist loadfile tests/review/test_browser.py tests/review/test_*_in_a_browser.py

mutations: $(VENV)/installed-dev
	$(BIN)/python -m tests.mutations $(MODULE)

EXAMPLES ?= 20000
fuzz: $(VENV)/installed-dev
	$(BIN)/python -m tests.support.fuzz --examples $(EXAMPLES) $(FUZZ)

REQUESTS ?= 50
contract: $(VENV)/installed-dev
	VOICEAUTH_TEST_EXAMPLES=$(REQUESTS) $(BIN)/pytest -q tests/test_openapi_contract.py

hooks: $(VENV)/installed-dev
	$(BIN)/pre-commit install

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "voiceauth needs Python 3.11 (looked for python3.11 and python3; found: $$("$(PYTHON)" --version 2>&1))." >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# A list that has changed since it was installed is newer than its stamp, and is installed again.
$(VENV)/installed: requirements.txt | $(VENV)/bin/python
	@echo "Installing requirements.txt (about 2 GB, once; this takes a few minutes)"
	$(PIP) -r requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements.txt requirements-s3.txt requirements-otel.txt requirements-dev.txt | $(VENV)/bin/python
	@echo "Installing requirements-dev.txt"
	$(PIP) -r requirements-dev.txt
	@touch $@
