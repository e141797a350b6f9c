"""What every row says of the code and the machine that it is from."""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from edgekit import __version__
from edgekit.bench.row import Code
from edgekit.jobs.host import host
from edgekit.jobs.store import sha256_json
from edgekit.result import Host

#: Folder of the package, in a checkout or where it is installed.
PACKAGE = Path(__file__).parent.parent


@functools.cache
def code() -> Code:
    """Of the package that runs; ``tools`` are the row's own."""
    root = PACKAGE.parent
    digest = hashlib.sha256()
    files = [*PACKAGE.rglob("*"), *(root / "targets").glob("*.toml"), root / "constraints.txt"]
    for path in sorted(files):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return Code(edgekit=__version__, commit=_commit(root), sha256=digest.hexdigest())


def _commit(root: Path) -> str | None:
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    head = subprocess.run([git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=root)
    changed = subprocess.run([git, "diff", "--quiet", "HEAD", "--", "edgekit", "targets"], cwd=root)
    return head.stdout.strip() + ("-dirty" if changed.returncode else "") if not head.returncode else None


def fingerprint(of: Host | None = None) -> str:
    """SHA-256 of what a measurement depends on: the processor, its cores, the system, and which machine it is.

    Of the machine its id alone counts, hashed: two machines of one kind are two.
    """
    of = of or host()
    facts = of.model_dump(include={"system", "machine", "processor", "processor_model", "features", "cores", "libc"})
    return sha256_json({**facts, "machine_id": _machine_id()})


@functools.cache
def _machine_id() -> str:
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            return hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except OSError:
            continue
    return ""


def now() -> str:
    """The time in UTC, as ISO 8601 has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
