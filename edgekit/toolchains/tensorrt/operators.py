"""The ONNX operators that TensorRT's parser takes, with their element types and restrictions, as data.

Source: onnx-tensorrt, ``docs/operators.md``, "TensorRT 10.15 supports operators in the inclusive range of opset 9 to
opset 24" (TensorRT 11.x: NVIDIA's "ONNX Opset Guide" names that same list and opsets up to 25). Types are those of the
document's column "Supported Types", without FP8 and FP4, which edgekit writes nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping

DOCUMENT = "onnx-tensorrt docs/operators.md of TensorRT 10.15"
#: First and last opset that every supported release takes.
OPSETS = (9, 24)

_FLOAT = frozenset({"float32", "float16", "bfloat16"})
_HALF = frozenset({"float32", "float16"})
_NUMBER = _FLOAT | {"int32", "int64"}
_ANY = _NUMBER | {"bool"}
_CAST = _ANY | {"uint8"}
_BOOL = frozenset({"bool"})

_GROUPS: tuple[tuple[frozenset[str], str], ...] = (
    (
        _FLOAT,
        "Acos Acosh Asin Asinh Atan Atanh AveragePool BatchNormalization Ceil Celu Clip Conv ConvTranspose Cos Cosh "
        "CumSum Dropout Einsum Elu Erf Exp Floor GRU Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool "
        "GroupNormalization HardSigmoid HardSwish Hardmax ImageScaler InstanceNormalization IsInf LRN LSTM "
        "LayerNormalization LeakyRelu Log LogSoftmax LpNormalization LpPool MatMul MaxPool MeanVarianceNormalization "
        "PRelu ParametricSoftplus QuantizeLinear RMSNormalization RNN RandomNormal RandomNormalLike RandomUniform "
        "RandomUniformLike Reciprocal Resize RotaryEmbedding Round ScaledTanh Scan Selu Sigmoid Sin Sinh Softmax "
        "Softplus Softsign Sqrt Tan Tanh ThresholdedRelu Upsample",
    ),
    (
        _NUMBER,
        "Abs Add ArgMax ArgMin DepthToSpace Div Equal Greater GreaterOrEqual IsNaN Less LessOrEqual Max Mean Min Mod "
        "Mul Neg Pad Pow Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin "
        "ReduceProd ReduceSum ReduceSumSquare Relu Scatter ScatterElements ScatterND Shrink Sign SpaceToDepth Sub Sum "
        "TensorScatter TopK",
    ),
    (
        _ANY,
        "Concat Constant ConstantOfShape Expand EyeLike Flatten Gather GatherElements GatherND Identity If Loop OneHot "
        "Reshape ReverseSequence Shape Size Slice Split Squeeze Tile Transpose Trilu Unsqueeze Where",
    ),
    (_CAST, "Cast CastLike"),
    (_HALF, "BlackmanWindow DeformConv GridSample HammingWindow HannWindow Mish NonMaxSuppression NonZero RoiAlign"),
    (_BOOL, "And Not Or Xor"),
    (frozenset({"float32"}), "STFT"),
    (_FLOAT | {"int8"}, "Attention"),
    (_NUMBER | {"int8"}, "Gelu"),
    (frozenset({"int8", "int4"}), "DequantizeLinear"),
)

#: Operator -> element types of its data.
SUPPORTED: Mapping[str, frozenset[str]] = {name: types for types, names in _GROUPS for name in names.split()}

#: Operators whose data is not their first input: position of the input, or None for the first output.
DATA: Mapping[str, int | None] = {
    "Where": 1,
    "Constant": None,
    "ConstantOfShape": None,
    "EyeLike": None,
    "OneHot": None,
    "RandomNormal": None,
    "RandomUniform": None,
    "BlackmanWindow": None,
    "HammingWindow": None,
    "HannWindow": None,
}
#: Operators that hold graphs; the types of these are checked inside.
CONTROL = frozenset({"If", "Loop", "Scan"})
