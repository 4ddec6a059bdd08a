"""Addresses of engines, as members write them.

    unix:///run/docker.sock    http://10.0.0.1:2375 (also written tcp://… or without a scheme)    https://10.0.0.1:2376

`text` is the form that is stored and compared, `shown` the one that Docker's messages use.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

PORT = 2375
TLS_PORT = 2376


@dataclass(frozen=True, slots=True)
class Address:
    """`scheme` is unix, http or https; `host` a name or address without brackets, `path` of the socket for unix."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises ValueError with a sentence that names the text."""
        scheme, separator, rest = text.strip().partition("://")
        if not separator:
            scheme, rest = ("unix", text.strip()) if text.strip().startswith("/") else ("http", text.strip())
        scheme = {"tcp": "http"}.get(scheme, scheme)
        if scheme == "unix":
            if not rest.startswith("/"):
                raise ValueError(f"{text!r}: a socket needs an absolute path, as in unix:///run/docker.sock")
            return cls("unix", path=rest)
        if scheme not in ("http", "https"):
            raise ValueError(f"{text!r}: unknown kind of address {scheme!r}; known are unix, http, https and tcp")
        try:
            parts = urlsplit(f"//{rest}")
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}") from None
        if not host or parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError(f"{text!r} is not an address: host:port is expected")
        return cls(scheme, host, port or (TLS_PORT if scheme == "https" else PORT))

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def text(self) -> str:
        return f"unix://{self.path}" if self.scheme == "unix" else f"{self.scheme}://{self.authority}"

    @property
    def shown(self) -> str:
        return self.text if self.scheme == "unix" else f"tcp://{self.authority}"

    @property
    def base(self) -> str:
        """What a request's URL begins with; over a socket the host is a word without meaning."""
        return "http://docker" if self.scheme == "unix" else self.text

    def __str__(self) -> str:
        return self.text
