"""SavedModels that TensorFlow itself writes and that reach out when they are loaded or called; runs in its child."""

from __future__ import annotations

from pathlib import Path
from typing import Any

X = "x"


def make(folder: str, target: str, secret: str, port: int) -> None:
    import tensorflow as tf

    where, raw = Path(folder), tf.raw_ops

    def after(*operations: Any) -> Any:
        return lambda x: _then(tf, operations, x)

    def length(text: Any) -> Any:
        return tf.cast(tf.strings.length(text), tf.float32)

    def in_a_loop(x: Any) -> Any:
        def body(i: Any, x: Any) -> Any:
            return i + 1, x + length(tf.io.read_file(secret))

        return {"y": tf.while_loop(lambda i, _: i < 2, body, (tf.constant(0), x))[1]}

    def in_a_branch(x: Any) -> Any:
        def write() -> Any:
            with tf.control_dependencies([tf.io.write_file(target, "owned")]):
                return tf.identity(x)

        return {"y": tf.cond(tf.reduce_sum(x) > 1e9, lambda: x, write)}

    functions = {
        "loop": in_a_loop,
        "branch": in_a_branch,
        "save": after(lambda: raw.Save(filename=target, tensor_names=["a"], data=[tf.constant(1.0)])),
        "merge": after(lambda: raw.MergeV2Checkpoints(checkpoint_prefixes=[secret], destination_prefix=target)),
        "list": lambda x: {"y": x + tf.cast(tf.size(tf.io.matching_files("/etc/*")), tf.float32)},
        "region": lambda x: {"y": x + raw.ImmutableConst(dtype=tf.float32, shape=[1, 2], memory_region_name=secret)},
        "remap": lambda x: {
            "y": x + raw.LoadAndRemapMatrix(
                ckpt_path=secret, old_tensor_name="a", row_remapping=[0], col_remapping=[0, 1], initializing_values=[],
                num_rows=1, num_cols=2,
            )
        },
        "lines": lambda x: {"y": x + tf.cast(_first_line(tf, secret), tf.float32)},
        "log": after(lambda: tf.print("owned", output_stream=f"file://{target}")),
        "summary": after(lambda: _summary(tf, target)),
    }  # fmt: skip
    for name, function in functions.items():
        traced = tf.function(function, input_signature=[tf.TensorSpec((1, 2), tf.float32, X)])
        module = tf.Module()
        tf.saved_model.save(module, where / f"sm_{name}", signatures=traced.get_concrete_function())


def _then(tf: Any, operations: Any, x: Any) -> Any:
    with tf.control_dependencies([found for found in (one() for one in operations) if found is not None]):
        return {"y": tf.identity(x)}


def _first_line(tf: Any, secret: str) -> Any:
    reader = tf.raw_ops.TextLineDataset(filenames=[secret], compression_type="", buffer_size=100)
    return tf.raw_ops.ReduceDataset(
        input_dataset=reader, initial_state=[tf.constant(0)], other_arguments=[], output_types=[tf.int32],
        output_shapes=[[]], f=_counts(tf),
    )[0]  # fmt: skip


def _counts(tf: Any) -> Any:
    @tf.function(input_signature=[tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.string)])
    def count(so_far: Any, line: Any) -> Any:
        return so_far + tf.strings.length(line)

    return count.get_concrete_function()


def _summary(tf: Any, target: str) -> Any:
    writer = tf.raw_ops.SummaryWriter(shared_name="s", container="")
    return tf.raw_ops.CreateSummaryFileWriter(
        writer=writer, logdir=target, max_queue=1, flush_millis=1, filename_suffix="x"
    )
