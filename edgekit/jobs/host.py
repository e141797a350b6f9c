"""The machine that this runs on: what its measurements, and the last bits of its numbers, depend on."""

from __future__ import annotations

import functools
import os
import platform
from collections import defaultdict
from pathlib import Path

import psutil

from edgekit.result import Host

#: What tells one core from another, on x86 and on Arm; "AMD EPYC" alone names five generations.
_MODEL = ("vendor_id", "cpu family", "model", "stepping", "CPU implementer", "CPU part", "CPU variant", "CPU revision")


@functools.cache
def host() -> Host:
    """Facts about this machine."""
    try:
        name, model, features = from_cpuinfo(Path("/proc/cpuinfo").read_text())
    except OSError:
        name, model, features = from_library()
    return Host(
        system=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        processor=name or platform.processor() or platform.machine(),
        processor_model=model,
        features=features,
        cores=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        python=platform.python_version(),
        libc=" ".join(platform.libc_ver()).strip(),
    )


def from_cpuinfo(text: str) -> tuple[str, str, str]:
    """Name, model and features of the processor from the text of Linux's ``/proc/cpuinfo``; of unlike cores, all."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for line in text.splitlines():
        key, _, value = line.partition(":")
        found[key.strip()][value.strip()] = None
    model = " ".join("+".join(found[key]) for key in _MODEL if key in found)
    words = {word for key in ("flags", "Features") for value in found[key] for word in value.split()}
    return " + ".join(found["model name"]), model, " ".join(sorted(words))


def from_library() -> tuple[str, str, str]:
    """The same on other systems, by py-cpuinfo, which takes a second and a half."""
    import cpuinfo

    facts = cpuinfo.get_cpu_info()
    keys = ("vendor_id_raw", "family", "model", "stepping")
    model = " ".join(str(facts[key]) for key in keys if key in facts)
    return facts.get("brand_raw", ""), model, " ".join(sorted(facts.get("flags", ())))
