"""ONNX models as they are met, each small, written with onnx alone; and some that are refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

F = TensorProto.FLOAT


def value(name: str, shape: Sequence[Any], kind: int = F) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def weight(name: str, *shape: int, kind: Any = np.float32) -> onnx.TensorProto:
    """Of its name's own numbers, whatever else was made before."""
    rng = np.random.default_rng(list(name.encode()))
    return numpy_helper.from_array((rng.normal(size=shape) / max(1, shape[0]) ** 0.5).astype(kind), name)


def constant(name: str, array: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[onnx.TensorProto] = (),
    *,
    opset: int = 17,
    ir: int = 8,
    **more: Any,
) -> onnx.ModelProto:
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), list(weights))
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in more.pop("domains", ()))]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir, **more)


node = helper.make_node


def mlp(*, opset: int = 17, ir: int = 8, kind: int = F, open_: bool = False) -> onnx.ModelProto:
    """Two layers; ``kind`` is that of all its numbers."""
    array = helper.tensor_dtype_to_np_dtype(kind)
    first = "batch" if open_ else 1
    return model(
        [
            node("Gemm", ["x", "w1", "b1"], ["h"], "one"),
            node("Relu", ["h"], ["r"], "relu"),
            node("Gemm", ["r", "w2"], ["y"], "two"),
        ],
        [value("x", [first, 16], kind)],
        [value("y", [first, 8], kind)],
        [weight("w1", 16, 32, kind=array), weight("b1", 32, kind=array), weight("w2", 32, 8, kind=array)],
        opset=opset,
        ir=ir,
    )


def two_in_three_out() -> onnx.ModelProto:
    """Two inputs, three outputs, one of which is an integer that nothing else reads; a weight in two places."""
    return model(
        [
            node("MatMul", ["a", "w"], ["p"], "same"),
            node("MatMul", ["b", "w"], ["q"], "same"),
            node("Add", ["p", "q"], ["sum"], ""),
            node("Softmax", ["sum"], ["share"], "", axis=-1),
            node("ArgMax", ["sum"], ["unused"], "", axis=1, keepdims=0),
        ],
        [value("a", ["n", 16]), value("b", ["n", 16])],
        [value("sum", ["n", 8]), value("share", ["n", 8]), value("unused", ["n"], TensorProto.INT64)],
        [weight("w", 16, 8)],
    )


def if_and_loop() -> onnx.ModelProto:
    """A branch on the sign of a sum, and a loop of four trips."""
    yes = helper.make_graph([node("MatMul", ["x", "w"], ["t"], "inner")], "yes", [], [value("t", [1, 16])])
    no = helper.make_graph([node("Neg", ["x"], ["e"], "inner")], "no", [], [value("e", [1, 16])])
    body = helper.make_graph(
        [
            node("Identity", ["go"], ["go_on"], ""),
            node("MatMul", ["state", "w"], ["product"], ""),
            node("Tanh", ["product"], ["next"], ""),
        ],
        "body",
        [value("trip", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("state", [1, 16])],
        [value("go_on", [], TensorProto.BOOL), value("next", [1, 16])],
    )
    return model(
        [
            node("ReduceSum", ["x"], ["total"], "", keepdims=0),
            node("Greater", ["total", "zero"], ["positive"], ""),
            node("If", ["positive"], ["chosen"], "branch", then_branch=yes, else_branch=no),
            node("Loop", ["four", "true", "chosen"], ["y"], "loop", body=body),
        ],
        [value("x", [1, 16])],
        [value("y", [1, 16])],
        [weight("w", 16, 16), constant("zero", np.float32(0)), constant("four", np.int64(4)), constant("true", True)],
    )


def tokens() -> onnx.ModelProto:
    """int64 tokens with open axes, a table, and shapes that are computed in the graph."""
    return model(
        [
            node("Gather", ["table", "ids"], ["e"], "lookup"),
            node("Shape", ["ids"], ["shape"], ""),
            node("Concat", ["shape", "two_eight"], ["wide"], "", axis=0),
            node("Reshape", ["e", "wide"], ["heads"], ""),
            node("Transpose", ["heads"], ["k"], "", perm=[0, 2, 3, 1]),
            node("Transpose", ["heads"], ["v"], "", perm=[0, 2, 1, 3]),
            node("MatMul", ["v", "k"], ["scores"], "scores"),
            node("Softmax", ["scores"], ["weights"], "", axis=-1),
            node("MatMul", ["weights", "v"], ["mixed"], "mixed"),
            node("Transpose", ["mixed"], ["back"], "", perm=[0, 2, 1, 3]),
            node("Concat", ["shape", "sixteen"], ["flat"], "", axis=0),
            node("Reshape", ["back", "flat"], ["rows"], ""),
            node("MatMul", ["rows", "w"], ["logits"], "head"),
        ],
        [value("ids", ["batch", "sequence"], TensorProto.INT64)],
        [value("logits", ["batch", "sequence", 50])],
        [
            weight("table", 50, 16),
            weight("w", 16, 50),
            constant("two_eight", np.array([2, 8])),
            constant("sixteen", np.array([16])),
        ],
    )


def old_weights() -> onnx.ModelProto:
    """IR version 3: weights are inputs with a default."""
    found = mlp(opset=9, ir=3)
    found.graph.initializer.append(constant("b2", np.zeros(8, np.float32)))  # Gemm needs one up to opset 10
    found.graph.node[2].input.append("b2")
    found.graph.input.extend(value(t.name, list(t.dims)) for t in found.graph.initializer)
    return found


def with_function() -> onnx.ModelProto:
    """A function of the model's own, in a domain of its own."""
    body = [node("Mul", ["v", "v"], ["s"]), node("Add", ["s", "v"], ["o"])]
    own = helper.make_function("mine", "Twist", ["v"], ["o"], body, [helper.make_opsetid("", 17)])
    return model(
        [node("MatMul", ["x", "w"], ["h"], "a"), node("Twist", ["h"], ["y"], "b", domain="mine")],
        [value("x", [1, 16])],
        [value("y", [1, 8])],
        [weight("w", 16, 8)],
        domains=["mine"],
        functions=[own],
    )


def weights_in_integers() -> onnx.ModelProto:
    """Weights that are stored in int8 and multiplied in float."""
    integers = np.random.default_rng(0).integers(-127, 128, (16, 8)).astype(np.int8)
    return model(
        [
            node("DequantizeLinear", ["w8", "s", "z"], ["w"], "restore", axis=1),
            node("MatMul", ["x", "w"], ["y"], "product"),
        ],
        [value("x", [1, 16])],
        [value("y", [1, 8])],
        [
            constant("w8", integers),
            constant("s", np.full(8, 0.01, np.float32)),
            constant("z", np.zeros(8, np.int8)),
        ],
    )


def quantized() -> onnx.ModelProto:
    """Activations in integers."""
    found = mlp()
    found.graph.initializer.extend([constant("s", np.float32(0.1)), constant("z", np.int8(0))])
    found.graph.node[0].input[0] = "xd"
    found.graph.node.insert(0, node("QuantizeLinear", ["x", "s", "z"], ["xq"], "q"))
    found.graph.node.insert(1, node("DequantizeLinear", ["xq", "s", "z"], ["xd"], "d"))
    return found


def contrib() -> onnx.ModelProto:
    """An operator that ONNX Runtime adds."""
    return model(
        [node("FusedMatMul", ["x", "w"], ["y"], "product", domain="com.microsoft", alpha=0.5)],
        [value("x", [1, 16])],
        [value("y", [1, 8])],
        [weight("w", 16, 8)],
        domains=["com.microsoft"],
    )


def slashes() -> onnx.ModelProto:
    """Names as tf2onnx writes them."""
    found = mlp()
    for one in found.graph.node:
        one.input[:] = ["serving/x:0" if n == "x" else n for n in one.input]
        one.output[:] = ["model/y:0" if n == "y" else n for n in one.output]
    found.graph.input[0].name, found.graph.output[0].name = "serving/x:0", "model/y:0"
    return found


def out_of_order() -> onnx.ModelProto:
    """What is made last stands first, in the loop as well: tools that add operators at the end leave it so."""
    found = if_and_loop()
    loop = next(n for n in found.graph.node if n.op_type == "Loop").attribute[0].g
    for graph in (found.graph, loop):
        turned = [*graph.node][::-1]
        del graph.node[:]
        graph.node.extend(turned)
    return found


#: What converts: name -> (how it is made, options of ``edgekit.convert``).
GOOD: dict[str, tuple[Callable[[], onnx.ModelProto], dict[str, Any]]] = {
    "mlp": (lambda: mlp(open_=True), {}),
    "opset11": (lambda: mlp(opset=11, ir=6), {}),
    "opset21": (lambda: mlp(opset=21, ir=10), {}),
    "opset23": (lambda: mlp(opset=23, ir=11), {}),
    "ir3": (old_weights, {}),
    "float16": (lambda: mlp(kind=TensorProto.FLOAT16), {}),
    "bfloat16": (lambda: mlp(kind=TensorProto.BFLOAT16), {}),
    "two_in_three_out": (two_in_three_out, {}),
    "if_and_loop": (if_and_loop, {}),
    "out_of_order": (out_of_order, {}),
    "tokens": (tokens, {"inputs": ["ids=1x12:int64"]}),
    "function": (with_function, {}),
    "weights_in_integers": (weights_in_integers, {}),
    "slashes": (slashes, {}),
}


def renamed(old: str, new: str) -> onnx.ModelProto:
    found = mlp()
    for one in found.graph.node:
        one.input[:] = [new if n == old else n for n in one.input]
        one.output[:] = [new if n == old else n for n in one.output]
    for one in (*found.graph.input, *found.graph.output):
        one.name = new if one.name == old else one.name
    return found


def no_inputs() -> onnx.ModelProto:
    return model([node("Relu", ["w"], ["y"], "relu")], [], [value("y", [4, 4])], [weight("w", 4, 4)])


def empty() -> onnx.ModelProto:
    return model([], [value("x", [1, 4])], [value("x", [1, 4])])


def zero_axis() -> onnx.ModelProto:
    return model(
        [node("Concat", ["past", "x"], ["y"], "cat", axis=1)],
        [value("past", [1, 0, 4]), value("x", [1, 2, 4])],
        [value("y", [1, 2, 4])],
    )


def text() -> onnx.ModelProto:
    return model(
        [node("StringNormalizer", ["x"], ["y"], "lower", case_change_action="LOWER")],
        [value("x", [4], TensorProto.STRING)],
        [value("y", [4], TensorProto.STRING)],
    )


def sequence() -> onnx.ModelProto:
    found = model([node("SequenceConstruct", ["x", "x"], ["y"], "both")], [value("x", [1, 4])], [])
    found.graph.output.append(helper.make_tensor_sequence_value_info("y", F, [1, 4]))
    return found


def custom() -> onnx.ModelProto:
    return model(
        [node("Magic", ["x"], ["y"], "trick", domain="my.company")],
        [value("x", [1, 4])],
        [value("y", [1, 4])],
        domains=["my.company"],
    )


def of_files() -> onnx.ModelProto:
    return model(
        [node("EPContext", ["x"], ["y"], "blob", domain="com.microsoft", ep_cache_context="/etc/passwd", embed_mode=0)],
        [value("x", [1, 4])],
        [value("y", [1, 4])],
        domains=["com.microsoft"],
    )


def diverged() -> onnx.ModelProto:
    found = mlp()
    array = numpy_helper.to_array(found.graph.initializer[0]).copy()
    array[3, 3] = np.nan
    found.graph.initializer[0].CopyFrom(numpy_helper.from_array(array, "w1"))
    return found


def future() -> onnx.ModelProto:
    found = mlp()
    found.opset_import[0].version = 99
    return found


def random() -> onnx.ModelProto:
    return model(
        [node("RandomNormalLike", ["x"], ["r"], "noise"), node("Add", ["x", "r"], ["y"], "add")],
        [value("x", [1, 4])],
        [value("y", [1, 4])],
    )


def lengths() -> onnx.ModelProto:
    """An output whose shape depends on the values."""
    return model(
        [node("NonZero", ["x"], ["y"], "where")], [value("x", [1, 8])], [value("y", [2, None], TensorProto.INT64)]
    )


#: What is refused: name -> (how it is made, the error's code, words of its message).
REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str, str]] = {
    "no_inputs": (no_inputs, "usage", "has no input"),
    "empty": (empty, "usage", "has no operator"),
    "control_character": (lambda: renamed("h", "h\x1b[2J"), "usage", r"h\x1b[2J"),
    "control_character_input": (lambda: renamed("x", "x\n"), "usage", r"x\n"),
    "zero_axis": (zero_axis, "usage", "axis of size 0"),
    "text": (text, "unsupported", "holds text"),
    "sequence": (sequence, "unsupported", "is a sequence"),
    "custom": (custom, "unsupported", "my.company.Magic"),
    "of_files": (of_files, "unsafe-input", "com.microsoft.EPContext"),
    "diverged": (diverged, "usage", "NaN"),
    "future": (future, "unsupported", "opset 99"),
    "quantized": (quantized, "unsupported", "quantized already: QuantizeLinear x1"),
    "random": (random, "usage", "random"),
    "lengths": (lengths, "unsupported", "for one sample and"),
    "open_axis": (tokens, "usage", "--input ids="),
}


def write(made: onnx.ModelProto, folder: Path, name: str = "m.onnx") -> Path:
    file = folder / name
    file.write_bytes(made.SerializeToString())
    return file
