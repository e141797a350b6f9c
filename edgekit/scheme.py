"""Numeric formats that a target may claim."""

from __future__ import annotations

from typing import Literal, get_args

Precision = Literal["fp32", "fp16", "int8", "int8-dynamic", "int8-weights", "int16x8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

#: Precisions whose activation ranges come from calibration samples.
STATIC: frozenset[Precision] = frozenset({"int8", "int16x8"})
