"""The pages' words, and which language a visitor reads them in.

The catalogues are the browser's own modules in `static`: one place for every word, whoever says it. They are
written one `"key": "text",` to a line, which this reads without a JavaScript engine.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from starlette.requests import Request

from storage.accounts import User

STATIC = Path(__file__).resolve().parents[2] / "static"
LANGUAGES = {"en": "English", "es": "Español"}
"""Each named in itself; the first is for everybody else."""
LANGUAGE_COOKIE = "parley_language"
LANGUAGE_COOKIE_S = 365 * 24 * 3600

_CATALOGUES = {"en": ("texts.js", "texts.pages.js"), "es": ("texts.es.js", "texts.pages.es.js")}
_ENTRY = re.compile(r'^ {2}"([\w.-]+)": (".*"),$', re.MULTILINE)
_BLANK = re.compile(r"\{(\w+)\}")


class Words:
    """One language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.texts: dict[str, str] = {}
        for name in _CATALOGUES[language]:
            found = _ENTRY.finditer((STATIC / name).read_text(encoding="utf-8"))
            self.texts |= {entry[1]: json.loads(entry[2]) for entry in found}

    def __call__(self, key: str, **fill: object) -> str:
        """The text of that key, its blanks filled. Raises KeyError: a page never shows a key."""
        return _BLANK.sub(lambda blank: str(fill.get(blank[1], "")), self.texts[key])


@cache
def all_words() -> dict[str, Words]:
    """Every language's."""
    return {language: Words(language) for language in LANGUAGES}


def language_of(request: Request, user: User | None) -> str:
    """What was chosen on the page, else what the account prefers, else what the browser asks for."""
    preferred = user.preferences.get("preferred_language") if user else None
    wanted = (
        request.query_params.get("lang"),
        request.cookies.get(LANGUAGE_COOKIE),
        preferred if isinstance(preferred, str) else None,
        *accepted(request.headers),
    )
    for tag in wanted:
        if tag and (known := tag.replace("_", "-").partition("-")[0].lower()) in LANGUAGES:
            return known
    return next(iter(LANGUAGES))


def accepted(headers: Mapping[str, str]) -> list[str]:
    """The tags of Accept-Language (RFC 9110, 12.5.4), the most wanted first."""
    found: list[tuple[float, str]] = []
    for part in headers.get("accept-language", "").split(","):
        tag, _, weight = part.strip().partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            continue
        if tag and quality > 0:
            found.append((-quality, tag.strip()))
    return [tag for _, tag in sorted(found, key=lambda one: one[0])]
