"""Zeros of a chosen file as one bit each: of a pruned model that is most of what pruning can save.

Weights that are zero are left out of what is stored, and a mask says where they are (``constexpr_sparse_to_dense``); of
integers likewise, as coremltools stores what it prunes itself. The numbers stay what they are.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.mil.package import Package, read
from edgekit.mil.program import Program
from edgekit.mil.program import read as read_program
from edgekit.toolchains import WORTH, Names
from edgekit.toolchains._shared import messages
from edgekit.toolchains.coreml import package
from edgekit.toolchains.coreml.audit import factors
from edgekit.toolchains.coreml.vendor import coremltools

#: Part of a tensor that must be zero: the mask takes a bit for each weight, which is a quarter of one of 4 bits.
_WORTH_A_MASK = 0.3


def compact(file: Path, folder: Path) -> Names | None:
    """Write a file with sparse weights into a folder; nothing, where few are zero.

    A file with integer activations stays as it is: whether Core ML multiplies integers by weights that are stored so is
    said nowhere. So does one with palettes: coremltools does not read those whose tables are integers.
    """
    opened = read(file)
    program = read_program(opened)
    quantized = any(o.type == "quantize" for o in program.block.all_operations())
    if quantized or program.palettes or not _sparse(program):
        return None
    spec, weights = _stored_sparsely(opened)
    package.save(spec, weights, folder / file.name)
    if _size(folder / file.name) < (1 - WORTH) * _size(file):
        return Names()
    shutil.rmtree(folder / file.name)
    return None


def _sparse(program: Program) -> bool:
    """Whether many of the weights of any matrix, filter or table are zero."""
    values = (np.asarray(program.constants[name]) for name in factors(program))
    return any(np.mean(value == 0) >= _WORTH_A_MASK for value in values)


def _stored_sparsely(opened: Package) -> tuple[Any, Any]:
    """The model and where its weights lie: first what is compressed already, then floats."""
    ct = coremltools()
    import coremltools.optimize.coreml as cto

    settings = cto.OpThresholdPrunerConfig(threshold=0.0, minimum_sparsity_percentile=_WORTH_A_MASK, weight_threshold=0)
    config = cto.OptimizationConfig(settings)
    names = opened.names
    inputs, outputs = (
        [names.get(tensor.name, tensor.name) for tensor in side]
        for side in (opened.spec.description.input, opened.spec.description.output)
    )
    found = ct.models.MLModel(opened.spec, weights_dir=str(opened.weights), skip_model_load=True)
    try:
        for joint in (True, False):
            found = cto.prune_weights(found, config, joint_compression=joint)
    except Exception as error:  # as of its quantizer, these are of many kinds
        raise messages.raised("coremltools, storing zeros,", error) from error
    spec = found.get_spec()
    package.name_tensors(spec, inputs, outputs)
    return spec, found.weights_dir


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
