"""The store of a cluster with more than one proxy: etcd (3.4 or newer), driven through grpc.aio.

Reads, leases' calls and revocations repeat themselves on the next member. A transaction is sent again only when it was
certainly not sent, or when its own effect would make its compares fail; what became of the first copy is then read off
the keys (see `txn`). A list comes in pages at one revision: no message grows with the cluster, and each page keeps the
short deadline by which a frozen member is recognised.

A watch lives on one member and ends with it; whoever watches goes on from the last revision (`cache`). A member that
says nothing for PROBE seconds is asked for its status: without that, a frozen or cut-off one would hide every event.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import grpc
import grpc.aio

from swarmproxy.discovery import etcdrpc, txn
from swarmproxy.discovery.endpoints import CALL, LEADER, Endpoint, Endpoints, Stale, reason
from swarmproxy.discovery.store import (
    KV,
    Absent,
    Batch,
    Compacted,
    Compare,
    Event,
    LeaseNotFound,
    ModIs,
    Op,
    Put,
    StoreError,
    TxnResult,
    Unavailable,
)
from swarmproxy.model import keys

__all__ = ["EtcdStore", "credentials"]

PROBE = 3.0
"""Seconds of silence on a watch before its member is asked whether it lives."""
PAGE = 5000
"""Keys in one page of a list."""


def credentials(*, ca: bytes | None = None, cert: bytes | None = None, key: bytes | None = None) -> Any:
    """TLS for the channels, from PEM bytes; without `ca` the system's authorities count."""
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)


class EtcdStore:
    """See `store.Store` for the guarantees. To be made inside a running loop.

    Args:
        endpoints: "host:port", any number of members of one cluster.
        root: put before every key.
        tls: what `credentials` made, or None for plaintext.
        probe: seconds; see PROBE.
    """

    def __init__(
        self, endpoints: Sequence[str], *, root: str = keys.ROOT, tls: Any | None = None, probe: float = PROBE
    ) -> None:
        self._rpc = etcdrpc.load()
        self._root = root.encode()
        self._probe = probe
        self._cluster = Endpoints(endpoints, tls, self._root)

    async def get(self, key: str) -> KV | None:
        answer = await self._range(self._rpc.RangeRequest(key=self._name(key)))
        return self._kv(answer.kvs[0]) if answer.kvs else None

    async def list(self, prefix: str) -> tuple[int, list[KV]]:
        first, last = self._name(prefix), _after(self._name(prefix))
        while True:
            found: list[KV] = []
            revision, start = 0, first
            try:
                while True:
                    answer = await self._range(
                        self._rpc.RangeRequest(key=start, range_end=last, limit=PAGE, revision=revision)
                    )
                    revision = revision or answer.header.revision
                    found += map(self._kv, answer.kvs)
                    if not answer.more:
                        return revision, found
                    start = answer.kvs[-1].key + b"\0"
            except StoreError as error:
                if "has been compacted" not in str(error):
                    raise
                # Compacted between two pages: begin again.

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> TxnResult:
        txn.check(compares, ops)
        known = self._cluster.revision
        request = self._rpc.TxnRequest(compare=map(self._compare, compares), success=map(self._op, ops))

        async def attempt(endpoint: Endpoint, timeout: float) -> Any:
            return await endpoint.kv.Txn(request, timeout=timeout, metadata=LEADER)

        answer, doubtful = await self._cluster.call(attempt, repeat=txn.guarded(compares, ops))
        self._cluster.saw(answer.header, guard=False)  # whatever the member's term, the cluster has agreed to this
        if answer.succeeded or not doubtful:
            return TxnResult(answer.succeeded, answer.header.revision)
        if (result := txn.outcome(compares, ops, await self._snapshot(txn.touched(compares, ops)), known)) is None:
            raise Unavailable("etcd: the answer was lost, and the keys do not tell whether the write happened")
        return result

    async def grant(self, ttl: float) -> int:
        # Our own number: a second sending of the same grant is then known for what it is.
        lease = secrets.randbits(62) + 1
        request = self._rpc.LeaseGrantRequest(TTL=math.ceil(ttl), ID=lease)

        async def attempt(endpoint: Endpoint, timeout: float) -> None:
            try:
                await endpoint.lease.LeaseGrant(request, timeout=timeout, metadata=LEADER)
            except grpc.aio.AioRpcError as error:
                if "lease already exists" not in (error.details() or ""):
                    raise

        await self._cluster.call(attempt)
        return lease

    async def keepalive(self, lease: int) -> float:
        async def attempt(endpoint: Endpoint, timeout: float) -> float:
            call = endpoint.lease.LeaseKeepAlive(timeout=timeout, metadata=LEADER)
            try:
                await call.write(self._rpc.LeaseKeepAliveRequest(ID=lease))
                answer = await call.read()
                if answer is grpc.aio.EOF:
                    raise Stale("the stream ended without an answer")
                return float(answer.TTL)
            except asyncio.InvalidStateError:
                raise await _cause(call) from None
            finally:
                call.cancel()

        ttl, _ = await self._cluster.call(attempt)
        if ttl <= 0:
            raise LeaseNotFound(f"lease {lease:x} has expired or was revoked")
        return ttl

    async def revoke(self, lease: int) -> None:
        async def attempt(endpoint: Endpoint, timeout: float) -> None:
            await endpoint.lease.LeaseRevoke(self._rpc.LeaseRevokeRequest(ID=lease), timeout=timeout, metadata=LEADER)

        with contextlib.suppress(LeaseNotFound):
            await self._cluster.call(attempt)

    async def compact(self, revision: int) -> None:
        """Forgets the history before `revision`; for tests, the cluster has its own schedule."""

        async def attempt(endpoint: Endpoint, timeout: float) -> None:
            request = self._rpc.CompactionRequest(revision=revision, physical=True)
            await endpoint.kv.Compact(request, timeout=timeout, metadata=LEADER)

        await self._cluster.call(attempt)

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Batch, None]:
        endpoint = self._cluster.current
        first = self._name(prefix)
        create = self._rpc.WatchCreateRequest(key=first, range_end=_after(first), start_revision=after + 1)
        # Read and write by hand: a request generator leaks tasks when the stream breaks.
        call = endpoint.watch.Watch(metadata=LEADER)
        pending: asyncio.Task[Any] | None = None
        try:
            try:
                async with asyncio.timeout(CALL):
                    await call.write(self._rpc.WatchRequest(create_request=create))
            except asyncio.InvalidStateError:
                raise await _cause(call) from None
            while True:
                pending = pending or asyncio.ensure_future(call.read())
                await asyncio.wait({pending}, timeout=self._probe)
                if not pending.done():
                    await self._alive(endpoint)
                    continue
                message, pending = _read(pending), None
                self._cluster.saw(message.header)
                if message.canceled:
                    if message.compact_revision:
                        raise Compacted(message.compact_revision)
                    raise Stale(message.cancel_reason or "the watch was cancelled")
                if message.events:
                    events = tuple(
                        Event("delete" if event.type else "put", self._kv(event.kv)) for event in message.events
                    )
                    yield Batch(events[-1].kv.mod_revision, events)
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, TimeoutError, Stale) as error:
            text = f"etcd {endpoint.target}: no answer in time" if isinstance(error, TimeoutError) else ""
            text = text or reason(endpoint.target, error)
            self._cluster.failed(endpoint, text)
            raise Unavailable(text) from error
        finally:
            call.cancel()
            if pending is not None:
                pending.cancel()
                await asyncio.wait({pending})
                if not pending.cancelled():
                    pending.exception()

    async def close(self) -> None:
        await self._cluster.close()

    async def _range(self, request: Any) -> Any:
        async def attempt(endpoint: Endpoint, timeout: float) -> Any:
            answer = await endpoint.kv.Range(request, timeout=timeout, metadata=LEADER)
            self._cluster.saw(answer.header)
            return answer

        answer, _ = await self._cluster.call(attempt)
        return answer

    async def _snapshot(self, names: Sequence[str]) -> dict[str, KV]:
        """Some keys at one revision; those that are not there are left out."""
        reads = [self._rpc.RequestOp(request_range=self._rpc.RangeRequest(key=self._name(name))) for name in names]
        request = self._rpc.TxnRequest(success=reads)

        async def attempt(endpoint: Endpoint, timeout: float) -> Any:
            return await endpoint.kv.Txn(request, timeout=timeout, metadata=LEADER)

        answer, _ = await self._cluster.call(attempt)
        found = (self._kv(kv) for response in answer.responses for kv in response.response_range.kvs)
        return {kv.key: kv for kv in found}

    async def _alive(self, endpoint: Endpoint) -> None:
        """Raises unless the member answers and knows a leader."""
        status = await endpoint.maintenance.Status(self._rpc.StatusRequest(), timeout=CALL)
        if not status.leader:
            raise Stale("member has no leader")

    def _name(self, key: str) -> bytes:
        return self._root + key.encode()

    def _kv(self, kv: Any) -> KV:
        key = kv.key[len(self._root) :].decode(errors="replace")
        return KV(key, kv.value, kv.create_revision, kv.mod_revision, kv.lease)

    def _compare(self, compare: Compare) -> Any:
        kind = self._rpc.Compare
        match compare:
            case Absent(key):
                return kind(target=kind.CREATE, result=kind.EQUAL, key=self._name(key), create_revision=0)
            case ModIs(key, revision):
                return kind(target=kind.MOD, result=kind.EQUAL, key=self._name(key), mod_revision=revision)
            case _:
                first = self._name(compare.prefix)
                newest = compare.revision + 1
                return kind(target=kind.MOD, result=kind.LESS, key=first, range_end=_after(first), mod_revision=newest)

    def _op(self, op: Op) -> Any:
        rpc = self._rpc
        if isinstance(op, Put):
            put = rpc.PutRequest(key=self._name(op.key), value=op.value, lease=op.lease)
            return rpc.RequestOp(request_put=put)
        return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=self._name(op.key)))


def _after(prefix: bytes) -> bytes:
    """The end of the range of all keys with this prefix."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else b"\0"


async def _cause(call: Any) -> Any:
    """Why a stream refuses a write: it has ended already, and its status says why."""
    return grpc.aio.AioRpcError(await call.code(), grpc.aio.Metadata(), grpc.aio.Metadata(), await call.details())


def _read(done: asyncio.Task[Any]) -> Any:
    """The message; raises what ended the stream."""
    if done.cancelled():  # by the channel's closing, not by our own consumer
        raise Stale("the channel was closed")
    message = done.result()
    if message is grpc.aio.EOF:
        raise Stale("the stream ended")
    return message
