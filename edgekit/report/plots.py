"""Pictures, drawn with matplotlib."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.conversion.sensitivity import Sensitivity
from edgekit.errors import UsageError
from edgekit.report import charts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = (".png", ".svg", ".pdf")
#: Layers that a picture shows, the costliest first; the table has all.
MOST_SHOWN = 40
#: dB by which a file without any layer may be quieter than the quietest that is shown, and still be drawn.
FARTHEST = 20
#: Inches that a title takes.
FULL = 9


def check(file: Path) -> None:
    """Refuse before any work what cannot be drawn.

    Raises:
        UsageError: the ending is unknown, there is no such folder, or matplotlib is missing.
    """
    if file.suffix not in KINDS:
        raise UsageError(f"--plot {file}: the ending is none of {', '.join(KINDS)}", hint="--plot sensitivity.png")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"--plot {file}: there is no folder {file.absolute().parent}", hint="Make it first.")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib, which is not installed", hint="pip install 'edgekit[plot]'")


def sensitivity(found: Sensitivity, file: Path) -> None:
    """Draw what each layer costs into a file.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        sensitivity_figure(found).savefig(file, dpi=150)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror or error}") from error


def sensitivity_figure(found: Sensitivity, *, wide: float = FULL) -> Figure:
    """The noise of each layer, in dB of the answers' variation, beside that of all layers together.

    Args:
        found: the costs.
        wide: inches; a narrow one stands below a title of its own.
    """
    from matplotlib.figure import Figure

    with charts.style():
        shown = found.layers[:MOST_SHOWN]
        figure = Figure(figsize=(wide, 1.6 + 0.24 * len(shown)), layout="constrained")
        axes = figure.subplots()
        names = [charts.end_of(cost.called, 48 if wide >= FULL else 26) for cost in shown]
        axes.barh(range(len(shown)), [_decibels(cost.noise) for cost in shown], color="#4477aa")
        axes.set_yticks(range(len(shown)), names, fontsize=9)
        axes.invert_yaxis()
        # Bars grow from the quietest: decibels have no zero to grow from. A file without any layer may be far quieter.
        quietest = min(map(_decibels, (cost.noise for cost in shown)))
        rest = _decibels(found.rest.noise)
        least = min(quietest, rest) if rest > quietest - FARTHEST else quietest
        beyond = f": {rest:.0f} dB, left of the picture" if rest < least else ""
        for cost, colour, label in (
            (found.whole, "#cc3311", "all layers"),
            (found.rest, "#777777", f"no layer{beyond}"),
        ):
            axes.axvline(_decibels(cost.noise), color=colour, linewidth=1.2, label=label)
        axes.set_xlabel("minus `variation`, dB (right is worse)")
        axes.margins(y=0.01)
        axes.set_xlim(least - 5, max(map(_decibels, (found.whole.noise, shown[0].noise))) + 5)
        for bar in axes.patches:
            bar.set_x(least - 5)  # type: ignore[attr-defined]
            bar.set_width(bar.get_width() - (least - 5))  # type: ignore[attr-defined]
        figure.legend(loc="outside lower right", ncols=2, fontsize=9)
        if wide < FULL:
            return figure
        more = f", {len(shown)} of {len(found.layers)} layers" if len(shown) < len(found.layers) else ""
        axes.set_title(f"{found.target} by {found.route}: each layer alone, n = {found.samples}{more}", fontsize=10)
    return figure


def _decibels(noise: float) -> float:
    return 10 * math.log10(noise)
