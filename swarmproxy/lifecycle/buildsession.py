"""Which node a build's calls belong to: a table, without I/O, the clock passed in.

A BuildKit build is many connections that must all end at one engine. `/session` and `/build` carry the session's uuid;
`/grpc` carries nothing, so it belongs to its client: the peer, an address and perhaps a certificate. Two clients behind
one address cannot be told apart there, therefore all tunnels of a peer go where its newest live session is: wrong for
nobody, since a session that has been bound stays where it is.

    uuid known            → its node, whatever else is said
    peer has a session    → the newest one's node
    peer has a tunnel     → the newest one's node
    peer had one just now → the same node: a client opens and closes several before its build begins
    otherwise             → nothing is known; whoever asks chooses, and enters the choice

A node that is no longer usable is as good as unknown. The table lives in one proxy's memory: a client process speaks to
one DOCKER_HOST, so its calls do not go through two proxies in turn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

GRACE = 10.0
"""Seconds after a peer's last tunnel in which it is still known."""
KEEP = 60.0
"""Seconds after a session's last call in which its uuid is still known; engines wait 5 s for a session."""

Usable = Callable[[str], bool]
"""Whether a node, by id, may be given calls."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """One call under way. `age` orders them: the larger, the newer. A classic build has no peer: it is one call."""

    age: int
    peer: str
    node: str
    session: str = ""
    build: str = ""


@dataclass(frozen=True, slots=True)
class _Past:
    node: str
    until: float


class BuildSessions:
    """See the module. Every `enter` is followed by one `leave`."""

    def __init__(self) -> None:
        self._ages = itertools.count()
        self.listeners: set[Callable[[str], None]] = set()
        """Told of each session that is bound or refused."""
        self._live: dict[int, Ticket] = {}
        self._peers: dict[str, _Past] = {}
        self._sessions: dict[str, _Past] = {}

    def __len__(self) -> int:
        """Calls under way."""
        return len(self._live)

    @property
    def remembered(self) -> int:
        """What is kept of calls that are over."""
        return len(self._peers) + len(self._sessions)

    def of_session(self, session: str, now: float, usable: Usable) -> str:
        """The node of a session, "" when it is not bound."""
        live = _newest(one for one in self._live.values() if session and one.session == session and usable(one.node))
        return live or _past(self._sessions.get(session), now, usable)

    def of_peer(self, peer: str, now: float, usable: Usable) -> str:
        """The node where a call without a session belongs, "" when nothing is known of its client."""
        mine = [one for one in self._live.values() if peer and one.peer == peer and usable(one.node)]
        live = _newest(one for one in mine if one.session) or _newest(mine)
        return live or _past(self._peers.get(peer), now, usable)

    def of_build(self, build: str) -> str:
        """The node where a build of this id is under way, or ""."""
        return _newest(one for one in self._live.values() if build and one.build == build)

    def enter(self, peer: str, node: str, now: float, *, session: str = "", build: str = "") -> Ticket:
        """A call goes to a node."""
        self._forget(now)
        ticket = Ticket(next(self._ages), peer, node, session, build)
        self._live[ticket.age] = ticket
        for listener in tuple(self.listeners) if session else ():
            listener(session)
        return ticket

    def refuse(self, session: str, now: float) -> None:
        """The build that was to bind the session will not be."""
        self._sessions[session] = _Past("", now + KEEP)
        for listener in tuple(self.listeners):
            listener(session)

    def refused(self, session: str) -> bool:
        past = self._sessions.get(session)
        return past is not None and not past.node

    def leave(self, ticket: Ticket, now: float, *, reached: bool = True) -> None:
        """It is over. With `reached` false the node never answered: the next call of this client is free to go on."""
        del self._live[ticket.age]
        if not reached:
            return
        if ticket.peer:
            self._peers[ticket.peer] = _Past(ticket.node, now + GRACE)
        if ticket.session:
            self._sessions[ticket.session] = _Past(ticket.node, now + KEEP)

    def _forget(self, now: float) -> None:
        for table in (self._peers, self._sessions):
            for key in [key for key, past in table.items() if past.until <= now]:
                del table[key]


def _newest(tickets: Iterable[Ticket]) -> str:
    return max(tickets, key=lambda one: one.age).node if (tickets := list(tickets)) else ""


def _past(past: _Past | None, now: float, usable: Usable) -> str:
    return past.node if past is not None and past.node and now < past.until and usable(past.node) else ""
