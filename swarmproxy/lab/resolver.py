"""A name server that knows nothing and says so at once.

Nodes have no way out of the lab, so no name outside the cluster can be resolved; without an answer each unknown name
costs a client five seconds, and "connection refused" still costs that on Docker 20.10. Run in a node as
`python -m swarmproxy.lab.resolver ADDRESS`; it needs no library, so that it starts as fast as Python does.
"""

from __future__ import annotations

import socket
import sys

_QR_AA_RA_NXDOMAIN = 0x8483


def refuse(query: bytes) -> bytes | None:
    """NXDOMAIN for one query, its question repeated; None for what is not a query."""
    if len(query) < 17 or query[2] & 0x80 or query[4:6] != b"\x00\x01":
        return None
    end = 12
    while query[end] != 0:
        end += query[end] + 1
        if end >= len(query):
            return None
    end += 5  # the root label, type and class
    if end > len(query):
        return None
    flags = _QR_AA_RA_NXDOMAIN | (query[2] & 0x79) << 8  # opcode and "recursion desired" as asked
    return query[:2] + flags.to_bytes(2, "big") + b"\x00\x01" + bytes(6) + query[12:end]


def serve(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 53))
        while True:
            try:
                query, asker = sock.recvfrom(4096)
                answer = refuse(query)
                if answer is not None:
                    sock.sendto(answer, asker)
            except OSError:  # an asker that is gone already
                continue


if __name__ == "__main__":
    serve(sys.argv[1])
