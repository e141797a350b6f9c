"""The page of a report: one file that loads nothing, whole whatever the rows are, and readable by everybody."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from edgekit.conversion.sensitivity import Cost, Sensitivity
from edgekit.report import gather, page
from edgekit.report.gather import Gathered
from tests import browser as browsers
from tests.unit.report_rows import FORMATS, measured, row

ARTIFACT = Path(__file__).parents[1] / "contract/artifacts/0.1.0/tflite-fp16"
HOSTILE = "<img src=http://a.b/c.png onerror=alert(1)>\"'</script><script>document.title='owned'</script>$x^{$&amp;\x1b"
#: Attributes by which a page loads something, or goes somewhere.
LOADING = {"src", "srcset", "href", "xlink:href", "data", "poster", "action", "formaction", "background", "manifest"}
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """What a page is made of, parsed as HTML."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.wrong: list[str] = []
        self.text: list[str] = []
        self.styles: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.stack or self.stack.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if self.stack[-1:] != ["script"]:
            (self.styles if self.stack[-1:] == ["style"] else self.text).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def gathered(*rows: Any, costs: tuple[Sensitivity, ...] = ()) -> Gathered:
    return Gathered(("rows.jsonl",), rows, costs=costs)


def many() -> Gathered:
    """500 cells, of which some are measured, on two machines, and some lack what others have."""
    rows = []
    for index in range(500):
        target = list(FORMATS)[index % len(FORMATS)]
        status = ("PASS", "PASS", "PASS", "FAIL_ACCURACY", "FAILED", "UNSUPPORTED")[index % 6]
        more: dict[str, Any] = {} if status in ("PASS", "FAIL_ACCURACY") else {"accuracy": None, "proof": "none"}
        if index % 7 == 0:
            noisy = "the clock drifted" if index % 5 == 0 else ""
            more["measured"] = measured(1 + index / 100, operators=3 if index < 15 else 0, noisy=noisy)
            more["fingerprint"] = ("a" if index % 2 else "b") * 64
        reason = "" if status == "PASS" else "it is so"
        cell = (f"model_{index // 50}", target, ("keras", "torch")[index // 5 % 2])
        rows.append(row(*cell, recipe=f"r{index // 10 % 5}", status=status, reason=reason, **more))
    assert len({row.cell for row in rows}) == 500
    return gathered(*rows)


def sensitivity() -> Sensitivity:
    cost = Cost(("a/b", "b"), "model", "conv", 100, 30.0, 28.0, 0.01)
    alone = Cost((), "", None, 0, 20.0, None, None)
    return Sensitivity("tflite-int8", "ptq", "top1", 300, "data", alone, alone, (cost,))


CASES = {
    "none": lambda: gathered(),
    "one": lambda: gathered(row()),
    "without accuracy": lambda: gathered(row(accuracy=None), row("mlp", accuracy=None, measured=measured(1))),
    "plain file": lambda: gathered(
        row("model.tflite", None, None, accuracy=None, proof="none", measured=measured(1), size=None)
    ),
    "hostile": lambda: gathered(
        row(HOSTILE, recipe=HOSTILE, measured=measured(1, operators=2, noisy=HOSTILE)),
        row(HOSTILE, "tflite-fp32", status="FAILED", reason=HOSTILE),
        row(HOSTILE, HOSTILE, HOSTILE, at=HOSTILE, fingerprint=HOSTILE, processor=HOSTILE),
    ),
    "layers": lambda: replace(gather.gather([ARTIFACT]), costs=(sensitivity(),)),
    "500": many,
}  # fmt: skip


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {name: page.html(made()) for name, made in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_the_page_refers_to_nothing_outside_of_it(name: str, texts: dict[str, str]) -> None:
    found = Page(texts[name])
    ids = {attributes["id"] for _, attributes in found.tags if "id" in attributes}
    for tag, attributes in found.tags:
        for key in LOADING & attributes.keys():
            value = attributes[key] or ""
            assert value.startswith("#"), f"<{tag} {key}={value}>"
            assert value[1:] in ids, f"<{tag} {key}={value}> leads nowhere"
        assert not [key for key in attributes if key.startswith("on")], attributes
        for key in ("style", "fill", "stroke", "clip-path", "mask", "filter", "marker-end"):
            for url in re.findall(r"url\(([^)]*)\)", attributes.get(key) or ""):
                assert url.startswith("#"), url
                assert url[1:] in ids, url
    assert not {"link", "iframe", "object", "embed", "img", "image", "base", "form"} & {tag for tag, _ in found.tags}
    for style in found.styles:
        assert "@import" not in style
        assert "url(" not in style.replace("url(#", "")
    [policy] = [m["content"] for m in found.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert str(policy).startswith("default-src 'none';")
    assert len(found.all("script")) == 1


@pytest.mark.parametrize("name", CASES)
def test_the_page_is_whole(name: str, texts: dict[str, str]) -> None:
    found = Page(texts[name])
    assert (found.wrong, found.stack) == ([], [])
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert not {"None", "nan", "inf"} & {word.strip(".,;()") for part in found.text for word in part.split()}


def test_hostile_names_are_text(texts: dict[str, str]) -> None:
    found = Page(texts["hostile"])
    assert "\x1b" not in texts["hostile"]
    assert any("<img src=http://a.b/c.png onerror=alert(1)>" in part for part in found.text)


def test_the_same_rows_give_the_same_bytes(texts: dict[str, str]) -> None:
    assert page.html(CASES["hostile"]()) == texts["hostile"]


def test_times_of_two_machines_are_in_pictures_of_their_own() -> None:
    found = gathered(
        row(measured=measured(1), fingerprint="a" * 64), row("lenet5", "tflite-fp32", measured=measured(2)),
        row(target="onnxruntime-int8", measured=measured(3)),
    )  # fmt: skip
    text = page.html(found)
    sections = re.split(r"<h3>(a processor \(\w+\))</h3>", text[text.index('id="latency"') :])
    assert sections[1::2] == ["a processor (aaaaaaaa)", "a processor (ffffffff)"]
    assert [len(re.findall(r"aria-label=\"lenet5 \(cpu", part)) for part in sections[2::2]] == [2, 2]
    assert "tflite-fp32" not in sections[2]
    assert "onnxruntime-int8" not in sections[2]


def test_a_noisy_row_is_marked_and_beside_the_front() -> None:
    text = page.html(gathered(row(measured=measured(1, noisy="the clock drifted")), row("mlp")))
    assert "NOISY: the clock drifted" in text
    assert "tflite-int8 (keras): NOISY" in text


def test_every_status_and_proof_that_is_shown_is_in_the_legend(texts: dict[str, str]) -> None:
    text = texts["500"]
    legend = text[text.index('<div class="legend">') : text.index("<h3>")]
    for shown in ("PASS", "FAIL_ACCURACY", "FAILED", "UNSUPPORTED", "runtime", "stand-in", "none"):
        assert f"<b>{shown}</b>" in legend
    for status in re.findall(r'<td class="s-(\w+)"', text):
        assert f"<b>{status}</b>" in legend


# --- In a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browsers.Browser]:
    program = browsers.found()
    if program is None:
        pytest.skip("no browser is installed here (none of chromium, chrome)")
    with browsers.browser(program, tmp_path_factory.mktemp("profile")) as one:
        yield one


LIGHT, DARK = ("prefers-color-scheme", "light"), ("prefers-color-scheme", "dark")


@pytest.mark.parametrize("name", ["none", "one", "hostile", "layers", "500"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, LIGHT), (375, LIGHT), (375, DARK)])
def test_a_browser_shows_it_as_wide_as_the_screen_and_says_nothing(
    name: str, width: int, scheme: tuple[str, str], opened: browsers.Browser, texts: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    file.write_text(texts[name], "utf-8")
    opened.open(file.as_uri(), width=width, features=[scheme])
    assert opened.said() == []
    assert opened.loaded() == [file.as_uri()]
    assert opened.value("document.title").startswith("edgekit report")
    assert opened.value("document.documentElement.scrollWidth") <= width
    paper = opened.value("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == LIGHT)
    opened.screenshot(tmp_path / "shot.png")
    assert (tmp_path / "shot.png").read_bytes().startswith(b"\x89PNG")


#: Contrast (WCAG 2.2) of each text with what is behind it, where that is one colour.
CONTRAST = """(() => {
  const parts = (c) => (c.match(/[\\d.]+/g) ?? []).map(Number);
  const line = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => [r, g, b].map((v) => line(v / 255))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parts(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; };
  const low = [];
  for (const e of document.querySelectorAll("h1,h2,h3,p,li,th,td,a,summary,button,b,code,.key")) {
    if (!e.textContent.trim() || !e.checkVisibility()) continue;
    const [a, b] = [light(parts(getComputedStyle(e).color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(`${e.tagName} ${e.className} ${e.textContent.trim().slice(0, 20)} ${ratio.toFixed(2)}`);
  }
  return [...new Set(low)].slice(0, 5);
})()"""


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_every_text_can_be_told_from_what_is_behind_it(
    scheme: tuple[str, str], opened: browsers.Browser, texts: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "r.html").write_text(texts["500"], "utf-8")
    opened.open((tmp_path / "r.html").as_uri(), features=[scheme])
    assert opened.value(CONTRAST) == []


def test_a_heading_sorts_its_table_by_keyboard_and_says_so(
    opened: browsers.Browser, texts: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "r.html").write_text(texts["500"], "utf-8")
    opened.open((tmp_path / "r.html").as_uri())
    column = page.HEAD.index("latency [95 %]")
    opened.value(f"document.querySelectorAll('table.all thead button')[{column}].focus()")
    values = f"[...document.querySelectorAll('table.all tbody tr')].map(r => r.cells[{column}].dataset.key ?? '')"
    state = f"document.querySelectorAll('table.all thead th')[{column}].getAttribute('aria-sort')"
    before = opened.value(values)
    for expected, sign in (("ascending", 1), ("descending", -1)):
        opened.press("Enter", 13)
        found = opened.value(values)
        assert opened.value(state) == expected
        numbers = [float(value) for value in found if value]
        assert numbers == sorted(numbers, key=lambda value: sign * value)
        assert found[len(numbers) :] == [""] * (len(found) - len(numbers))  # what was not measured stays last
        assert sorted(found) == sorted(before)


def test_all_that_scrolls_or_opens_is_reached_by_the_keyboard_in_the_order_of_the_page(
    opened: browsers.Browser, texts: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "r.html").write_text(texts["layers"], "utf-8")
    opened.open((tmp_path / "r.html").as_uri())
    wanted = "document.querySelectorAll('a[href], button, summary, .scroll')"
    count = opened.value(f"[...{wanted}].filter(e => e.checkVisibility()).length")
    places = []
    for _ in range(count):
        opened.press("Tab", 9)
        places.append(opened.value(f"[...{wanted}].filter(e => e.checkVisibility()).indexOf(document.activeElement)"))
    assert places == list(range(count))


def test_a_link_to_a_cell_opens_what_it_is_in(opened: browsers.Browser, texts: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "r.html").write_text(texts["500"], "utf-8")
    opened.open((tmp_path / "r.html").as_uri())
    anchor = opened.value("document.querySelector('.matrix td a').getAttribute('href')")
    opened.value("document.querySelector('.matrix td a').click()")
    text = opened.value(f"document.querySelector({json.dumps(anchor)}).innerText")
    assert "FAIL" in text or "UNSUPPORTED" in text


def test_accuracy_is_drawn_where_there_is_any(texts: dict[str, str]) -> None:
    assert 'id="size"' in texts["one"]
    assert 'id="size"' not in texts["without accuracy"]
