"""Equalization and GPTQ on graphs that look like what they are not: the model computes what it did, nothing aborts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

CHILDREN = Path(__file__).parent / "children"
CODE = """
import json, os, traceback
import numpy as np, torch
import odd
from edgekit.compress import equalize, fakequant, gptq, products
from edgekit.frameworks import torch as frameworks
from edgekit.sources import source

def loaded(name):
    os.environ["ODD"] = name
    return frameworks.load(source.resolve("odd.py:build", trust=True))

def outputs(model, inputs):
    with torch.no_grad():
        return np.concatenate([np.ravel(model.native(torch.tensor(x))) for x in inputs])

def error_db(reference, other):
    ratio = ((reference - other).astype("float64") ** 2).sum() / (reference.astype("float64") ** 2).sum()
    return float(10 * np.log10(max(ratio, 1e-30)))

def rounded(product):
    seen = product.moments()
    return gptq.rounded(product.weights, seen.second, fakequant.Grid(), seen.crossed)

def change(model, method, samples):
    if method == "gptq":
        return len(products.replace_weights(model, samples, rounded))
    if method == "fold":
        return len(equalize.fold_norms(model))
    return equalize.equalize(model, samples, method, lambda product: fakequant.Grid(), activation_bits=8)

rows = {}
for name in odd.MODELS:
    for method in ("cle", "smoothquant", "awq", "fold", "gptq"):
        model, rng = loaded(name), np.random.default_rng(0)
        shape = model.signature.inputs[0].shape
        samples, other = ([rng.standard_normal(shape).astype("float32") for _ in range(n)] for n in (48, 8))
        before, kept = outputs(model, other), [x.copy() for x in samples]
        try:
            count = change(model, method, [(x,) for x in samples])
        except Exception:
            rows[f"{name}: {method}"] = {"raised": traceback.format_exc()}
            continue
        saved = loaded(name)
        saved.native.load_state_dict(model.native.state_dict())
        rows[f"{name}: {method}"] = {
            "count": count,
            "error_db": error_db(before, outputs(model, other)),
            "saved_db": error_db(before, outputs(saved, other)),
            "kept": all((x == y).all() for x, y in zip(samples, kept)),
        }
print(json.dumps(rows))
"""


@pytest.fixture(scope="module")
def rows(printed: Any) -> Any:
    """What every method does to every model of ``odd.py``."""
    return json.loads(printed(CODE, environment="torch").splitlines()[-1])


def test_nothing_aborts_and_samples_stay_as_they_are(rows: Any) -> None:
    assert {name: row["raised"] for name, row in rows.items() if "raised" in row} == {}
    assert [name for name, row in rows.items() if not row["kept"]] == []


def test_an_equalized_model_computes_what_it_did_and_so_does_the_saved_one(rows: Any) -> None:
    exact = {name: row for name, row in rows.items() if not name.endswith("gptq")}
    assert {n: r for n, r in exact.items() if not (r["error_db"] < -90 and r["saved_db"] < -90)} == {}
    assert rows["writes into its input: cle"]["count"] == 1, "what is free is still found"


def test_what_has_no_rule_is_left_as_it_is_and_the_rest_is_rounded(rows: Any) -> None:
    counts = {name.removesuffix(": gptq"): row["count"] for name, row in rows.items() if name.endswith("gptq")}
    none = {name for name, count in counts.items() if count == 0}
    assert none == {"one memory", "no batch, 1-D", "no batch, 2-D", *(n for n in counts if n.startswith("einsum"))}
    close = {n: r for n, r in rows.items() if n.endswith("gptq") and "itself" not in n}
    assert {n: r for n, r in close.items() if r["error_db"] > -10 or abs(r["error_db"] - r["saved_db"]) > 1} == {}
