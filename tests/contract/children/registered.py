"""What the installed frameworks know by name, for ``test_allowed.py``; run in children."""

import inspect


def tensorflow_operators():
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session as session

    found = op_def_pb2.OpList()
    found.ParseFromString(session.TF_GetBuffer(session.TF_GetAllOpList()))
    return sorted(op.name for op in found.op)


def tensorflow_functions():
    import tensorflow as tf
    import tf_keras

    places = [tf, tf.math, tf.nn, tf.linalg, tf.image, tf.signal, tf.bitwise, tf.quantization, tf.compat.v1,
              tf.compat.v1.nn, tf_keras.backend, tf_keras.activations]  # fmt: skip
    dunder = {name.strip("_") for name in dir(tf.Tensor) if name.startswith("__")}
    return sorted({name for place in places for name in dir(place)} | dunder)


def _classes(module):
    return {name for name in dir(module) if inspect.isclass(getattr(module, name))}


def keras_layers():
    import keras

    return sorted(_classes(keras.layers))


def keras_names():
    import importlib

    import keras

    found = set(dir(keras.activations)) | set(dir(keras.losses)) | set(dir(keras.metrics))
    optimizers = (keras.optimizers, keras.optimizers.schedules)
    parts = (keras.initializers, keras.regularizers, keras.constraints, keras.dtype_policies, keras.quantizers)
    for module in (keras.layers, keras.losses, keras.metrics, keras.random, keras.models, *parts, *optimizers):
        found |= _classes(module)
    for name in ("numpy", "nn", "core", "math", "image", "linalg", "einops"):
        found |= _classes(importlib.import_module(f"keras.src.ops.{name}"))
    return sorted(found)


def keras_2_layers():
    from tf_keras.src.layers import serialization

    serialization.populate_deserializable_objects()
    return sorted(name for name, found in serialization.LOCAL.ALL_OBJECTS.items() if inspect.isclass(found))


def keras_2_names():
    import tf_keras

    found = set(keras_2_layers()) | set(dir(tf_keras.activations)) | set(dir(tf_keras.losses))
    for module in (tf_keras.initializers, tf_keras.regularizers, tf_keras.constraints, tf_keras.optimizers,
                   tf_keras.optimizers.schedules, tf_keras.metrics, tf_keras.mixed_precision):  # fmt: skip
        found |= set(dir(module))
    return sorted(found)


def torch_operators():
    import torch
    import torch._prims
    import torch.ao.quantization.fx._decomposed  # registers quantized_decomposed

    return sorted({schema.name for schema in torch._C._jit_get_all_schemas()})


def torch_file_operators():
    """Operators that take the name of a file."""
    import torch

    words = ("file", "path", "dir")
    return sorted(
        {
            schema.name
            for schema in torch._C._jit_get_all_schemas()
            for argument in schema.arguments
            if "str" in str(argument.type).lower() and any(word in argument.name.lower() for word in words)
        }
    )


def torch_functions():
    import math
    import operator

    import torch
    import torch.utils._sympy.functions as shapes

    higher = ["cond", "while_loop", "scan", "associative_scan", "map_impl", "wrap", "wrap_with_set_grad_enabled",
              "wrap_with_autocast", "tag_activation_checkpoint", "out_dtype"]  # fmt: skip
    import torch._higher_order_ops

    return {
        "operator": sorted(dir(operator)),
        "math": sorted(dir(math)),
        "torch": sorted(dir(torch)),
        "higher_order": [name for name in higher if hasattr(torch.ops.higher_order, name)],
        "shapes": sorted(dir(shapes)),
    }
