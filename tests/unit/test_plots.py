"""Pictures of what layers cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib import figure

from edgekit.conversion.sensitivity import Cost, Sensitivity
from edgekit.report import plots


def cost(name: str, variation: float) -> Cost:
    return Cost((name,), "model", "linear", 10, variation, variation, None)


def drawn(rest: float, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Any:
    kept: list[Any] = []
    save = figure.Figure.savefig
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, *a, **k: (kept.append(self), save(self, *a, **k)))
    layers = (cost("$a^{$", 20), cost("b", 40))  # a name is no formula
    plots.sensitivity(
        Sensitivity("target", "route", None, 9, "data", cost("", rest), cost("", 18), layers), folder / "cost.png"
    )
    assert (folder / "cost.png").stat().st_size > 0
    return kept[0]


@pytest.mark.parametrize(("rest", "left", "told"), [(45, -50, "no layer"), (126, -45, "no layer: -126 dB, left of")])
def test_a_far_quieter_file_without_layers_leaves_the_bars_their_room(
    rest: float, left: float, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    picture = drawn(rest, monkeypatch, tmp_path)
    [axes] = picture.axes
    assert axes.get_xlim() == pytest.approx((left, -13))
    assert [bar.get_x() + bar.get_width() for bar in axes.patches] == pytest.approx([-20, -40])
    [legend] = picture.legends
    assert any(text.get_text().startswith(told) for text in legend.get_texts())
