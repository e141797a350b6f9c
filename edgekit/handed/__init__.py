"""What a Python program hands in as objects, as files: a conversion happens in processes of its own, which take files.

The caller's process has its framework already; edgekit imports none. Models are written by their own framework's
exporter (``models.py``), samples batch by batch (``samples.py``), into a folder that is gone when the call ends.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import EdgekitError
from edgekit.handed import models, samples
from edgekit.sources import source as sources

#: Distributions that write what is handed on.
PACKAGES = ("numpy", "torch")


@dataclass(frozen=True)
class Handed:
    """What was handed in, as text that names files.

    Attributes:
        source: as of the command line.
        called: what a live model is called, in the place of its file; None of text and paths.
        data: text by option (``train``, ``calibrate``, ``evaluate``).
        arrays: the options among them that were no text, whose files are this call's own.
    """

    source: str
    called: models.Called | None
    data: dict[str, str]
    arrays: tuple[str, ...]


@contextlib.contextmanager
def given(
    source: object, *, example_inputs: object = None, inputs: Sequence[str] = (), **data: object
) -> Iterator[Handed]:
    """Whatever was handed in, as files, until the block ends.

    Args:
        source: text, a path, a ``torch.nn.Module``, or a Keras model.
        example_inputs: of a PyTorch module: a tensor, a tuple of them in the order of ``forward``, or a dict by name.
        inputs: declarations as of ``--input``; they give shapes, too.
        **data: by option: text, a path, arrays, or an iterable of batches; see ``samples.write``.

    Raises:
        WrongTypeError: an object of another kind.
        UsageError: an array that is none, a model that does not say what it takes.
        UnsupportedError: a model that its exporter cannot write.
    """
    with contextlib.ExitStack() as stack:
        made: list[Path] = []

        def folder() -> Path:
            if not made:
                made.append(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgekit-handed-"))))
            return made[0]

        texts: dict[str, str] = {}
        arrays = []
        for option, value in data.items():
            if (text := samples.text(value)) is not None:
                texts[option] = text
            elif value is not None:
                path = folder() / f"{option}.npz"
                samples.write(value, path, option)
                texts[option] = str(path)
                arrays.append(option)
        declared = sources.parse_inputs(inputs)
        examples = models.Examples(example_inputs, declared, [Path(texts[option]) for option in arrays])
        text, called = models.written(source, folder, examples)
        try:
            yield Handed(text, called, texts, tuple(arrays))
        except EdgekitError as error:
            if made:  # nobody knows the names of these files
                error.args = tuple(str(said).replace(f"{made[0]}/", "") for said in error.args)
                error.hint = error.hint.replace(f"{made[0]}/", "")
            raise
