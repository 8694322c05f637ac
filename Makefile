# make run     the whole service; Ctrl-C stops it
# make test    lint, types, import rules, tests
# make demo    the story through the REST API   (make demo SPEECH=../shared/speech: on real speech)
# make lint    lint, types, import rules only
# make clean   remove the virtual environment (not the state in var/)

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTHON := $(shell command -v python3.11 || command -v python3)

.PHONY: run test demo lint clean
.DELETE_ON_ERROR:

run: $(VENV)/installed
	@exec $(BIN)/python manage.py serve

demo: $(VENV)/installed
	@exec $(BIN)/python manage.py demo $(if $(SPEECH),--speech "$(SPEECH)") $(DEMO)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports

# The networks of the tests are tiny: a second OpenMP thread would only wait for the first.
test: lint
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -n 2 --dist loadfile $(PYTEST)

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "voiceauth needs Python 3.11 (looked for python3.11 and python3; found: $$("$(PYTHON)" --version 2>&1))." >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# The stamps are older than their list where it changed: then the list is installed again.
$(VENV)/installed: requirements.txt | $(VENV)/bin/python
	@echo "Installing requirements.txt (about 2 GB; a minute or a few, once)"
	$(PIP) -r requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements.txt requirements-dev.txt | $(VENV)/bin/python
	@echo "Installing requirements-dev.txt"
	$(PIP) -r requirements-dev.txt
	@touch $@
