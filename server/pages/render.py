"""Turns a template and a visitor into an answer."""

from typing import Any
from urllib.parse import urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from server.pages.words import LANGUAGE_COOKIE, LANGUAGE_COOKIE_S, LANGUAGES, all_words, language_of
from storage.accounts import User


class Renderer:
    """The templates, with what all of them are given."""

    def __init__(self, *, registration: bool, mail: bool, secure: bool) -> None:
        self._registration, self._mail, self._secure = registration, mail, secure
        self._words = all_words()
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("server.pages"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def page(
        self, name: str, request: Request, user: User | None, status: int = 200, **more: Any
    ) -> Response:
        """The page of that name for that visitor, in the visitor's language."""
        if request.query_params.get("lang") in LANGUAGES:
            return self._switched(request)
        language = language_of(request, user)
        html = self._templates.get_template(f"{name}.html").render(
            t=self._words[language],
            language=language,
            languages=[(tag, title, _address(request, tag)) for tag, title in LANGUAGES.items()],
            user=user,
            page=name,
            path=request.url.path,
            registration=self._registration,
            mail=self._mail,
            **more,
        )
        # What a logged-in person saw must not come back by the Back button after the logout.
        cache = "no-store" if user else "no-cache"
        headers = {"Cache-Control": cache, "Vary": "Cookie, Accept-Language", "Content-Language": language}
        return HTMLResponse(html, status, headers)

    def _switched(self, request: Request) -> Response:
        """The language was chosen: remember it, and go to the page under its own address."""
        response = RedirectResponse(_address(request, ""), 303)
        response.set_cookie(
            LANGUAGE_COOKIE,
            request.query_params["lang"],
            max_age=LANGUAGE_COOKIE_S,
            samesite="lax",
            secure=self._secure,
        )
        return response


def _address(request: Request, language: str) -> str:
    """This page in that language; "" = in whichever it comes."""
    query = [(k, v) for k, v in request.query_params.multi_items() if k != "lang"]
    if language:
        query.append(("lang", language))
    return request.url.path + (f"?{urlencode(query)}" if query else "")
