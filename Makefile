# make demo            a fresh machine: makes .venv, installs, converts MobileNetV2 to int8 and proves it
# make test            lint, types, tests in tiers, each with its time (also in a fresh clone: it makes its own environment)
# make test TIER=units one tier, or several
# make nightly         the same with every cell of the matrix, and the papers' sizes
# make matrix          runs the suite `full` without timing, then `make pages`; stopped, it goes on where it was
# make matrix SUITE=F   the same of another suite, or TOML file (see benchmarks/suites)
# make matrix PLAN=1   lists which cells would be made and which the store has, and runs nothing
# make pages           writes the README's matrix, benchmarks/RESULTS.md and the table of docs/own-models.md from the rows

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: install demo test lint nightly matrix pages bench clean

install: $(VENV)/.installed

# What is compiled when it is first imported: tests of packages, and what few of ours import. All else is compiled at
# once on all cores, where pip would take one; some packages have files that are no Python, which is no error here.
LATER := /tests?/|/(jax|jaxlib|pandas|ray|sklearn|transformers)/

# torch by itself and by its exact version: a CPU build that pip already has is taken, not a newer CUDA one.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --no-compile torch==2.13.0
	$(BIN)/pip install -q --no-compile -c constraints.txt -e '.[dev]'
	$(BIN)/python -m compileall -qq -j 0 -x '$(LATER)' $(VENV)/lib || true
	touch $@

demo: install
	$(BIN)/edgekit convert mobilenet_v2 --target tflite-int8

lint: install
	$(BIN)/python -m tests.tiers static

test: install
	$(BIN)/python -m tests.tiers $(TIER)

nightly: install
	$(BIN)/python -m tests.tiers --nightly $(TIER)

matrix: install
	$(BIN)/edgekit benchmark --suite $(or $(SUITE),full) --no-latency --rows benchmarks/results/matrix.jsonl $(if $(PLAN),--plan); \
	  status=$$?; $(if $(PLAN),,$(BIN)/python -m benchmarks.pages;) exit $$status

pages: install
	$(BIN)/python -m benchmarks.pages

bench: install
	for stage in make time cost report; do $(BIN)/python benchmarks/handmade.py $$stage || exit; done
	$(BIN)/python benchmarks/determinism.py

clean:
	rm -rf $(VENV) build dist *.egg-info

.PHONY: schema
schema: install
	$(BIN)/python -c "import json; from edgekit.result import Result; print(json.dumps(Result.model_json_schema(by_alias=True), indent=1))" > edgekit/manifest.schema.json
