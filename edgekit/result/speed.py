"""What an artifact takes and how fast it is, against its float twin and against what it would be without a recipe."""

from __future__ import annotations

from typing import Literal

from edgekit.result.frozen import Frozen, Measured

#: The latency of an artifact against its float twin's.
Speed = Literal["FASTER", "SAME", "SLOWER", "TOO_SMALL_TO_TELL"]


class Latency(Measured):
    """CPU milliseconds per inference (all parts once), one thread, in turns with the float twin on the same runtime.

    Medians over blocks, and of the ratio artifact / float of two paired blocks; ``proof.latency`` measures it.

    Attributes:
        verdict: what the ratio says; None until it is judged.
        measured_at: when, in UTC, as ISO 8601 has it.
        reused: whether that was in an earlier run, on this machine.
    """

    float_cpu_ms: float
    artifact_cpu_ms: float
    ratio: float
    ratio_ci95: tuple[float, float]
    verdict: Speed | None = None
    noisy: bool
    blocks: int
    runs_per_block: tuple[int, int]
    wall_over_cpu: float
    measured_at: str | None = None
    reused: bool = False


class Gain(Frozen):
    """What pruning gained, each figure against the same source without the recipe.

    That is converted by the same route, or, where this route does not take it, to the format's float file.

    Attributes:
        against: which of the two it is.
        size_bytes: of the model's own files.
        size_bytes_without: the same without the recipe.
        compressed_bytes: of the same files as a store ships them: each deflated, level 9.
        compressed_bytes_without: the same without the recipe.
        latency: in turns with the file without the recipe, which stands where the float twin does elsewhere; None where
            nothing was timed.
        zeros: what the format and its runtime make of zeros, as the toolchain declares.
        words: the same in words, a sentence each; what did not gain says so.
    """

    against: Literal["target", "float file"]
    size_bytes: int
    size_bytes_without: int
    compressed_bytes: int
    compressed_bytes_without: int
    latency: Latency | None
    zeros: str
    words: tuple[str, ...]
