"""The GitHub Action's script: an artifact of a pull request against the one of its base branch.

    python -m edgekit.ci.action

Everything comes in environment variables (``action.yml`` says which), since what is written into a shell's text by
``${{ }}`` would be executed. The table goes to the job's summary, the outcome to the step's outputs; the exit code is
that of `edgekit compare`, the worst of several artifacts.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.artifact import readme
from edgekit.bench.compare import comparing, pairs, words
from edgekit.bench.compare.values import Comparison, Limits
from edgekit.bench.measuring import Asked
from edgekit.errors import EdgekitError, UsageError, printable

#: Of several artifacts the first of these that occurs is the job's.
_WORST = (8, 2, 4, 5, 6, 7, 1, 9, 0)
#: A branch or a commit: what git takes as a name, and nothing that it takes as an option or a range.
_REF = re.compile(r"[\w./@+=-]+")


@dataclass(frozen=True)
class Asks:
    """What the action is asked for.

    Attributes:
        artifacts: paths in the repository, of artifacts' folders or files of rows.
        base_ref: branch or commit that they are compared with; empty: nothing to compare with.
        base_path: where the base's one lies, if that is another path; may be a file of rows.
        limits: as of `edgekit compare`.
        seconds: that measuring a pair may take; 0: nothing is measured.
    """

    artifacts: tuple[str, ...]
    base_ref: str
    base_path: str
    limits: Limits
    seconds: float

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Asks:
        """From the environment.

        Raises:
            UsageError: a path that leaves the repository, a reference that is none, a limit that is no number.
        """
        artifacts = tuple(filter(None, map(str.strip, variables.get("EDGEKIT_ARTIFACTS", "").splitlines())))
        base_ref, base_path = (variables.get(name, "").strip() for name in ("EDGEKIT_BASE_REF", "EDGEKIT_BASE_PATH"))
        if not artifacts:
            raise UsageError("no artifact is named", hint="Set the input `artifact`, one path a line.")
        for path in filter(None, (*artifacts, base_path)):
            if Path(path).is_absolute() or ".." in Path(path).parts:
                raise UsageError(f"{path} does not lie in the repository", hint="Give a path relative to its root.")
        if base_ref and (not _REF.fullmatch(base_ref) or base_ref.startswith("-") or ".." in base_ref):
            raise UsageError(f"{base_ref!r} is no branch or commit")
        given = {name: variables.get(f"EDGEKIT_MAX_{name.upper()}", "") for name in Limits.model_fields}
        try:
            limits = Limits(**{name: float(value) for name, value in given.items() if value.strip()})
            seconds = float(variables.get("EDGEKIT_SECONDS") or pairs.SECONDS)
        except ValueError as error:
            raise UsageError(f"a limit is no number that is allowed: {error}") from error
        return cls(artifacts, base_ref, base_path, limits, seconds)


def main(variables: Mapping[str, str]) -> int:
    """Compare all artifacts; returns the exit code."""
    summary, codes = ["## edgekit\n"], [0]
    try:
        asks = Asks.read(variables)
        commit = _commit(asks.base_ref) if asks.base_ref else None
        for artifact in asks.artifacts:
            text, code = _one(artifact, commit, asks)
            summary.append(text)
            codes.append(code)
    except EdgekitError as error:
        summary.append(_error(error))
        codes.append(error.exit_code)
    worst = next(code for code in _WORST if code in codes)
    _append(variables.get("GITHUB_STEP_SUMMARY"), "\n".join(summary))
    status = {0: "pass", 4: "accuracy", 5: "performance"}.get(worst, "error")
    _append(variables.get("GITHUB_OUTPUT"), f"status={status}\nexit-code={worst}\n")
    sys.stdout.write("\n".join(summary))
    return worst


def _one(artifact: str, commit: str | None, asks: Asks) -> tuple[str, int]:
    """One artifact: its part of the summary, and its exit code."""
    title = f"### {readme.code(artifact)}\n\n"
    with tempfile.TemporaryDirectory() as scratch:
        before = asks.base_path or artifact
        base = _extracted(commit, before, Path(scratch)) if commit else None
        if base is None:
            where = f"{asks.base_ref} has no {before}" if asks.base_ref else "there is no base branch"
            _annotate("notice", f"{artifact}: {where}: nothing to compare it with")
            return f"{title}{readme.text(where)}: nothing to compare it with.\n", 0
        try:
            how = pairs.here(Asked(), asks.seconds, lambda event, label: None) if asks.seconds else None
            found = comparing.compare(base, Path(artifact), asks.limits, how=how)
        except EdgekitError as error:
            _annotate("error", f"{artifact}: {error}")
            return title + _error(error), error.exit_code
    if found.status == "NOT_RUN":
        _annotate("warning", f"{artifact}: {found.reason}")
    elif found.exit_code:
        _annotate("error", f"{artifact}: {words.headline(found)}")
    shown = title + words.markdown(_named(found, before, artifact, asks))
    return shown, 0 if found.status == "NOT_RUN" else found.exit_code


def _named(found: Comparison, before: str, artifact: str, asks: Asks) -> Comparison:
    """A comparison that calls both sides as the repository does."""
    return found.model_copy(update={"old": f"{before} of {asks.base_ref}", "new": artifact})


def _commit(ref: str) -> str | None:
    """The commit of a branch of the repository that this was checked out from, fetched where it is not here yet.

    A checkout of an action has one commit and no other branch.
    """
    branch = "refs/edgekit/base"
    fetched = _git("fetch", "--quiet", "--no-tags", "--depth=1", "origin", f"+refs/heads/{ref}:{branch}")
    for name in (ref,) if fetched.returncode else (branch, ref):
        found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        if found.returncode == 0:
            return found.stdout.decode().strip()
    raise UsageError(
        f"git knows no {ref}: {fetched.stderr.decode(errors='replace').strip()}",
        hint="Let actions/checkout fetch it: fetch-depth: 0.",
    )


def _extracted(commit: str, path: str, folder: Path) -> Path | None:
    """A file or folder as it is in a commit; None where it is not."""
    held = _git("--literal-pathspecs", "archive", "--format=tar", commit, "--", path)
    if held.returncode:
        return None
    with tarfile.open(fileobj=io.BytesIO(held.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder / path


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], capture_output=True)  # noqa: S607 - the runner's own


def _error(error: EdgekitError) -> str:
    return f"**{readme.text(str(error))}** {readme.text(error.hint)}\n"


def _annotate(level: str, text: str) -> None:
    """A line that GitHub shows beside the change; whatever could end it is escaped."""
    escaped = printable(text).replace("%", "%25")
    sys.stdout.write(f"::{level}::{escaped}\n")


def _append(path: str | None, text: str) -> None:
    if path:
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(text)


if __name__ == "__main__":
    sys.exit(main(os.environ))
