"""The plugin socket: Docker's NetworkDriver and IpamDriver calls, turned into calls of the fabric and IPAM.

The engine calls under its container lock and without a time limit, so every call has ours. It retries a call whose
connection broke with an *empty* body; such a call is refused, never guessed. Errors travel as "Err" for networks and
"Error" for IPAM; both are always set.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from swarmproxy.model.options import DNS_ADDRESS
from swarmproxy.overlay.fabric import Fabric, Marks, NetworkCall
from swarmproxy.overlay.ipam import Ipam

__all__ = ["Plugin"]

log = logging.getLogger(__name__)

DEADLINE = 10.0
"""Seconds for one call."""
_TYPE = "application/vnd.docker.plugins.v1.2+json"
_GENERIC = "com.docker.network.generic"
_INTERNAL = "com.docker.network.internal"
_GATEWAY = "com.docker.network.gateway"
_ON_LINK = 1

Body = Mapping[str, Any]
Reply = Mapping[str, Any]


def failure(text: str) -> Reply:
    return {"Err": text, "Error": text}


class Plugin:
    """Serves `folder`/swarmproxy.sock from `start` to `stop`."""

    def __init__(self, *, fabric: Fabric, ipam: Ipam, folder: Path) -> None:
        self._fabric = fabric
        self._ipam = ipam
        self.path = folder / "swarmproxy.sock"
        self._runner: web.ServerRunner | None = None
        self._calls: dict[str, Callable[[Body], Awaitable[Reply]]] = {
            "/NetworkDriver.CreateNetwork": self._create_network,
            "/NetworkDriver.DeleteNetwork": self._delete_network,
            "/NetworkDriver.CreateEndpoint": self._create_endpoint,
            "/NetworkDriver.DeleteEndpoint": self._delete_endpoint,
            "/NetworkDriver.Join": self._join,
            "/NetworkDriver.Leave": self._leave,
            "/IpamDriver.RequestPool": self._request_pool,
            "/IpamDriver.RequestAddress": self._request_address,
            "/IpamDriver.ReleaseAddress": self._release_address,
        }

    async def start(self) -> None:
        """Raises OSError when the socket cannot be made."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None))
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.path)).start()
        self.path.chmod(0o600)

    async def stop(self) -> None:
        """Calls under way have a moment to end; the socket goes, so that the engine says "not found" at once."""
        if self._runner is not None:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        raw = await request.read()
        reply = await self.answer(request.path, raw)
        if reply is None:
            return web.Response(status=404, body=msgspec.json.encode(failure(f"no such call: {request.path}")))
        return web.Response(body=msgspec.json.encode(reply), headers={"Content-Type": _TYPE})

    async def answer(self, path: str, raw: bytes) -> Reply | None:
        """The reply to one call; None for a call that is not ours."""
        if (constant := _CONSTANT.get(path)) is not None:
            return constant
        call = self._calls.get(path)
        if call is None:
            return None
        if not raw.strip():
            return failure("retry lost body")
        try:
            body = msgspec.json.decode(raw, type=dict[str, Any])
            return await asyncio.wait_for(call(body), DEADLINE)
        except (msgspec.DecodeError, msgspec.ValidationError, KeyError, TypeError, ValueError) as error:
            log.error("%s: bad call: %s", path, error)
            return failure(f"bad call: {error}")
        except TimeoutError:
            log.error("%s: no result in %g s", path, DEADLINE)
            return failure(f"{path[1:]} took more than {DEADLINE:g} s")
        except Exception as error:
            log.warning("%s: %s", path, error or type(error).__name__)
            return failure(str(error) or type(error).__name__)

    # ------------------------------------------------------------------------------------------- networks
    async def _create_network(self, body: Body) -> Reply:
        given = body.get("Options") or {}
        subnets = [(str(each["Pool"]), str(each.get("Gateway") or "").partition("/")[0])
                   for each in [*(body.get("IPv4Data") or []), *(body.get("IPv6Data") or [])]]  # fmt: skip
        call = NetworkCall(given.get(_GENERIC) or {}, subnets, bool(given.get(_INTERNAL)))
        await self._fabric.create_network(body["NetworkID"], call)
        return {}

    async def _delete_network(self, body: Body) -> Reply:
        await self._fabric.delete_network(body["NetworkID"])
        return {}

    # ------------------------------------------------------------------------------------------- endpoints
    async def _create_endpoint(self, body: Body) -> Reply:
        interface = body.get("Interface") or {}
        asked = str(interface.get("MacAddress") or "")
        mac = await self._fabric.create_endpoint(
            body["NetworkID"],
            body["EndpointID"],
            ip=str(interface.get("Address") or "").partition("/")[0],
            ip6=str(interface.get("AddressIPv6") or "").partition("/")[0],
            mac=asked,
            marks=Marks.read(body.get("Options") or {}),
        )
        return {"Interface": {} if asked else {"MacAddress": mac}}  # a field that came filled must not come back

    async def _delete_endpoint(self, body: Body) -> Reply:
        await self._fabric.delete_endpoint(body["EndpointID"])
        return {}

    async def _join(self, body: Body) -> Reply:
        device, route = await self._fabric.join(body["EndpointID"], body["SandboxKey"])
        reply: dict[str, Any] = {"InterfaceName": {"SrcName": device, "DstPrefix": "eth"}}
        if route:
            reply["StaticRoutes"] = [{"Destination": f"{DNS_ADDRESS}/32", "RouteType": _ON_LINK}]
        return reply

    async def _leave(self, body: Body) -> Reply:
        await self._fabric.leave(body["EndpointID"])
        return {}

    # ------------------------------------------------------------------------------------------- addresses
    async def _request_pool(self, body: Body) -> Reply:
        nid = (body.get("Options") or {}).get("swp.id") or ""
        pool = body.get("Pool") or ""
        if not nid or not pool:
            return failure("networks of this driver are made by the cluster: swp.id and a subnet are needed")
        return {"PoolID": f"{nid}/{pool.replace('/', '_')}", "Pool": pool, "Data": {}}

    async def _request_address(self, body: Body) -> Reply:
        nid, cidr = _pool_id(body["PoolID"])
        asked = str(body.get("Address") or "")
        if (body.get("Options") or {}).get("RequestAddressType") == _GATEWAY:
            return {"Address": await self._ipam.gateway(nid, cidr, asked), "Data": {}}
        return {"Address": await self._ipam.request(nid, cidr, asked), "Data": {}}

    async def _release_address(self, body: Body) -> Reply:
        await self._ipam.release(_pool_id(body["PoolID"])[0], str(body.get("Address") or "").partition("/")[0])
        return {}


def _pool_id(text: str) -> tuple[str, str]:
    """(nid, CIDR) of a pool id that `_request_pool` made."""
    nid, _, pool = text.partition("/")
    return nid, pool.replace("_", "/")


_CONSTANT: dict[str, Reply] = {
    "/Plugin.Activate": {"Implements": ["NetworkDriver", "IpamDriver"]},
    # local: a global driver needs swarm mode before 26; connectivity global: it joins hosts
    "/NetworkDriver.GetCapabilities": {"Scope": "local", "ConnectivityScope": "global"},
    "/NetworkDriver.EndpointOperInfo": {"Value": {}},
    "/NetworkDriver.DiscoverNew": {},
    "/NetworkDriver.DiscoverDelete": {},
    "/NetworkDriver.ProgramExternalConnectivity": {},
    "/NetworkDriver.RevokeExternalConnectivity": {},
    # no replay: after an engine's restart the store says what is taken, not the engine
    "/IpamDriver.GetCapabilities": {"RequiresMACAddress": False, "RequiresRequestReplay": False},
    "/IpamDriver.GetDefaultAddressSpaces": {
        "LocalDefaultAddressSpace": "swplocal",
        "GlobalDefaultAddressSpace": "swpglobal",
    },
    "/IpamDriver.ReleasePool": {},
}
