"""The pages' files as files: no build, no outside address, nothing inline, every word in both languages.

Needs neither a browser nor a JavaScript engine.
"""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

STATIC = Path(__file__).resolve().parents[2] / "static"
SCRIPTS = sorted(STATIC.glob("*.js"))
TEMPLATES = sorted((STATIC.parent / "server" / "pages" / "templates").glob("*.html"))
FILES = sorted(p for p in STATIC.iterdir() if p.suffix in {".js", ".css", ".html", ".svg"})
KEY = re.compile(r'^ {2}"([\w.-]+)": ', re.MULTILINE)


def keys(name: str) -> list[str]:
    return KEY.findall((STATIC / name).read_text())


@pytest.mark.parametrize("name", ["texts", "texts.pages"])
def test_both_languages_have_the_same_keys_and_blanks(name: str) -> None:
    assert keys(f"{name}.js") == keys(f"{name}.es.js") != []
    texts = [
        dict(re.findall(r'^ {2}"([\w.-]+)": "(.*)",$', (STATIC / file).read_text(), re.MULTILINE))
        for file in (f"{name}.js", f"{name}.es.js")
    ]
    assert list(texts[0]) == keys(f"{name}.js")  # each is one line, as the server reads them
    for key, english in texts[0].items():
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", texts[1][key])), key


def test_every_text_that_is_asked_for_exists() -> None:
    known = {*keys("texts.js"), *keys("texts.pages.js")}
    asked = re.compile(r"""\bt\(\s*["']([\w.-]+)["'][,)]|data-(?:t|label|placeholder)="([\w.-]+)\"""")
    for path in (*FILES, *TEMPLATES):
        for found in asked.finditer(path.read_text()):
            assert (found[1] or found[2]) in known, f"{path.name}: {found[0]}"


@pytest.mark.parametrize("name", ["texts.js", "texts.pages.js"])
def test_no_word_is_kept_that_nothing_says(name: str) -> None:
    sources = "".join(p.read_text() for p in (*FILES, *TEMPLATES) if not p.name.startswith("texts."))
    said = set(re.findall(r"""["'`]([\w-]+(?:\.[\w-]+)+|[\w.-]+\.)(?=["'`$])""", sources))
    starts = tuple(key for key in said if key.endswith("."))
    unsaid = [key for key in keys(name) if key not in said and not key.startswith(starts)]
    assert unsaid == []


@pytest.mark.parametrize("path", [*FILES, *TEMPLATES], ids=lambda p: p.name)
def test_nothing_comes_from_elsewhere(path: Path) -> None:
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//cdn|@import|\burl\(\s*['\"]?(?!#)[\w/]*//", text)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_every_import_is_a_file_beside_it(path: Path) -> None:
    for name in re.findall(r'(?:from|URL\()\s*"\./([\w.-]+)"', path.read_text()):
        assert (STATIC / name).is_file(), name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_no_script_makes_markup_or_code_from_text(path: Path) -> None:
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|new Function|document\.write", path.read_text()
    )


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix != ".svg"], ids=lambda p: p.name)
def test_files_stay_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 520


class Page(HTMLParser):
    """Collects what a strict Content-Security-Policy forbids, and the addresses of the page's parts."""

    def __init__(self) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.parts: list[str] = []
        self.within = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.within = tag
        for name, value in attrs:
            if name == "style" or name.startswith("on"):
                self.inline.append(f"<{tag} {name}>")
            if name == "src" or (tag == "link" and name == "href"):
                self.parts.append(value or "")

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - the parser's signature
        self.within = ""

    def handle_data(self, data: str) -> None:
        if self.within in {"script", "style"} and data.strip():
            self.inline.append(f"<{self.within}>")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.name)
def test_pages_have_nothing_inline_and_all_their_parts(path: Path) -> None:
    page = Page()
    page.feed(path.read_text())
    assert page.inline == []
    for part in page.parts:
        assert part.startswith("/static/"), part
        assert (STATIC / part.removeprefix("/static/")).is_file(), part
