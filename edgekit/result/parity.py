"""How close the outputs of a file are to those of the model that it was made of."""

from __future__ import annotations

from typing import Literal

from edgekit.result.frozen import Measured


class Channel(Measured):
    """One channel of an output.

    Attributes:
        axis: of the output in data, whose first axis is the sample.
        index: on that axis.
        db: ``variation_db`` over its elements, or what ``by`` says, in dB.
        by: ``magnitude`` where the channel hardly varies, so that its error is compared with its size.
    """

    axis: int
    index: int
    db: float
    by: Literal["variation", "magnitude"]


class OutputParity(Measured):
    """Closeness of one output over all samples; ``proof.parity`` measures it.

    Attributes:
        sqnr_db: ``10 log10(sum ref^2 / sum (ref - measured)^2)`` in dB, within +-300; 0 where the measured output is
            not finite.
        cosine: cosine of the two outputs taken as one vector each; 1 where both are all zero, 0 where one is.
        max_abs: largest absolute error in the output's own unit; None where the measured output is not finite.
        reason: what is wrong beyond mere distance (NaN, silent reference, masked places), or an empty string.
        variation_db: ``10 log10(sum V / sum E)`` over the elements, ``V`` the variance of the reference over the
            samples and ``E`` the mean square error; None where it was not measured, or the output hardly varies.
        channel: the worst channel; None where there are none, or too few samples.
        dead: why the output carries nothing although the reference does, or an empty string.
        constant: whether that is because every sample gets the same answer.
        still: whether the reference itself is the same for every sample, but for rounding, so that a file that always
            answers so is as close.
        equal: share of equal values, of integer and boolean outputs; None for others.
        masked: values that the reference masks (``proof.masks``): they must be masked in the file, too, and count
            nowhere else.
    """

    sqnr_db: float
    cosine: float
    max_abs: float | None
    reason: str = ""
    variation_db: float | None = None
    channel: Channel | None = None
    dead: str = ""
    constant: bool = False
    still: bool = False
    equal: float | None = None
    masked: int = 0


class Drift(Measured):
    """Whether an error grows on the way, where a model feeds its own states back.

    Attributes:
        steps: length of the sequences.
        first20_db: SQNR of the worst output over the first 20 steps, in dB.
        last20_db: the same over the last 20.
    """

    steps: int
    first20_db: float
    last20_db: float


class Parity(Measured):
    """Closeness of a part's outputs to the checkpoint's own; each top-level figure is the worst over the outputs.

    Attributes:
        reference: who ran the checkpoint; None for what is compared with a recording.
        inputs: whether both ran on data or on generated inputs.
        samples: number of samples compared, or of sequences.
        sqnr_db: smallest over the outputs, in dB; integers and booleans left out where there are others.
        cosine: smallest over the same outputs.
        max_abs: largest over the outputs; None where any output is not finite.
        per_output: the same per output, by name.
        runtime: what executed the file.
        runtime_precision: in which precision, as the runtime says.
        drift: of sequences that are long enough; None for everything else.
        variation_db: smallest over the outputs; None where none was measured.
        channel_db: that of the worst channel of all; None where none was measured.
        noise_floor_db: SQNR of the framework's own run when its inputs move by one rounding, measured where a limit is
            missed.
    """

    reference: str | None = None
    inputs: Literal["data", "generated"] | None = None
    samples: int
    sqnr_db: float
    cosine: float
    max_abs: float | None
    per_output: dict[str, OutputParity]
    runtime: str | None = None
    runtime_precision: str | None = None
    drift: Drift | None = None
    variation_db: float | None = None
    channel_db: float | None = None
    noise_floor_db: float | None = None

    @property
    def reason(self) -> str:
        """The outputs' reasons, joined; empty where there is none."""
        return "; ".join(output.reason for output in self.per_output.values() if output.reason)


#: What is said of outputs that are the same to the last bit, in dB.
SAME = 300.0


class Second(Measured):
    """What another implementation makes of one sample, beside the one that the file is held against.

    Attributes:
        by: who ran it.
        sqnr_db: how close both are, the output that is least; 300 where all are the same to the last bit. None where it
            did not run the model.
        reason: why it did not.
    """

    by: str
    sqnr_db: float | None = None
    reason: str = ""

    @property
    def words(self) -> str:
        """One sentence."""
        if self.sqnr_db is None:
            return f"{self.by} did not run one sample of it: {self.reason}"
        close = "to the last bit" if self.sqnr_db >= SAME else f"to {self.sqnr_db:.1f} dB"
        return f"{self.by} agrees with it on one sample {close}"
