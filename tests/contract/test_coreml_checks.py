"""What Core ML's runtime refuses is refused here too, although the evaluator would compute it."""

from __future__ import annotations

from types import SimpleNamespace as Fake

import numpy as np
import pytest

from edgekit.errors import UnsupportedError
from edgekit.mil.package import read
from edgekit.mil.program import read as read_program
from edgekit.toolchains.coreml import checks, package
from edgekit.toolchains.coreml.vendor import coremltools


def program(tmp_path, build, shape, name="x"):
    """Build a one-input program with coremltools' builder and write it without the checks."""
    ct = coremltools()
    from coremltools.converters.mil import Builder as mb

    @mb.program(input_specs=[mb.TensorSpec(shape=shape)], opset_version=ct.target.iOS18)
    def made(x):
        return build(mb, x)

    converted = ct.convert(made, convert_to="mlprogram", skip_model_load=True, compute_precision=ct.precision.FLOAT32,
                           minimum_deployment_target=ct.target.iOS18)  # fmt: skip
    spec = converted.get_spec()
    outputs = tuple(t.name for t in spec.description.output)
    request = Fake(folder=tmp_path, inputs=tuple(t.name for t in spec.description.input), outputs=outputs)
    return spec, converted.weights_dir, request


def padding(amounts, mode):
    return lambda mb, x: mb.pad(x=x, pad=np.array(amounts, np.int32), mode=mode)


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
@pytest.mark.parametrize(
    ("shape", "amounts", "axes"),
    [  # enumerated on a Mac in apple/coremltools#2701: the last two axes, and no others
        ((1, 2, 5, 6, 7), [0, 0, 0, 0, 0, 0, 0, 0, 1, 1], None),
        ((1, 2, 5, 6, 7), [0, 0, 0, 0, 0, 0, 1, 1, 1, 1], None),
        ((1, 2, 5, 6, 7), [0, 0, 0, 0, 1, 1, 0, 0, 0, 0], "2"),
        ((1, 2, 5, 6, 7), [0, 0, 0, 0, 1, 1, 1, 1, 0, 0], "2, 3"),
        ((1, 2, 5, 6, 7), [0, 0, 1, 1, 0, 0, 0, 0, 0, 0], "1"),
        ((1, 6, 8, 8), [0, 0, 2, 1, 1, 2, 0, 0], "1, 2"),
        ((1, 6, 8, 8), [1, 2, 0, 0], None),
    ],
)
def test_mirrored_padding_takes_the_last_two_axes(tmp_path, mode, shape, amounts, axes):
    made = program(tmp_path, padding(amounts, mode), shape)
    if axes is None:
        assert package.write(*made).file.is_dir()
        return
    with pytest.raises(UnsupportedError, match=f"this one pads {axes} of {len(shape)}") as raised:
        package.write(*made)
    assert mode in str(raised.value) and raised.value.hint


def test_constant_padding_takes_any_axis(tmp_path):
    assert package.write(*program(tmp_path, padding([1, 1, 1, 1, 1, 1], "constant"), (2, 3, 4))).file.is_dir()


def test_a_vector_in_a_matmul_is_refused(tmp_path):
    weights = np.ones((4, 3), np.float32)
    with pytest.raises(UnsupportedError, match="an operand of one dimension"):
        package.write(*program(tmp_path, lambda mb, x: mb.matmul(x=x, y=weights), (4,)))


def test_a_right_program_has_no_findings(tmp_path):
    weights = np.ones((4, 3), np.float32)
    written = package.write(*program(tmp_path, lambda mb, x: mb.matmul(x=x, y=weights), (2, 4)))
    assert checks.findings(read_program(read(written.file))) == []
