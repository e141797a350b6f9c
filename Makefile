# make demo    a fresh machine: makes .venv, installs, converts MobileNetV2 to int8 and proves it
# make test    lint, types, all tests (also in a fresh clone: it makes its own environment)
# make matrix  every model x framework x target; rewrites README.md and benchmarks/RESULTS.md

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: install demo test lint matrix bench clean

install: $(VENV)/.installed

# torch by itself and by its exact version: a CPU build that pip already has is taken, not a newer CUDA one.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q torch==2.13.0
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/edgekit convert mobilenet_v2 --target tflite-int8

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup

matrix: install
	$(BIN)/python benchmarks/matrix.py

bench: install
	for stage in make time cost report; do $(BIN)/python benchmarks/handmade.py $$stage || exit; done
	$(BIN)/python benchmarks/determinism.py

clean:
	rm -rf $(VENV) build dist *.egg-info

.PHONY: schema
schema: install
	$(BIN)/python -c "import json; from edgekit.result import Result; print(json.dumps(Result.model_json_schema(by_alias=True), indent=1))" > edgekit/manifest.schema.json
