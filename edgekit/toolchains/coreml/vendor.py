"""coremltools, imported the cheap way and mended where today's versions break it."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from edgekit.frameworks import optional
from edgekit.toolchains._shared.vendors import Fault

EAGER_IMPORTS = Fault(
    "importing it imports every framework that is installed: 14 s of CPU instead of 0.6",
    package="coremltools",
    first="9.0",
    last="9.0",
)
INT_OF_ARRAYS = Fault(
    "int(array) of arrays of one element, which NumPy 2.4 refuses, ends the conversion of PyTorch models",
    package="coremltools",
    first="9.0",
    last="9.0",
    reports=(
        "https://github.com/apple/coremltools/issues/2633",
        "https://github.com/apple/coremltools/pull/2632",  # mends it, unreleased
    ),
)
SECOND_NAMES = Fault(
    "in exported programs PyTorch's second names of operators (subtract, negative, alias ...) are not known",
    package="coremltools",
    first="9.0",
    last="9.0",
)

#: Optional packages that coremltools imports whole with itself, to convert from them or for its own tests.
_UNUSED = ("sklearn", "xgboost", "libsvm", "transformers", "executorch")
_FRAMEWORKS = ("tensorflow", "torch", "torchvision", "torchaudio")


def coremltools() -> ModuleType:
    """Import coremltools for the frameworks that this process has imported before, which saves seconds of imports.

    With all that is installed it takes 14 s of CPU, with PyTorch 1.5 s, alone 0.6 s. Its loggers are quietened: it
    warns of every untested version and that Apple's runtime is not here.
    """
    beside = () if "torch" in sys.modules else ("torchao",)  # the PyTorch frontend reads its quantized operators
    logging.getLogger("coremltools").setLevel(logging.CRITICAL)
    with optional.absent(*_UNUSED, *_FRAMEWORKS, *beside), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools as found
    module: ModuleType = found
    return module


#: PyTorch's second names of operators, which Keras uses and coremltools does not know.
_ALIASES = {
    "subtract": "sub", "multiply": "mul", "divide": "div", "negative": "neg", "absolute": "abs", "greater": "gt",
    "greater_equal": "ge", "less": "lt", "less_equal": "le", "not_equal": "ne", "arccos": "acos", "arcsin": "asin",
    "arctan": "atan", "arctan2": "atan2", "arccosh": "acosh", "arcsinh": "asinh", "arctanh": "atanh",
    "concatenate": "cat", "special_expit": "sigmoid", "alias": "clone",
}  # fmt: skip


@contextlib.contextmanager
def torch_frontend() -> Iterator[None]:
    """Mend the PyTorch converter while it runs.

    It reads sizes with ``int(array)``, which NumPy 2.4 refuses for arrays of one element, and does not know
    operators by their second names.
    """
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.frontend.torch import ops

    original = ops._cast

    def cast(context: Any, node: Any, dtype: Any, dtype_name: str) -> None:
        x = ops._get_inputs(context, node, expected=1)[0]
        if x.can_be_folded_to_const() and not isinstance(x.val, dtype) and np.size(x.val) == 1:
            value = dtype(np.asarray(x.val).reshape(-1)[0])
            context.add(Builder.const(val=value, name=node.name), node.name)
        else:
            original(context, node, dtype, dtype_name)

    registry = ops._TORCH_OPS_REGISTRY
    ops._cast = cast
    for alias, name in _ALIASES.items():
        if alias not in registry:
            registry.set_func_by_name(registry.get_func(name), alias)
    try:
        yield
    finally:
        ops._cast = original
