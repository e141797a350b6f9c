"""What an engineer writes by hand for ExecuTorch with XNNPACK: the vendor's calls and nothing else.

    python benchmarks/byhand_executorch.py MODEL FRAMEWORK ENVIRONMENT CALIBRATION.npz FOLDER TARGET/CALL ...

As ``byhand.py`` is for other formats.
"""

import copy
import functools
import sys

import byhand
from byhand_coreml import module_and_example


def exported(job, half=False):
    import torch

    class Half(torch.nn.Module):
        """The model in float16 behind float32 inputs and outputs."""

        def __init__(self, model):
            super().__init__()
            self.model = copy.deepcopy(model).half()

        def forward(self, *tensors):
            made = self.model(*(t.half() if t.is_floating_point() else t for t in tensors))
            return {k: t.float() for k, t in made.items()} if isinstance(made, dict) else made.float()

    model, example = module_and_example(job)
    return torch.export.export(Half(model).eval() if half else model, example, strict=False)


def save(program, out, **settings):
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner(**settings)])
    out.write_bytes(lowered.to_executorch().buffer)


def executorch_float(job, out, half=False):
    save(exported(job, half), out)


def executorch_quantized(job, out, dynamic=False):
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    settings = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=dynamic)
    prepared = prepare_pt2e(exported(job).module(), XNNPACKQuantizer().set_global(settings))
    with torch.no_grad():
        for row in job.rows():
            prepared(*(torch.from_numpy(array) for array in row.values()))
    options = {}
    if dynamic:
        from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType

        options = {"config_precisions": ConfigPrecisionType.DYNAMIC_QUANT, "per_op_mode": True}
    save(torch.export.export(convert_pt2e(prepared), module_and_example(job)[1], strict=False), out, **options)


_CALLS = {
    "executorch-fp32": {"xnnpack": executorch_float},
    "executorch-fp16": {"half": functools.partial(executorch_float, half=True)},
    "executorch-int8": {"pt2e": executorch_quantized},
    "executorch-int8-dynamic": {"pt2e dynamic": functools.partial(executorch_quantized, dynamic=True)},
}
#: Keras casts back to its own policy's float32, so that ``half`` is a call of PyTorch alone.
CALLS = {"torch": _CALLS, "keras-torch": {name: made for name, made in _CALLS.items() if name != "executorch-fp16"}}

if __name__ == "__main__":
    byhand.main(CALLS, *sys.argv[1:])
