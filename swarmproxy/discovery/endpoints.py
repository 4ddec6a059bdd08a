"""The members of one etcd cluster: a channel to each, which of them is asked, and whether any of them answers.

One channel per endpoint and our own index, because grpc's balancing cannot move a watch away from a member that is
frozen or has no leader. A failing member is left for the next one, once, whoever notices first. Every call says
`hasleader`, so a member cut off from the quorum refuses at once instead of hanging.

A cluster that answered a moment ago is waited for (a change of leader takes two seconds); one that has not answered for
`PATIENCE` is known lost: calls fail at once with the reason, and one background probe looks for its return.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import grpc
import grpc.aio

from swarmproxy.discovery import etcdrpc
from swarmproxy.discovery.backoff import Backoff
from swarmproxy.discovery.store import LeaseNotFound, StoreError, Unavailable

__all__ = ["CALL", "LEADER", "PATIENCE", "Endpoint", "Endpoints", "reason"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

CALL = 2.0
"""Seconds for one call to one member."""
PATIENCE = 4.0
"""Seconds that a silent cluster is waited for, from its first failure on."""
LEADER = (("hasleader", "true"),)

_OPTIONS = (
    # Pings only while a call is open: etcd counts others as abuse and drops the connection. Its limit is one in 5 s.
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.enable_http_proxy", 0),
)

_UNSENT = re.compile(
    r"failed to connect|connections to all backends failing|DNS resolution failed|no leader$|too many requests", re.I
)
"""What a member, or grpc, says when a write has certainly not been started."""


def reason(target: str, error: BaseException) -> str:
    """One short line for people: who, and what happened there."""
    if not isinstance(error, grpc.aio.AioRpcError):
        return f"etcd {target}: {error}"
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"etcd {target}: no answer in time"
    details = (error.details() or error.code().name).rsplit("Failed to connect to remote host: ", 1)[-1]
    return f"etcd {target}: {details.removeprefix('etcdserver: ').removeprefix('connect: ')}"


class Stale(Exception):
    """A member answered from an older term than was seen before."""


class Endpoint:
    """One member: its channel and stubs."""

    def __init__(self, target: str, credentials: Any | None) -> None:
        rpc = etcdrpc.load()
        self.target = target
        if credentials is None:
            self.channel = grpc.aio.insecure_channel(target, _OPTIONS)
        else:
            self.channel = grpc.aio.secure_channel(target, credentials, _OPTIONS)
        self.kv = rpc.KVStub(self.channel)
        self.lease = rpc.LeaseStub(self.channel)
        self.watch = rpc.WatchStub(self.channel)
        self.maintenance = rpc.MaintenanceStub(self.channel)


class Endpoints:
    """Calls with failover, and the cluster's health as seen from here. To be made inside a running loop."""

    def __init__(self, targets: Sequence[str], credentials: Any | None, ping: bytes) -> None:
        if not targets:
            raise ValueError("no etcd endpoint given")
        self._all = [Endpoint(target, credentials) for target in targets]
        self._current = random.randrange(len(self._all))
        self._ping = etcdrpc.load().RangeRequest(key=ping, count_only=True)
        self._failing: float | None = None
        self._reason = ""
        self._probe: asyncio.Task[None] | None = None
        self._closed = False
        self._cluster = 0
        self._term = 0
        self.revision = 0
        """The newest revision seen in any answer."""

    @property
    def current(self) -> Endpoint:
        return self._all[self._current]

    async def call(self, attempt: Callable[[Endpoint, float], Awaitable[T]], *, repeat: bool = True) -> tuple[T, bool]:
        """Runs `attempt(endpoint, timeout)` until a member answers.

        Args:
            repeat: whether it may be sent again after it may have been carried out.

        Returns:
            The answer, and whether an earlier attempt may have been carried out too.

        Raises:
            Unavailable: no answer within PATIENCE, or at once when the cluster is known lost.
            LeaseNotFound, StoreError: what the cluster answered.
        """
        limit = (self._failing or time.monotonic()) + PATIENCE
        backoff = Backoff(cap=0.5)
        doubtful = False
        attempts = 0
        while True:
            self._refuse()
            endpoint = self.current
            try:
                timeout = min(CALL, max(limit - time.monotonic(), 0.05))
                async with asyncio.timeout(timeout + 0.5):  # grpc keeps its own; this one is for its faults
                    answer = await attempt(endpoint, timeout)
            except (grpc.aio.AioRpcError, grpc.aio.UsageError, TimeoutError, Stale) as error:
                maybe = self._judge(endpoint, error)
                if maybe and not repeat:
                    raise Unavailable(f"{self._reason} (the write may have happened)") from error
                doubtful |= maybe
            except asyncio.CancelledError:
                # grpc says it this way, too, when the channel is closed under a call: that is no cancellation of ours.
                task = asyncio.current_task()
                if self._closed and task is not None and not task.cancelling():
                    raise Unavailable("the store is closed") from None
                raise
            else:
                self.answered()
                return answer, doubtful
            attempts += 1
            if time.monotonic() >= limit:
                raise Unavailable(self._reason)
            if attempts >= len(self._all):
                await asyncio.sleep(min(backoff.next(), max(limit - time.monotonic(), 0)))

    def _refuse(self) -> None:
        if self._closed:
            raise Unavailable("the store is closed")
        if self._failing is not None and time.monotonic() - self._failing >= PATIENCE:
            raise Unavailable(self._reason)

    def _judge(self, endpoint: Endpoint, error: BaseException) -> bool:
        """Raises what is an answer; else notes the failure and says whether a write may have happened."""
        if isinstance(error, grpc.aio.AioRpcError):
            code, details = error.code(), error.details() or ""
            if "lease not found" in details:
                self.answered()
                raise LeaseNotFound(details) from error
            if "database space exceeded" in details:
                self.answered()
                raise Unavailable(reason(endpoint.target, error)) from error
            silent = (
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                grpc.StatusCode.CANCELLED,
            )
            if code not in silent and "not a primary lessor" not in details:
                self.answered()
                raise StoreError(reason(endpoint.target, error)) from error
            self.failed(endpoint, reason(endpoint.target, error))
            return not _UNSENT.search(details)
        text = "no answer in time" if isinstance(error, TimeoutError) else str(error)
        self.failed(endpoint, f"etcd {endpoint.target}: {text}")
        return isinstance(error, TimeoutError)

    def saw(self, header: Any, *, guard: bool = True) -> None:
        """Notes an answer's header.

        Raises:
            Stale: with `guard`, when its term is older than one seen before (a member left behind).
        """
        if header.cluster_id != self._cluster:
            if self._cluster:
                logger.warning("etcd: answers come from another cluster (%x, was %x)", header.cluster_id, self._cluster)
            self._cluster, self._term, self.revision = header.cluster_id, 0, 0
        if guard and header.raft_term < self._term:
            raise Stale(f"member is at term {header.raft_term}, the cluster at {self._term}")
        self._term = max(self._term, header.raft_term)
        self.revision = max(self.revision, header.revision)

    def answered(self) -> None:
        self._failing = None

    def failed(self, endpoint: Endpoint, text: str) -> None:
        """Leaves `endpoint` for the next one, unless somebody already did, and starts looking for the cluster."""
        if endpoint is self.current:
            self._current = (self._current + 1) % len(self._all)
        self._reason = text
        if self._failing is None and not self._closed:
            self._failing = time.monotonic()
            if self._probe is None or self._probe.done():
                self._probe = asyncio.get_running_loop().create_task(self._look(), name="etcd-probe")
                self._probe.add_done_callback(_report)

    async def _look(self) -> None:
        """Asks member after member until one gives a linearizable answer."""
        backoff = Backoff(base=0.1, cap=0.5)
        while self._failing is not None and not self._closed:
            older: tuple[Endpoint, Any] | None = None
            for endpoint in self._all:
                try:
                    answer = await endpoint.kv.Range(self._ping, timeout=CALL, metadata=LEADER)
                    self.saw(answer.header)
                except Stale:
                    older = endpoint, answer.header
                except (grpc.aio.AioRpcError, grpc.aio.UsageError) as error:
                    self._reason = reason(endpoint.target, error)
                else:
                    self._settle(endpoint)
                    return
            if older is not None:
                # A quorum answers and nobody knows the newer term: the cluster was restored or wiped.
                endpoint, header = older
                logger.warning("etcd: the cluster is back at an older state")
                self._term, self.revision = header.raft_term, header.revision
                self._settle(endpoint)
                return
            await asyncio.sleep(backoff.next())

    def _settle(self, endpoint: Endpoint) -> None:
        self._current = self._all.index(endpoint)
        self.answered()

    async def close(self) -> None:
        self._closed = True
        if self._probe is not None:
            self._probe.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._probe
        await asyncio.gather(*(endpoint.channel.close() for endpoint in self._all))


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("etcd: the probe ended by a fault", exc_info=error)
