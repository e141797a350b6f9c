"""Names that others gave: text on the terminal and in the artifact's README, whatever is in them."""

import ast
import io
import json
import os
import re
import subprocess
import sys

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from edgekit import cli
from edgekit.artifact import card, words
from edgekit.artifact.folder import golden_of
from edgekit.artifact.readme import code, readme, text
from edgekit.artifact.use import said
from edgekit.cli import columns, progress, show
from edgekit.errors import printable
from edgekit.result import (
    IO,
    Audit,
    ErrorFacts,
    File,
    Host,
    Part,
    Proof,
    Result,
    SamplesFacts,
    SourceFacts,
    StateFacts,
    TargetFile,
)

NAMES = [
    "[/x]", "[bold red]x[/]", "[link=file:///etc/passwd]x[/link]", ":smile: :bomb:",
    "\x1b[2J\x1b[31mred\x1b]0;title\x07",
    "\x1bc", "\x9b31m", "a\rstatus PASS", "a\nstatus  PASS\nartifact  /elsewhere", "a\x08\x08\x7fb", "rtl\u202e\u2066x",
    "\u2028line", "zero\u200bwidth", "bad\udcffbytes", "tab\tbed", "back\\slash", "[", "]", "\\[x]", "%s {0} {x}",
]  # fmt: skip
MARKDOWN = [
    "**bold** __b__ _i_ *i*", "`code`", "``a`b``", "[link](http://evil.example)", "![image](http://evil.example/x.png)",
    "<script>alert(1)</script>", "<!-- -->", "&lt;b&gt;", "a | b | c", "# heading", "\n# heading\n- item\n> quote",
    "\n\n---\n\n| a | b |\n|---|---|\n", "~~gone~~", "$x^2$", "http://evil.example www.evil.example", "\\`", "`", " ",
    "a``", "<http://evil.example>", "[ref]: http://evil.example", "1. item", "```\nfence",
]  # fmt: skip


def named(name):
    """A result in which everything that somebody else can name has this name."""
    io = IO(name=name, shape=(1, 4), dtype="float32", scale=0.5, zero_point=3)
    audited = Audit(
        weight_bytes={}, weight_elements={}, activation_types={}, ops_total=1, ops_quantized=0, macs_total=1,
        macs_quantized_share=None, ops_delegated=None, transposes=0, float_ops=(name,), findings=(name,),
    )  # fmt: skip
    part = Part(file=name, inputs=(io,), outputs=(io,), audit=audited, parity=None)
    return Result(
        status="FAIL_PARITY", reason=f"the output {name} is dead", proof=Proof(kind="runtime", by=name), artifact=name,
        target=name, target_files=(TargetFile(name=name, sha256="0" * 64, path=name, stands_in=True),), format=name,
        toolchain="onnx", precision="int8", precision_reached=name, framework=name,
        source=SourceFacts(given=name, kind="python", name=name, sha256="0" * 64), route=name, routes_tried=(),
        parts={"main": part, name: part}, state={name: (StateFacts(output=name, input=name, initial=0.0),)}, gate={},
        samples=SamplesFacts(origin=name, seed=0, splits={}), tools={}, cpu_seconds={}, peak_rss_bytes=0,
        host=Host(system="Linux", machine="x86_64", processor="", cores=2, memory_bytes=1, python="3.11"),
        notes=(f"a note on {name}",), error=ErrorFacts(code="x", message=name, hint=f"Rename {name}."),
    )  # fmt: skip


def is_utf8(name):
    return not any(0xD800 <= ord(c) <= 0xDFFF for c in name)


def shown(monkeypatch, act, *, terminal):
    """What goes to a stream, as a terminal gets it or as a file does."""
    stream = io.StringIO()
    console = Console(
        file=stream,
        force_terminal=terminal,
        width=200,
        highlight=False,
        markup=False,
        emoji=False,
        color_system="standard",
    )
    monkeypatch.setattr(show, "_out", console)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    act()
    return stream.getvalue()


def without_colours(said):
    """Without what rich itself writes."""
    return re.sub(r"\x1b\[[0-9;]*m", "", said)


def harmless(said):
    return all(c.isprintable() or c in "\n\t" for c in without_colours(said))


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("name", filter(is_utf8, NAMES), ids=ascii)
def test_a_result_with_such_names_is_printed_as_text(monkeypatch, name, terminal):
    said = shown(monkeypatch, lambda: show.result(named(name)), terminal=terminal)
    assert harmless(said)
    lines = without_colours(said).splitlines()
    labels = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert labels.count("status") == labels.count("artifact") == 1  # no name makes a line that looks like one of ours
    [status] = [line for line in lines if line.startswith("status")]
    assert status.split()[1] == "FAIL_PARITY"
    assert printable(name.split("\n")[0]).strip() in status


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_audits_progress_and_rows_with_such_names(monkeypatch, name, terminal):
    tensor = {"name": name, "shape": [1, 4], "dtype": "float32"}
    found = {"file": name, "float_ops": [name], "ops_float": {name: 1}, "inputs": [tensor], "outputs": [tensor]}
    layer = {"operator": name, "name": name, "kind": "linear", "shape": [10, 4], "weight_type": name, "macs": 40,
             "granularity": name, "zeros": 0.5, "zeros_2_4": None, "in_integers": True}  # fmt: skip
    found["layers"] = [layer] * 50
    assert harmless(shown(monkeypatch, lambda: show.audit({"parts": {name: found}}), terminal=terminal))
    said = shown(monkeypatch, lambda: show.audit(found, layers=True), terminal=terminal)
    assert harmless(said)
    rows = without_colours(said).split("computed in")[1].splitlines()[1:]
    assert len(rows) == 50 and all(row.startswith("linear\t") for row in rows), "one line each, however many"

    def steps():
        with progress.shown(verbose=True) as tell:
            for event in ("before", "start", "done", "note", "at", "reused", "detail"):
                tell(event, f"convert:{name}")

    said = shown(monkeypatch, steps, terminal=False)
    assert harmless(said)
    assert said.count("\n") == 5
    printed = columns.columns([{"name": name, "title": name, "configs": {name: 1}}])
    assert harmless(printed)
    assert printed.count("\n") == 2


@pytest.mark.parametrize("name", filter(is_utf8, NAMES), ids=ascii)
def test_errors_with_such_names(capsys, name):
    assert cli.run(["convert", f"nowhere/{name}", "--target", name]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert harmless(said.err)
    assert all(line.startswith(("error: ", "       ")) for line in said.err.splitlines())
    assert cli.run(["convert", f"nowhere/{name}", "--target", name, "--json"]) == 2
    said = capsys.readouterr()
    assert "nowhere/" in json.loads(said.out)["error"]["message"]
    assert harmless(said.out)
    assert cli.run(["verify", f"nowhere/{name}"]) == 2
    assert cli.run([f"--{name}"]) == 2
    assert harmless(capsys.readouterr().err)


def test_a_name_that_is_no_utf8_is_refused_before_any_work(tmp_path):
    (tmp_path / "mine.py").write_text("def model(): ...\n")
    odd = bytes(tmp_path) + b"/\xff.py"
    (tmp_path / "mine.py").rename(odd.decode("utf-8", "surrogateescape"))
    command = [sys.executable, "-m", "edgekit", "convert", odd + b":model", "--target", "onnxruntime-fp32"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"\\udcff.py:model is not UTF-8" in done.stderr


def test_a_terminal_that_knows_fewer_characters_gets_escapes(tmp_path):
    command = [sys.executable, "-c", "from edgekit import cli; cli.main()", "verify", str(tmp_path / "mänü\u2713")]
    done = subprocess.run(command, capture_output=True, timeout=60, env={"PYTHONIOENCODING": "ascii", **_environment()})
    assert done.returncode == 2, done.stderr
    assert b"m\\xe4n\\xfc\\u2713" in done.stderr


def _environment():
    return {key: value for key, value in os.environ.items() if key in ("PATH", "PYTHONPATH", "HOME")}


@pytest.mark.parametrize("name", filter(is_utf8, NAMES + MARKDOWN), ids=ascii)
def test_the_readme_holds_such_names_as_text(name):
    result = named(name)
    written = readme(result, [name])
    assert all(c.isprintable() or c == "\n" for c in written)
    tokens = MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(written)
    kinds = {token.type for token in tokens}
    assert not kinds & {"html_block", "fence", "code_block", "blockquote_open", "hr", "ordered_list_open"}
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h1", *["h2"] * 8]
    rows = [*card.about(result), *words.facts(result)]
    assert len([token for token in tokens if token.type == "tr_open"]) == 2 + len(rows)
    lines = [*card.limits(result), *card.licence(result), *said.inputs(result, None), *said.classes(result)]
    assert len([token for token in tokens if token.type == "list_item_open"]) == len(lines) + 4 + 1 + 3
    inner = [child for token in tokens for child in token.children or ()]
    allowed = {"text", "text_special", "code_inline", "strong_open", "strong_close", "softbreak"}
    assert {child.type for child in inner} <= allowed
    assert sum(child.type == "strong_open" for child in inner) == 1  # the status
    seen = printable(name)
    assert any(child.type == "code_inline" and child.content == seen for child in inner) or not seen.strip()


@pytest.mark.parametrize("name", [*NAMES, *MARKDOWN])
def test_the_program_in_the_readme_holds_such_names_as_text(name):
    result = named(name)
    golden = File(path=golden_of(result.parts["main"]), sha256="0" * 64, bytes=1)
    result = result.model_copy(update={"files": (golden,), "format": "onnx"})
    written = readme(result, [golden.path])
    assert all(c.isprintable() or c == "\n" for c in written)
    tokens = MarkdownIt("commonmark").enable("table").parse(written)
    programs = [token for token in tokens if token.type in ("fence", "code_block", "html_block")]
    assert [token.info for token in programs] == ["python"] * len(result.parts)
    for program in programs:
        ast.parse(program.content)
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h1", *["h2"] * 8]


@pytest.mark.parametrize("value", MARKDOWN)
def test_text_and_code_come_out_of_a_parser_as_they_went_in(value):
    seen = printable(value)
    parser = MarkdownIt("commonmark")
    [inline] = [token for token in parser.parse(f"x {text(value)} x") if token.type == "inline"]
    assert "".join(child.content for child in inline.children) == f"x {seen} x"
    [inline] = [token for token in parser.parse(f"x {code(value)} x") if token.type == "inline"]
    assert [child.content for child in inline.children if child.type == "code_inline"] == [seen]
    assert "://" not in text(value)
    assert "www." not in text(value)
