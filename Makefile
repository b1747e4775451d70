# `make help` lists the targets. Everything is installed into a virtual environment of the checkout.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
DEMO := docs/demo/powdermill_dawn.flac

.DEFAULT_GOAL := help
.PHONY: help demo test test-all faults soak lint types advisories oldest docs ci benchmark benchmark-quick benchmark-speed train recipe-tiny recipe clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: setup.cfg pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[noisereduce,plot]'
	@touch $@

# torch first and alone, so that nothing else pulls another build of it.
$(VENV)/.dev: $(VENV)/.base
	$(PIP) torch
	$(PIP) -e '.[dev,train,recipe,noisereduce,plot]'
	@touch $@

$(VENV)/.recipe: $(VENV)/.dev
	$(PIP) -e '.[recipe,teachers,noisereduce,plot]'
	@touch $@

# A peer that cannot be had here (no compiler, no wheel) is reported by the benchmark, not fatal.
$(VENV)/.peers: $(VENV)/.dev benchmark/requirements.txt
	@grep -v '^#' benchmark/requirements.txt | while read -r peer; do \
		flags=; case "$$peer" in nsnet2*) flags=--no-deps;; esac; \
		$(PIP) $$flags "$$peer" || echo "not installed: $$peer"; \
	done
	@touch $@

demo: $(VENV)/.base ## denoise a real recording and draw it before and after, into demo/
	$(BIN)/biodenoise $(DEMO) demo/denoised --residual demo/removed --overwrite
	$(BIN)/python docs/demo/draw.py $(DEMO) demo/denoised/$(notdir $(DEMO)) demo/before_after.png
	@echo "listen to demo/denoised and demo/removed, look at demo/before_after.png"

test: $(VENV)/.dev ## run the tests but for the slow ones
	$(BIN)/python -m pytest -q

test-all: $(VENV)/.dev ## run all tests
	$(BIN)/python -m pytest -q -m "slow or not slow"

faults: $(VENV)/.dev ## run the fault catalogue and print its table (docs/reliability.md)
	$(BIN)/python -m tests.faults

soak: $(VENV)/.dev ## denoise ten thousand files for an hour, under kills and on a full disk
	$(BIN)/python -m tests.faults.soak

lint: $(VENV)/.dev ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## check types
	$(BIN)/mypy

advisories: $(VENV)/.dev ## ask PyPI about vulnerabilities of the pinned packages
	$(BIN)/python -m tests.faults.advisories

oldest: $(VENV)/.dev ## do the main jobs with the oldest packages that setup.cfg allows
	$(BIN)/python -m tests.oldest

docs: $(VENV)/.dev ## write the pages that are made from the code and the figures
	$(BIN)/python docs/generate.py

ci: lint types advisories test demo oldest recipe-tiny ## what has to pass before anything lands

benchmark: $(VENV)/.peers ## score every model and peer; BIODENOISING_CORPUS names the recordings
	$(BIN)/python -m benchmark

benchmark-quick: $(VENV)/.peers ## the same on a few mixtures
	$(BIN)/python -m benchmark --quick

benchmark-speed: $(VENV)/.peers ## measure speed and memory on this machine, about ten minutes
	$(BIN)/python -m benchmark.speed

train: $(VENV)/.dev ## train the compact student on BIODENOISING_CORPUS, resuming runs/masknet
	$(BIN)/biodenoise-train recipes/compact/compact.yaml

recipe-tiny: $(VENV)/.dev ## synthesize recordings, make targets and noise of them, compare with the truth
	$(BIN)/python -m recipes.tiny

recipe: $(VENV)/.recipe ## make targets and noise of BIODENOISING_CORPUS into runs/field, resuming; LIMIT=N recordings
	$(BIN)/python -m recipes.pseudo_clean recipes/field/config.yaml $(if $(LIMIT),--limit $(LIMIT))
	$(BIN)/python -m recipes.field.contact_sheet runs/field

clean: ## remove everything that was made
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
