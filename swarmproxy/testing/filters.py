"""The `filters` parameter, booleans and numbers of queries, as engines read and refuse them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from swarmproxy.model.errors import BadRequest, DockerError
from swarmproxy.testing.flavour import Flavour

__all__ = ["Filters", "boolean", "labelled", "matches_name", "number", "parse_filters"]

Filters = Mapping[str, frozenset[str]]

_FALSE = frozenset(("", "0", "no", "false", "none"))


def boolean(text: str) -> bool:
    return text.strip().lower() not in _FALSE


def number(text: str, *, required: bool = False, status: int = 500) -> int:
    """0 when there is none and none is required. Raises DockerError with Go's words."""
    if not text and not required:
        return 0
    try:
        return int(text)
    except ValueError:
        raise DockerError(f'strconv.Atoi: parsing "{text}": invalid syntax', status=status) from None


def parse_filters(text: str, flavour: Flavour, known: Iterable[str] | None) -> Filters:
    """`{"k": ["v"]}` or `{"k": {"v": true}}`; `known` None = unknown keys are ignored (events).

    Raises:
        DockerError: malformed (500 on 20.10, 400 on 26.1) or an unknown key (400).
    """
    if not text:
        return {}
    try:
        tree = msgspec.json.decode(text.encode(), type=dict[str, list[str] | dict[str, bool]] | None)
    except msgspec.MsgspecError:
        if not flavour.old:
            raise BadRequest("invalid filter") from None
        inner = text.lstrip()[:1] == "{"
        if inner or text.lstrip()[:1] == "[":
            what, into = ("string", "map[string]bool") if inner else ("array", "map[string]map[string]bool")
            raise DockerError(f"json: cannot unmarshal {what} into Go value of type {into}") from None
        raise DockerError(f"invalid character '{text[:1]}' looking for beginning of value") from None
    found = {key: frozenset(values) for key, values in (tree or {}).items()}
    if known is not None:
        allowed = frozenset(known)
        for key in found:
            if key not in allowed:
                raise BadRequest(f"{flavour.say('Invalid', 'invalid')} filter '{key}'")
    return {key: values for key, values in found.items() if values}


def labelled(labels: Mapping[str, str], wanted: Iterable[str]) -> bool:
    """All of them: `k` present, `k=v` exact."""
    for label in wanted:
        key, equals, value = label.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def matches_name(name: str, wanted: Iterable[str]) -> bool:
    """Any of them, as a regular expression searched anywhere; a bad expression matches nothing."""
    for pattern in wanted:
        if pattern == name:
            return True
        try:
            if re.search(pattern, name):
                return True
        except re.error:
            continue
    return False
