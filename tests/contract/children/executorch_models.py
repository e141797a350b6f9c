"""Small models with the traps of the ExecuTorch toolchain in them, and what runs in the tests' own children."""

from __future__ import annotations

import io
import os
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.schemes import SCHEMES


def conv() -> Any:
    """BatchNorm, ReLU6, dropout before the last layer, a pooling without stride, tanh GELU."""
    import torch
    from torch import nn

    class Conv(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 16, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(16)
            self.second = nn.Conv2d(16, 16, 3, padding=1, groups=16)
            self.drop = nn.Dropout(0.5)
            self.inner = nn.Linear(16, 32)
            self.outer = nn.Linear(32, 5)
            self.example_inputs = (torch.zeros(1, 3, 8, 8),)
            nn.init.uniform_(self.norm.running_mean, -0.3, 0.3)
            nn.init.uniform_(self.norm.running_var, 0.5, 2.0)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            x = nn.functional.relu6(self.norm(self.first(image)))
            x = nn.functional.max_pool2d(nn.functional.relu(self.second(x)), 2)
            x = self.inner(self.drop(x.mean((2, 3))))
            logits: torch.Tensor = self.outer(nn.functional.gelu(3 * x, approximate="tanh"))
            return logits

    torch.manual_seed(0)
    return Conv()


def padded() -> Any:
    """An uneven padding of the image itself, convolutions before ReLUs, a scaled residual, a transposed convolution."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 16, 3, stride=2)
            self.second = nn.Conv2d(16, 16, 3, padding=1)
            self.wider = nn.ConvTranspose2d(16, 8, 2, stride=2)
            self.head = nn.Linear(8, 5)
            self.example_inputs = (torch.zeros(1, 3, 16, 16),)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            x = functional.relu(self.first(functional.pad(image, (0, 1, 0, 1))))
            x = 0.5 * x + functional.relu(self.second(x))
            logits: torch.Tensor = self.head(functional.relu(self.wider(x)).mean((2, 3)))
            return logits

    torch.manual_seed(0)
    return Padded()


def pooled(sides: tuple[int, int, int, int] = (1, 1, 1, 1)) -> Any:
    """A padding apart between a ReLU and a pooling, and one before a convolution, as Keras writes them."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 8, 3)
            self.second = nn.Conv2d(8, 8, 3, stride=2)
            self.head = nn.Linear(8, 5)
            self.example_inputs = (torch.zeros(1, 3, 16, 16),)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            x = functional.relu(self.first(functional.pad(image, (1, 1, 1, 1))))
            x = functional.max_pool2d(functional.pad(x, sides), 3, 2)
            logits: torch.Tensor = self.head(self.second(functional.pad(x, (1, 1, 1, 1))).mean((2, 3)))
            return logits

    torch.manual_seed(0)
    return Pooled()


def pooled_unevenly() -> Any:
    """The same with a padding that no pooling has."""
    return pooled((0, 1, 0, 1))


def shortcut() -> Any:
    """A convolution and two of 1 x 1 beside it, one with stride 2, on the same input."""
    import torch
    from torch import nn

    class Shortcut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, padding=1)
            self.inner = nn.Conv2d(8, 16, 3, 2, 1)
            self.beside = nn.Conv2d(8, 16, 1, 2)
            self.whole = nn.Conv2d(8, 8, 1)
            self.example_inputs = (torch.zeros(1, 3, 8, 8),)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            x = nn.functional.relu(self.stem(image))
            found: torch.Tensor = self.inner(x) + self.beside(x)
            return found + self.whole(x)[:, :, ::2, ::2].repeat(1, 2, 1, 1)

    torch.manual_seed(0)
    return Shortcut()


def maxima() -> Any:
    """Maxima: over a padding of minus infinity, and of the whole image, as an adaptive pooling."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Maxima(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, padding=1)
            self.head = nn.Linear(8, 5)
            self.example_inputs = (torch.zeros(1, 3, 8, 8),)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            x = functional.pad(self.stem(image), (1, 1, 1, 1), value=float("-inf"))
            logits: torch.Tensor = self.head(
                functional.adaptive_max_pool2d(functional.max_pool2d(x, 3, 1), 1)[:, :, 0, 0]
            )
            return logits

    torch.manual_seed(0)
    return Maxima()


def uneven_maxima() -> Any:
    """Maxima over windows that are not of one size."""
    import torch
    from torch import nn

    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveMaxPool2d(3))
    model.example_inputs = (torch.zeros(1, 3, 8, 8),)
    return model


def called() -> Any:
    """One layer called three times, on inputs of different scales."""
    import torch
    from torch import nn

    class Called(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(16, 16)
            self.example_inputs = (torch.zeros(1, 6, 16),)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.layer(self.layer(self.layer(rows)))
            return found

    torch.manual_seed(0)
    return Called()


def cut() -> Any:
    """What a layer gives cut in two: one half for another layer, one for a product of elements, padded together."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(16, 16)
            self.second = nn.Linear(8, 8)
            self.last = nn.Linear(12, 5)
            self.example_inputs = (torch.zeros(1, 6, 16),)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            x = self.first(rows)
            gated = self.second(x[..., :8]) * torch.exp(0.5 * x[..., 8:])
            logits: torch.Tensor = self.last(functional.pad(gated, (1, 3))[:, 1:].flatten(0, 1))
            return logits

    torch.manual_seed(0)
    return Cut()


def shared() -> Any:
    """One matrix in a linear layer and in a product of elements."""
    import torch
    from torch import nn

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(16, 16)
            self.example_inputs = (torch.zeros(1, 16, 16),)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.linear(rows) * self.linear.weight
            return out

    torch.manual_seed(0)
    return Shared()


def steep() -> Any:
    """A weight that float16 cannot hold."""
    import torch
    from torch import nn

    class Steep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.example_inputs = (torch.zeros(1, 4),)
            nn.init.constant_(self.linear.weight, 1e5)

        def forward(self, row: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.linear(row)
            return out

    return Steep()


def cell() -> Any:
    """Embedding, LSTM over three steps, linear head."""
    import torch
    from torch import nn

    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.word = nn.Embedding(11, 16)
            self.lstm = nn.LSTM(16, 16, batch_first=True)
            self.head = nn.Linear(16, 4)
            self.example_inputs = (torch.zeros(1, 3, dtype=torch.int32),)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(self.lstm(self.word(tokens))[0][:, -1])
            return logits

    torch.manual_seed(0)
    return Cell()


def after_onnx_export() -> Any:
    """The network of ``conv`` as a legacy ONNX export leaves it that wrapped it: in training mode."""
    import torch

    class Around(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.inner(image)
            return out

    model = conv().eval()
    torch.onnx.export(Around(model), model.example_inputs, io.BytesIO(), dynamo=False, opset_version=17)
    assert model.norm.training, "torch.onnx.export no longer does this: the test has lost its point"
    return model


def keras_tokens() -> Any:
    """Keras looks tokens up through index arithmetic that must stay integer; its products are matmul."""
    import keras

    keras.utils.set_random_seed(0)
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(11, 16, name="word")(tokens)
    x = keras.layers.Dense(32, activation="relu")(x)
    return keras.Model(tokens, keras.layers.Dense(4, name="logits")(x))


def keras_image() -> Any:
    """Keras's images are channels last, as XNNPACK's own are."""
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(image)
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(4, name="logits")(x))


def run(file: str, inputs: str) -> dict[str, Any]:
    """Open a program and run every sample; what the session says about itself."""
    from executorch.extension.pybindings import portable_lib

    from edgekit import toolchains

    session = toolchains.open_session("executorch", Path(file), toolchains.Options(SCHEMES["fp32"]))
    with np.load(inputs) as stored:
        data = {name.removeprefix("x/"): stored[name] for name in stored.files}
    rows = [session.run({n: a[i : i + 1] for n, a in data.items()}) for i in range(len(next(iter(data.values()))))]
    bound = session.bind({n: a[:1] for n, a in data.items()})
    bound()
    bound()  # twice: a program overwrites the memory of its inputs
    return {
        "outputs": {name: [row[name].tolist() for row in rows] for name in rows[0]},
        "by": session.by,
        "precision": session.precision,
        "ops_delegated": session.ops_delegated,
        "threads": portable_lib._threadpool_get_thread_count(),
    }


def mutant(content: bytes, seed: int) -> bytes:
    """A damaged copy: bytes flipped, or set to extremes, or a part written over another, or the end cut off."""
    rng = random.Random(seed)
    out = bytearray(content)
    kind = rng.random()
    if kind < 0.15:
        return bytes(out[: rng.randrange(len(out))])
    if kind < 0.3:
        size, source, target = rng.randrange(1, 64), rng.randrange(len(out)), rng.randrange(len(out))
        out[target : target + size] = out[source : source + size]
        return bytes(out)
    for _ in range(rng.choice((1, 1, 2, 8))):
        out[rng.randrange(len(out))] = rng.choice((0, 255, 127, 128, rng.randrange(256)))
    return bytes(out)


def run_unread(file: str) -> None:
    """Give a file to the runtime at once, as ``open_session`` does not: inputs of zeros."""
    import torch
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(Path(file)).load_method("forward")
    method.execute([torch.zeros(1, 3, 8, 8)])


def fuzz(file: str, scratch: str, count: int, unread: bool = False) -> dict[str, Any]:
    """Open and run ``count`` mutants, each batch in a fork of this process, which itself never runs the runtime.

    With ``unread`` the runtime gets them without our reading them first.

    Returns how many ran, were refused with an error of ours, raised anything else (``odd``), and ended their process
    (``killed``, by seed).
    """
    import torch
    from executorch.runtime import Runtime

    from edgekit import toolchains
    from edgekit.errors import EdgekitError

    torch.set_num_threads(1)
    Runtime.get()
    content = Path(file).read_bytes()
    progress, path = Path(scratch) / "progress", Path(scratch) / "mutant.pte"
    progress.write_text("")

    def batch(first: int) -> None:
        with progress.open("a") as stream:
            for seed in range(first, count):
                path.write_bytes(mutant(content, seed))
                stream.write(f"\n{seed} ")
                stream.flush()
                signal.alarm(10)
                try:
                    if unread:
                        run_unread(str(path))
                    else:
                        session = toolchains.open_session("executorch", path, toolchains.Options(SCHEMES["fp32"]))
                        session.run({n: np.zeros(s, d) for n, (s, d) in session._inputs.items()})
                    stream.write("ran")
                except EdgekitError:
                    stream.write("refused")
                except Exception as error:  # counted by its name: the test wants none
                    stream.write(f"odd:{type(error).__name__}")
                stream.flush()

    done = 0
    while done < count:
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            batch(done)
            os._exit(0)
        os.waitpid(child, 0)
        done = int(progress.read_text().rsplit("\n", 1)[-1].split()[0]) + 1
    rows = [line.split(" ", 1) for line in progress.read_text().strip().split("\n")]
    ends = {int(seed): end.strip() for seed, end in rows}
    return {
        "ran": sum(end == "ran" for end in ends.values()),
        "refused": sum(end == "refused" for end in ends.values()),
        "odd": {seed: end for seed, end in ends.items() if end.startswith("odd")},
        "killed": [seed for seed, end in ends.items() if not end],
    }
