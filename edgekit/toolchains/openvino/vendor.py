"""OpenVINO and NNCF without their telemetry."""

from __future__ import annotations

import sys

from edgekit.toolchains._shared.vendors import Fault

TELEMETRY = Fault(
    "without a consent file both send usage data and write an identifier into the home folder",
    package="openvino",
    first="2026.4",
    last="2026.4",
    reports=(
        "https://github.com/openvinotoolkit/openvino/pull/20290",  # switched it on
        "https://github.com/openvinotoolkit/openvino/issues/34588",
    ),
)


def silence() -> None:
    """Keep their telemetry out of this process; before the first import of either.

    An import that fails is the case that both provide for: they fall back to stubs of their own.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
