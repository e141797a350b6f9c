"""Programs that store weights in a .ptd file beside them: ``python large_executorch.py FOLDER``.

Writes FOLDER/delegate/model.pte, whose XNNPACK delegate has its weights outside, and FOLDER/kernels/model.pte, whose
portable kernels have.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower
from executorch.exir.passes.external_constants_pass import delegate_external_constants_pass_unlifted

sys.path.insert(0, str(Path(__file__).parent))
from graphs_torch import model


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    made = model("large")
    example = (torch.zeros(1, 1024),)
    module = torch.export.export(made, example).module()
    delegate_external_constants_pass_unlifted(module, gen_tag_fn=lambda node: "weights")
    tagged = torch.export.export(module, example)
    for name, parts, settings in (
        ("delegate", [XnnpackPartitioner()], ExecutorchBackendConfig()),
        ("kernels", [], ExecutorchBackendConfig(external_constants=True)),
    ):
        into = folder / name
        into.mkdir(parents=True)
        program = to_edge_transform_and_lower(tagged, partitioner=parts).to_executorch(settings)
        with (into / "model.pte").open("wb") as stream:
            program.write_to_file(stream)
        program.write_tensor_data_to_file(str(into))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
