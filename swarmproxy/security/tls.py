"""TLS contexts from the four flags that every Docker tool has: --tlsverify, --tlscacert, --tlscert, --tlskey.

One set serves both legs, as in classic Swarm: clients are asked for a certificate of the same CA that the engines'
certificates come from. Files are checked here, once, so a typo is told at start and not at the first connection.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from docker.errors import TLSParameterError
from docker.tls import TLSConfig


@dataclass(frozen=True, slots=True)
class Files:
    """Paths of PEM files; "" where none was given."""

    ca: str = ""
    cert: str = ""
    key: str = ""
    verify: bool = False


@dataclass(frozen=True, slots=True)
class Contexts:
    """None = plain."""

    server: ssl.SSLContext | None = None
    client: ssl.SSLContext | None = None


def contexts(files: Files) -> Contexts:
    """Raises ValueError with a sentence for people."""
    if not (files.verify or files.cert or files.key or files.ca):
        return Contexts()
    try:
        TLSConfig(client_cert=(files.cert, files.key), ca_cert=files.ca or None, verify=files.verify)
    except TLSParameterError as error:
        raise ValueError(f"TLS: {str(error).partition(' TLS configurations')[0]}") from None
    if files.verify and not files.ca:
        raise ValueError("TLS: --tlsverify needs --tlscacert")
    try:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.minimum_version = ssl.TLSVersion.TLSv1_2
        server.load_cert_chain(files.cert, files.key)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.minimum_version = ssl.TLSVersion.TLSv1_2
        client.load_cert_chain(files.cert, files.key)
        if files.verify:
            server.load_verify_locations(files.ca)
            server.verify_mode = ssl.CERT_REQUIRED
            client.load_verify_locations(files.ca)
        else:
            client.check_hostname = False
            client.verify_mode = ssl.CERT_NONE
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"TLS: {error}") from None
    return Contexts(server, client)
