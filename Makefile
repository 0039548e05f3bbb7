# `make run` starts the relay, `make test` checks everything; both need python3 and nothing else.
#
# The virtual environment holds the dependencies alone, and the relay runs from this
# directory by PYTHONPATH: a change to the source counts at once, and the twistd plugin is
# seen, which an editable install would hide. The wheel is installed by its own test.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= etc/zonerelay.toml

export PYTHONPATH := $(CURDIR)
# No pip chatter about its own version, no cache of plugins in the tree of another user.
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help run demo test lint accuracy bench audit soak fuzz peers clean

help:
	@echo "make run     start the relay: SMTP 2525, HTTP 8080, on 127.0.0.1 (CONFIG=$(CONFIG))"
	@echo "make demo    three messages through a relay and a sink of its own, each one's way printed"
	@echo "make test    lint, types, layers, unit tests, scenarios with real processes, wheel"
	@echo "make lint    ruff, mypy, import-linter alone"
	@echo "make accuracy  how often the rules are right about refusals that they have not seen"
	@echo "make bench   speed and scale, with Postfix beside it where it is installed"
	@echo "make audit   the fault tests that take long or need root"
	@echo "make soak    one day under load with a fault a minute"
	@echo "make fuzz    ten million odd inputs to all that reads what strangers write (FUZZ=options)"
	@echo "make peers   install the mail servers that some tests use (Debian, as root)"

run: $(VENV)/run
	$(BIN)/twistd -n --pidfile= zonerelay start --config $(CONFIG)

demo: $(VENV)/run
	$(BIN)/python -m relay demo

test: $(VENV)/test
	$(BIN)/python tests/run.py

lint: $(VENV)/test
	$(BIN)/python tests/run.py lint

accuracy: $(VENV)/test
	$(BIN)/python -m tests.labelled

bench: $(VENV)/test
	$(BIN)/python -m bench

audit: $(VENV)/test
	$(BIN)/python -m tests.audit

soak: $(VENV)/test
	$(BIN)/python -m tests.audit soak

# Without atheris, which there isn't for each Python, inputs are made by chance alone.
fuzz: $(VENV)/test
	$(BIN)/python tests/requirements.py fuzz | $(BIN)/pip install -q -r /dev/stdin || true
	$(BIN)/python -m tests.fuzz $(FUZZ)

peers:
	.ci/peers

clean:
	rm -rf $(VENV) build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis

# What setup.cfg asks for, without the relay itself.
$(VENV)/run: setup.cfg
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "zonerelay: $(PYTHON) is missing or older than 3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "zonerelay: python3-venv is missing: apt-get install python3-venv" >&2; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python tests/requirements.py | $(BIN)/pip install -q -r /dev/stdin
	touch $@

$(VENV)/test: $(VENV)/run
	$(BIN)/python tests/requirements.py test | $(BIN)/pip install -q -r /dev/stdin
	touch $@
