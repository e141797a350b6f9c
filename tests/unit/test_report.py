"""What a report says of rows and artifacts, wherever it says it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from edgekit.artifact.compact import NAMES
from edgekit.bench import rows as files
from edgekit.bench.row import Row
from edgekit.cli.main import run
from edgekit.errors import UnsafeInputError, UsageError
from edgekit.report import charts, export, fronts, gather, said
from edgekit.report.gather import Gathered
from edgekit.report.markdown import markdown
from edgekit.result import Status
from tests.unit.report_rows import accuracy, measured, row

ARTIFACT = Path(__file__).parents[1] / "contract/artifacts/0.1.0/tflite-fp16"


def gathered(*rows: Row) -> Gathered:
    return Gathered(("rows.jsonl",), rows)


def test_two_versions_of_a_cell_are_two_rows_and_one_file_is_one(tmp_path: Path) -> None:
    def of(place: str | None, sha256: str, **more: Any) -> Row:
        made = row(**more).made.model_copy(update={"path": place, "sha256": sha256})
        return row(**more).model_copy(update={"made": made})

    file = tmp_path / "rows.jsonl"
    files.append(file, [of("old", "a"), of("new", "b"), of("elsewhere/old", "a", measured=measured())])
    found = gather.gather([file])
    assert [one.cell.model for one in found.newest()] == ["lenet5 (old)", "lenet5 (new)"]
    assert found.newest()[0].measured is not None
    file.unlink()
    files.append(file, [of(None, "a"), of(None, "b")])
    assert [one.cell.model for one in gather.gather([file]).newest()] == ["lenet5"], "made again by a suite"


# --- Fronts ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_a_front_holds_what_no_other_point_dominates(points: list[tuple[int, int]]) -> None:
    def dominated(a: tuple[int, int]) -> bool:
        return any(b[0] <= a[0] and b[1] >= a[1] and b != a for b in points)

    found = fronts.front([(float(x), float(y)) for x, y in points])
    assert set(found) == {i for i, point in enumerate(points) if not dominated(point)}
    assert [points[i][0] for i in found] == sorted(points[i][0] for i in found)


@pytest.mark.parametrize(
    "flaw",
    [
        {"status": "FAIL_ACCURACY"},
        {"proof": "stand-in"},
        {"proof": "none"},
    ],
)
def test_what_is_not_proven_is_shown_beside_the_front(flaw: dict[str, Any]) -> None:
    good = row(size=1000, accuracy=accuracy(0.8))
    best = row(target="tflite-fp32", size=500, accuracy=accuracy(0.99), **flaw)
    [plot] = fronts.by_size([best, good])
    assert [point.row for point in plot.front] == [good]
    assert {point.row.cell for point in plot.points} == {good.cell, best.cell}


def test_noise_takes_a_file_off_the_front_of_times_and_not_of_sizes() -> None:
    good = row(size=1000, accuracy=accuracy(0.8), measured=measured(1))
    best = row(target="tflite-fp32", size=500, accuracy=accuracy(0.99), measured=measured(0.1, noisy="it drifted"))
    assert [point.row for point in fronts.by_size([best, good])[0].front] == [best]
    assert [point.row for point in fronts.by_latency([best, good])[0].front] == [good]


def test_less_is_more_where_the_metric_says_so() -> None:
    worse, better = (
        row(target=target, size=size, accuracy=accuracy(value, "perplexity", higher=False))
        for target, size, value in (("tflite-fp32", 2000, 9.0), ("tflite-int8", 1000, 8.0))
    )
    [plot] = fronts.by_size([worse, better])
    assert [point.row for point in plot.front] == [better]


def test_models_metrics_and_ways_of_measuring_have_plots_of_their_own() -> None:
    rows = [
        row(measured=measured(1)),
        row(model="mlp", measured=measured(1)),
        row(accuracy=accuracy(metric="map"), measured=measured(1)),
        row(measured=measured(1, threads=2)),
        row(accuracy=None, measured=measured(1)),
        row(),
    ]
    plots = fronts.by_latency(rows)
    assert [(p.model, p.metric, p.where.split(", ")[1]) for p in plots] == [
        ("lenet5", "map", "1 thread"), ("lenet5", "top1", "1 thread"), ("lenet5", "top1", "2 threads"),
        ("mlp", "top1", "1 thread"),
    ]  # fmt: skip
    assert len(fronts.by_size(rows)) == 3


# --- What is gathered ------------------------------------------------------------------------------------------------


def test_times_of_two_machines_are_kept_apart_and_the_newest_row_counts(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    old, new = row(measured=measured(1)), row(measured=measured(2), at="2026-11-30T00:00:00Z")
    other, untimed = row(measured=measured(3), fingerprint="a" * 64), row(status="FAILED", accuracy=None)
    files.append(file, [old, new, other, untimed])
    found = gather.gather([file])
    assert found.newest() == [untimed]
    assert list(found.timed().values()) == [[new], [other]]


def test_an_artifact_is_a_row_and_its_layers() -> None:
    found = gather.gather([ARTIFACT])
    manifest = json.loads((ARTIFACT / "manifest.json").read_text())
    [only] = found.rows
    assert (only.cell.target, only.status, only.made.size_bytes) == (
        manifest["target"],
        manifest["status"],
        manifest["size_bytes"],
    )
    assert only.accuracy is not None
    assert only.accuracy.drop == manifest["accuracy"]["drop"]
    assert only.measured is None


def test_what_is_none_of_these_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"manifest\.json"):
        gather.gather([tmp_path])
    (tmp_path / "other.json").write_text('{"layers": 3}')
    with pytest.raises(UsageError, match="sensitivity"):
        gather.gather([tmp_path / "other.json"])
    with pytest.raises(UsageError, match="cannot be read"):
        gather.gather([tmp_path / "none.jsonl"])
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UnsafeInputError, match="is not what was sealed"):
        gather.gather([tmp_path])


def test_a_torn_last_line_is_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    files.append(file, [row()])
    with file.open("a") as stream:
        stream.write('{"schema": 1, "ce')
    lines: list[str] = []
    assert len(gather.gather([file], lines.append).rows) == 1
    assert "torn" in lines[0]


# --- How it is said --------------------------------------------------------------------------------------------------


def test_signs_and_letters_tell_statuses_apart_without_colours() -> None:
    statuses = set(Status.__args__)  # type: ignore[attr-defined]
    assert set(said.STATUSES) == set(charts.COLOURS) == set(charts.STATUS_LETTERS) == statuses
    for signs in (charts.STATUS_LETTERS, {status: sign for status, (sign, _) in said.STATUSES.items()}):
        assert len(set(signs.values())) == len(statuses)
    shapes = [shape for _, shape in (*charts.LOOKS.values(), charts.OTHER)]
    assert len(set(shapes)) == len(shapes)


def test_a_metric_of_another_release_is_said_as_a_number() -> None:
    assert said.amount("of tomorrow", 0.5) == "0.5000"
    assert said.drop(row(accuracy=accuracy(0.9, "of tomorrow"))) == "+1.00 [-1.00, +2.00]"


@pytest.mark.parametrize(("ms", "text"), [(0.01234, "0.0123"), (0.5, "0.500"), (12.34, "12.3"), (None, None)])
def test_times_have_the_digits_that_tell(ms: float | None, text: str | None) -> None:
    assert said.milliseconds(ms) == text


def cells(text: str) -> list[list[str]]:
    """Lines of all tables of Markdown."""
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]


HOSTILE = "<script>alert(1)</script>|x`*_[a](http://b.c)\x1b[31m$y$"


def test_markdown_has_whole_tables_and_names_are_text() -> None:
    rows = [
        row(HOSTILE),
        row(target="coreml-int8", flags=("LARGER",)),
        row("mlp", framework="torch", status="FAILED", reason=HOSTILE, accuracy=None, size=None),
        row("mlp", measured=measured(1)),
    ]
    text = markdown(gathered(*rows))
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inner = [child for token in tokens for child in (token, *(token.children or ()))]
    assert not {"html_inline", "html_block", "link_open", "image", "em_open"} & {child.type for child in inner}
    assert [child.content for child in inner if child.type == "code_inline"] == ["*"]  # our own
    assert "http://" not in text
    assert "\x1b" not in text
    widths = {len(line) for line in cells(text)}
    assert widths == {5, 4, 10}  # by format, the matrix (a target and three models), every cell
    assert "PASS (stand-in: somebody 1.0)" in text
    assert "✓\\*" in text
    assert "1.100 ms \\[1.090, 1.110\\]" in text
    assert re.search(r"^- mlp@torch tflite-int8 cpu: FAILED\. ", text, re.MULTILINE)


def test_no_rows_are_no_tables() -> None:
    assert markdown(gathered()) == "No rows.\n"


# --- Files for viewers -----------------------------------------------------------------------------------------------


def test_model_explorer_gets_each_operator_by_its_name_in_the_file(tmp_path: Path) -> None:
    found = gathered(row(measured=measured(6, operators=3)))
    [file] = export.write(found, "model-explorer", tmp_path)
    document = json.loads(file.read_text())
    assert {name: value["value"] for name, value in document["results"].items()} == {
        "conv_0": 6,
        "conv_1": 3,
        "conv_2": 2,
    }
    assert [stop["stop"] for stop in document["gradient"]] == [0, 1]


def test_layers_are_found_by_the_short_names_that_a_file_was_given(tmp_path: Path) -> None:
    (tmp_path / NAMES).write_text('{"schema": 1, "values": {"a": "a;b;c"}, "operators": {}}')
    assert gather.short_names(tmp_path) == {"a;b;c": "a"}
    assert gather.short_names(tmp_path / "none") == {}


def test_no_file_takes_another_ones_name_or_a_name_that_is_none(tmp_path: Path) -> None:
    names: list[str] = []
    for title in ("a b", "a_b", "../../x", "", "y" * 500):
        names.append(said.file_name(title, names))
    assert names == ["a_b", "a_b-2", "x", "unnamed", "y" * said.LONGEST]
    rows = [row(name, measured=measured(1, operators=1)) for name in ("a b", "a_b")]
    assert len(set(export.write(gathered(*rows), "netron", tmp_path))) == 2
    with pytest.raises(UsageError, match="cannot be written"):
        (tmp_path / "file").touch()
        export.write(gathered(), "netron", tmp_path / "file")


def test_netron_gets_a_table_of_names(tmp_path: Path) -> None:
    [file] = export.write(gathered(row(measured=measured(6, operators=2))), "netron", tmp_path)
    assert file.read_text() == "name\tms\nconv_0\t6\nconv_1\t3\n"


# --- The command -----------------------------------------------------------------------------------------------------


def test_the_command_writes_a_page_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, page = tmp_path / "rows.jsonl", tmp_path / "page.html"
    files.append(file, [row()])
    assert run(["report", str(file), "-o", str(page), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "status": "PASS", "reason": "", "rows": 1, "cells": 1, "page": str(page),
    }  # fmt: skip
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert sorted(tmp_path.iterdir()) == [file.with_name(f".{file.name}.lock"), page, file]


def test_markdown_alone_writes_no_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files.append(tmp_path / "rows.jsonl", [row()])
    assert run(["report", "rows.jsonl", "--markdown"]) == 0
    assert "| lenet5 (keras) | tflite-int8 | PASS |" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.parametrize(
    "arguments", [["-o", "no/such/folder/x.html"], ["-o", "."], ["--export", "netron"], ["--export", "nettron=x"]]
)
def test_what_cannot_be_written_is_refused_before_any_work(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["report", "none.jsonl", *arguments, "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert "none.jsonl" not in document["reason"]
    assert document["error"]["hint"]
    assert not list(tmp_path.iterdir())


def test_pictures_are_files_of_the_same_bytes_each_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from edgekit.report import pictures

    rows = gathered(row(measured=measured(1, operators=2)), row("$x^{$", "coreml-int8"))
    first, second = ({path.name: path.read_bytes() for path in pictures.write(rows, tmp_path / name)} for name in "ab")
    assert first == second
    assert {re.search("matrix|size|latency|operators", name)[0] for name in first} == {  # type: ignore[index]
        "matrix", "size", "latency", "operators",
    }  # fmt: skip
    assert {Path(name).suffix for name in first} == {".png", ".svg"}
    assert all(b"1970" in content or b"<dc:date>" not in content for content in first.values())


def test_a_file_that_nobody_knows_the_source_of_has_a_name() -> None:
    assert said.name(row(target=None, framework=None)) == "a file"
    assert said.name(row(recipe="prune")) == "tflite-int8 prune (keras)"
