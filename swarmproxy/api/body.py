"""Reading a JSON body, with the newer engine's words for what is wrong with it.

Engines differ (500 on 20.10, 400 on 26.1); 400 is given for all. The syntax check is msgspec's, a few µs; only when it
fails is the fault looked up again, to say it the way Go's decoder does, because people search for those words.
"""

from __future__ import annotations

import json

import msgspec
from aiohttp import web

from swarmproxy.model.errors import BadRequest, DockerError

EMPTY = "invalid JSON: got EOF while reading request body"
TOO_DEEP = "invalid JSON: invalid character '%s' exceeded max depth"
TRAILING = "unexpected content after JSON"


async def read_json(request: web.BaseRequest, limit: int, *, optional: bool) -> bytes:
    """See Call.json_body."""
    kind = request.headers.get("Content-Type", "")
    if not request.body_exists or request.content_length == 0:
        if kind:
            check_type(kind)
        if optional:
            return b"{}"
        raise BadRequest(EMPTY)
    check_type(kind)
    body = await read_limited(request, limit)
    if optional and not body:
        return b"{}"
    body = readable(body)
    check_json(body)
    return body


def readable(body: bytes) -> bytes:
    """The body as Go's decoder takes it: bytes that are no UTF-8 have become U+FFFD."""
    if body.isascii():
        return body
    try:
        body.decode()
    except UnicodeDecodeError:
        return body.decode("utf-8", "replace").encode()
    return body


def check_type(kind: str) -> None:
    """Raises BadRequest unless the Content-Type says JSON."""
    if kind == "application/json":
        return
    media = kind.partition(";")[0].strip().lower()
    if not media:
        raise BadRequest(f"malformed Content-Type header ({kind}): mime: no media type")
    if media != "application/json":
        raise BadRequest(f"unsupported Content-Type header ({kind}): must be 'application/json'")


async def read_limited(request: web.BaseRequest, limit: int) -> bytes:
    """The whole body; raises 413 beyond `limit` bytes, before more than that is held."""
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    go_on(request)
    parts: list[bytes] = []
    size = 0
    async for part in request.content.iter_any():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def go_on(request: web.BaseRequest) -> None:
    """Answers `Expect: 100-continue`; the body does not come before that."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _too_large(limit: int) -> DockerError:
    return DockerError(f"request body is larger than {limit} bytes", status=413)


def check_json(body: bytes) -> None:
    """Raises BadRequest unless `body` is exactly one JSON value."""
    if not body.strip():
        raise BadRequest(EMPTY)
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except RecursionError:
        raise BadRequest(TOO_DEEP % body.strip()[:1].decode()) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest(fault(body)) from None


def fault(body: bytes) -> str:
    """What Go's decoder says about a body that is not one JSON value."""
    text = body.decode("utf-8", "replace")
    start = len(text) - len(text.lstrip(" \t\r\n"))
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except json.JSONDecodeError as error:
        return f"invalid JSON: {_go_words(text, error)}"
    except RecursionError:
        return TOO_DEEP % text[start]
    return TRAILING if text[end:].strip() else "invalid JSON: unexpected EOF"


_WORDS = (
    ("Expecting property name", "looking for beginning of object key string"),
    ("Illegal trailing comma", "looking for beginning of object key string"),
    ("Expecting value", "looking for beginning of value"),
    ("Expecting ':'", "after object key"),
    ("Invalid control character", "in string literal"),
    ("Invalid \\escape", "in string escape code"),
    ("Invalid \\uXXXX", "in \\u hexadecimal character escape"),
)


def _go_words(text: str, error: json.JSONDecodeError) -> str:
    at = error.pos
    while at < len(text) and text[at] in " \t\r\n" and "control" not in error.msg:
        at += 1
    if "Unterminated" in error.msg or at >= len(text):
        return "unexpected EOF"
    if error.msg.startswith("Invalid \\escape") and at + 1 < len(text):
        at += 1
    where = next((words for start, words in _WORDS if error.msg.startswith(start)), "")
    if not where:
        where = "after array element" if _in_array(text[:at]) else "after object key:value pair"
    elif error.msg.startswith("Expecting value"):
        literal = next((word for word in ("true", "false", "null") if word[0] == text[at]), "")
        same = next((place for place in range(len(literal)) if text[at + place : at + place + 1] != literal[place]), 0)
        if literal and at + same >= len(text):
            return "unexpected EOF"
        if literal:
            at += same
            where = f"in literal {literal} (expecting '{literal[same]}')"
    char = text[at]
    shown = "'\\''" if char == "'" else "'\\n'" if char == "\n" else f"'{char}'"
    return f"invalid character {shown} {where}"


def _in_array(before: str) -> bool:
    """Whether the innermost bracket still open is a square one."""
    stack: list[str] = []
    quoted = escaped = False
    for char in before:
        if quoted:
            quoted = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            quoted = True
        elif char in "[{":
            stack.append(char)
        elif char in "]}" and stack:
            stack.pop()
    return bool(stack) and stack[-1] == "["
