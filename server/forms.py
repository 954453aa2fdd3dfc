"""Multipart forms: fields and files, with what they may be. Past a megabyte a file goes to disk."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

Form = dict[str, str | UploadFile]

MOST_TEXT_BYTES = 1 << 16
"""Of a field that is no file."""
MOST_REPEATED = 8


@dataclass(frozen=True, slots=True)
class Part:
    """A field of a multipart form."""

    name: str
    about: str
    is_file: bool = False
    required: bool = True
    many: bool = False
    """It may be there several times: its texts come joined by commas."""


async def read(request: Request, parts: Sequence[Part], most_bytes: int) -> Form:
    """The form's fields by name. Whoever gets it closes it with `close`. Raises 400, 413, 415, 422."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise HTTPException(415, "The body must be a form, with Content-Type: multipart/form-data.")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most_bytes:
        raise _too_big(most_bytes)
    parser = MultiPartParser(
        request.headers,
        _limited(request, most_bytes),
        max_files=len(parts),
        max_fields=len(parts) + MOST_REPEATED * sum(part.many for part in parts),
        max_part_size=MOST_TEXT_BYTES,
    )
    try:
        found = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"The form cannot be read: {error.message}") from error
    try:
        return _checked(found.multi_items(), parts)
    except HTTPException:
        await found.close()
        raise


async def close(form: Form) -> None:
    """Give back the files."""
    for value in form.values():
        if isinstance(value, UploadFile):
            await value.close()


async def _limited(request: Request, most_bytes: int) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most_bytes:
            raise _too_big(most_bytes)
        yield chunk


def _too_big(most_bytes: int) -> HTTPException:
    return HTTPException(413, f"The body is too big: at most {most_bytes} bytes.")


def _checked(items: Sequence[tuple[str, str | UploadFile]], parts: Sequence[Part]) -> Form:
    known, form, wrong = {part.name: part for part in parts}, Form(), []
    for name, value in items:
        if name not in known:
            wrong.append(f"{name} is not a field of this form")
        elif known[name].many and isinstance(form.get(name), str) and isinstance(value, str):
            value = f"{form[name]},{value}"
        elif name in form:
            wrong.append(f"{name} is there twice")
        elif known[name].is_file != isinstance(value, UploadFile):
            wrong.append(f"{name} must be {'a file' if known[name].is_file else 'text'}")
        form[name] = value
    wrong += [f"{part.name} is missing" for part in parts if part.required and part.name not in form]
    if wrong:
        raise HTTPException(422, "; ".join(wrong))
    return form
