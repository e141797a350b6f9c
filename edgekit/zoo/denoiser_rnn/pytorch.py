"""DTLN in PyTorch: its two stages for one frame, and both unrolled over a clip for training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Cell states beyond this are penalised in training: the tanh after them is at its end.
REACH = 4.0
EXCESS_WEIGHT = 10.0


class Cell(nn.Module):
    """One step of an LSTM in plain operations, so that its state is an input and an output like any other.

    Two products and a sum: joined to one vector first, in int8 the state would get the step of the far larger inputs.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.given = nn.Linear(inputs, 4 * hidden)
        self.carried = nn.Linear(hidden, 4 * hidden, bias=False)

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """``x`` (n, inputs) and the state (n, hidden) twice -> the next state."""
        i, f, g, o = (self.given(x) + self.carried(hidden)).chunk(4, dim=-1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        if self.training:
            cell = disturbed(cell)
        return o.sigmoid() * cell.tanh(), cell


class Stage(nn.Module):
    """LSTM cells on top of each other and a mask from the last."""

    def __init__(self, width: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.cells = nn.ModuleList(Cell(hidden if i else width, hidden) for i in range(depth))
        self.mask = nn.Linear(hidden, width)

    def masked(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """``x`` (n, width); ``states``: hidden and cell of each layer -> the mask in 0..1 and the next states."""
        following: list[Tensor] = []
        for i, cell in enumerate(self.cells):
            x, memory = cell(x, states[2 * i], states[2 * i + 1])
            following += [x, memory]
        return self.mask(x).sigmoid(), tuple(following)


class Spectral(Stage):
    """Stage 1: magnitudes of a frame -> a mask for them."""

    def forward(self, magnitude: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """``magnitude`` (n, bins) -> mask (n, bins), next states."""
        mask, following = self.masked(magnitude, states)
        return mask, *following


class Learned(Stage):
    """Stage 2: samples of a frame -> learned features, masked, and back."""

    def __init__(self, frame: int, width: int, hidden: int, depth: int, epsilon: float) -> None:
        super().__init__(width, hidden, depth)
        self.encoder = nn.Linear(frame, width, bias=False)
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.decoder = nn.Linear(width, frame, bias=False)

    def forward(self, frame: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """``frame`` (n, samples) -> enhanced frame (n, samples), next states."""
        features = self.encoder(frame)
        if self.training:
            features = disturbed(features)
        mask, following = self.masked(self.norm(features), states)
        return self.decoder(features * mask), *following


class Denoiser(nn.Module):
    """Both stages over a clip; the host's code between them is that of ``edgekit/data/tasks/noisy_speech.py``."""

    def __init__(self, frame: int, hop: int, width: int, hidden: int, depth: int, epsilon: float) -> None:
        super().__init__()
        self.frame, self.hop = frame, hop
        self.states = (hidden,) * (2 * depth)
        self.stage1 = Spectral(frame // 2 + 1, hidden, depth)
        self.stage2 = Learned(frame, width, hidden, depth, epsilon)

    def forward(self, noisy: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """``noisy`` (n, samples), whole hops -> enhanced (n, samples - frame + hop); in training the excess as well."""
        lag = self.frame - self.hop
        frames = functional.pad(noisy, (lag, 0)).unfold(-1, self.frame, self.hop)
        spectrum = torch.fft.rfft(frames)
        mask, first = self._unrolled(self.stage1, spectrum.abs())
        masked = torch.fft.irfft(mask * spectrum, self.frame)
        enhanced, second = self._unrolled(self.stage2, masked)
        length = noisy.shape[-1] + lag
        summed = functional.fold(enhanced.transpose(1, 2), (1, length), (1, self.frame), stride=(1, self.hop))
        clip = summed[:, 0, 0, lag : length - lag]
        return (clip, first + second) if self.training else clip

    def _unrolled(self, stage: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """Step by step from states of zero: (n, steps, width) -> the first output likewise, and the states' excess."""
        states = [x.new_zeros(len(x), width) for width in self.states]
        found, beyond = [], x.new_zeros(())
        for step in (disturbed(x) if self.training else x).unbind(1):
            first, *states = stage(step, *states)
            found.append(first)
            if self.training:
                beyond = beyond + sum(functional.relu(cell.abs() - REACH).square().mean() for cell in states[1::2])
        return torch.stack(found, 1), beyond / x.shape[1]


def build(*, frame: int, hop: int, width: int, hidden: int, depth: int, epsilon: float) -> nn.Module:
    """Build with random weights; ``width`` learned features, ``depth`` LSTM layers per stage."""
    return Denoiser(frame, hop, width, hidden, depth, epsilon)


def disturbed(x: Tensor) -> Tensor:
    """With uniform noise as large as what rounding to 8 bits of its range leaves."""
    step = 2 * x.detach().abs().amax() / 255
    return x + step * (torch.rand_like(x) - 0.5)


def loss(outputs: tuple[Tensor, Tensor], clean: Tensor) -> Tensor:
    """Negative signal-to-noise ratio in dB (arXiv 2005.07551, section 3.2), mean over clips, and the states' excess.

    An LSTM is free to count: trained without the second term, one cell reached 104 after 104 steps, which a stream of
    hours cannot go on with, and next to which an 8-bit state cannot hold the others.
    """
    enhanced, beyond = outputs
    error = (clean - enhanced).square().sum(-1)
    ratio = clean.square().sum(-1) / (error + 1e-8)
    return -10 * torch.log10(ratio + 1e-8).mean() + EXCESS_WEIGHT * beyond
