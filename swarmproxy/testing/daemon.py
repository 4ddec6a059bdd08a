"""The state of one simulated engine, and what every part of it shares: ids, time, events, look-ups.

Pure: no I/O, no asyncio; the clock is passed in. What an engine does lives in function modules beside it (`containers`,
`running`, `networks`, `volumes`, `images`, `execs`), each taking the daemon first. Errors are DockerError with an
engine's exact words and status.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from swarmproxy.model.errors import DockerError, NotFound
from swarmproxy.model.options import DRIVER
from swarmproxy.testing.clock import Clock
from swarmproxy.testing.events import Event, Ring
from swarmproxy.testing.flavour import FLAVOURS
from swarmproxy.testing.objects import Container, Exec, Image, Network, Volume
from swarmproxy.testing.references import parse

__all__ = ["Daemon", "rfc3339"]

_HEX = frozenset(string.hexdigits.lower()) - frozenset("ABCDEF")
_ADJECTIVES = "brave calm eager fond happy jolly keen lucid nifty proud quirky serene tender vivid wise zen".split()
_PEOPLE = "bell curie darwin euler fermi gauss hopper keller lamarr morse noether pascal ride tesla turing wu".split()


class Daemon:
    """One engine without its socket.

    Args:
        name: host name, `info.Name`.
        flavour: "20.10" or "26.1".
        engine_id: `info.ID`; made up when empty.
        labels: the engine's own labels, "k=v".
        cpus, memory: cores and bytes.
        plugins: network drivers beyond the built-in ones that answer.
        seed: makes ids reproducible. Two engines of one cluster need different ones.
    """

    def __init__(
        self,
        *,
        name: str = "node-1",
        flavour: str = "20.10",
        clock: Clock,
        engine_id: str = "",
        labels: Iterable[str] = (),
        cpus: int = 4,
        memory: int = 8 << 30,
        plugins: Iterable[str] = (DRIVER,),
        seed: int | None = None,
    ) -> None:
        self.name = name
        self.flavour = FLAVOURS[flavour]
        self.clock = clock
        self.skew = 0.0
        """Seconds this engine's clock is ahead of `clock`."""
        self.labels = list(labels)
        self.cpus = cpus
        self.memory = memory
        self.plugins = tuple(plugins)
        self.root = "/var/lib/docker"
        self.stop_code = 143
        """Exit code of a container that is stopped."""
        self.registry: frozenset[str] | None = None
        """References that can be pulled; None = all whose name does not hold "nosuch"."""
        self.rng = random.Random(seed)
        self.id = engine_id or self.new_engine_id()
        self.ring = Ring()
        self.images: dict[str, Image] = {}
        self.tags: dict[str, str] = {}
        """Familiar reference with its tag → image id."""
        self.digests: dict[str, str] = {}
        """`repo@sha256:…` → image id."""
        self.networks: dict[str, Network] = {}
        self.volumes: dict[str, Volume] = {}
        self.containers: dict[str, Container] = {}
        self.names: dict[str, str] = {}
        """Container name without slash → id."""
        self.execs: dict[str, Exec] = {}
        self.ports: dict[tuple[str, int], str] = {}
        """(protocol, host port) → container id."""
        self.files: dict[tuple[str, str], bytes] = {}
        """(container id, path) → tar archive put there."""
        self.next_port = 49153 if self.flavour.old else 32768
        self.next_pid = 1000
        self._last = 0

    # ------------------------------------------------------------ ids and time

    def new_id(self) -> str:
        return f"{self.rng.getrandbits(256):064x}"

    def new_engine_id(self) -> str:
        """In the flavour's own form: a key's fingerprint, or a UUID."""
        if self.flavour.old:
            letters = [self.rng.choice(string.ascii_uppercase + "234567") for _ in range(48)]
            return ":".join("".join(letters[i : i + 4]) for i in range(0, 48, 4))
        digits = f"{self.rng.getrandbits(128):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def new_name(self) -> str:
        while True:
            name = f"{self.rng.choice(_ADJECTIVES)}_{self.rng.choice(_PEOPLE)}"
            if name in self.names:
                name += str(self.rng.randrange(10_000))
            if name not in self.names:
                return name

    def new_pid(self) -> int:
        self.next_pid += 1
        return self.next_pid

    def time(self) -> float:
        """Unix seconds by this engine's own clock."""
        return self.clock.time() + self.skew

    def now(self) -> int:
        """Unix nanoseconds, later than every value given before unless the clock was set back by more than a second."""
        nano = int(self.time() * 1e9)
        self._last = self._last + 1 if self._last - 1_000_000_000 < nano <= self._last else nano
        return self._last

    # ------------------------------------------------------------ events

    def emit(self, kind: str, action: str, subject: str, attributes: Mapping[str, str]) -> None:
        self.ring.append(Event(self.now(), kind, action, subject, attributes))

    def emit_container(self, container: Container, action: str, **extra: str) -> None:
        attributes = {**container.labels, "image": container.image, "name": container.name, **extra}
        self.emit("container", action, container.id, attributes)

    def emit_network(self, network: Network, action: str, container: str = "") -> None:
        attributes = {"name": network.name, "type": network.driver}
        if container:
            attributes["container"] = container
        self.emit("network", action, network.id, attributes)

    # ------------------------------------------------------------ look-ups

    def container(self, reference: str) -> Container:
        """Full id, exact name, unique id prefix, in this order.

        Raises:
            NotFound: No such container: X.
            DockerError: several ids begin with it.
        """
        found = self.containers.get(reference)
        if found is None:
            named = self.names.get(reference.removeprefix("/"))
            found = self.containers.get(named) if named else None
        if found is None and reference and _HEX.issuperset(reference):
            several = [container for key, container in self.containers.items() if key.startswith(reference)]
            if len(several) > 1:
                text = self.flavour.say("Multiple IDs found", "multiple IDs found")
                raise DockerError(f"{text} with provided prefix: {reference}", status=self.flavour.status(500, 400))
            found = several[0] if several else None
        if found is None:
            raise NotFound(f"No such container: {reference}")
        return found

    def network(self, reference: str, *, inspected: bool = False) -> Network:
        """Id, name, unique id prefix. `inspected`: 20.10 has other words there for an ambiguous one.

        Raises:
            NotFound: network X not found.
            DockerError: ambiguous.
        """
        found = self.networks.get(reference)
        if found is not None:
            return found
        for how, several in (
            ("name", [network for network in self.networks.values() if network.name == reference]),
            ("ID prefix", [net for key, net in self.networks.items() if reference and key.startswith(reference)]),
        ):
            if len(several) > 1:
                text = f"network {reference} is ambiguous ({len(several)} matches found based on {how})"
                if inspected and self.flavour.old:
                    text = f"{len(several)} matches found based on {how}: network {reference} is ambiguous"
                raise DockerError(text, status=400)
            if several:
                return several[0]
        raise NotFound(f"network {reference} not found")

    def image(self, reference: str) -> Image | None:
        """By familiar name, digest, full id or id prefix.

        Raises:
            DockerError: 400, the reference is malformed.
        """
        bare = reference.removeprefix("sha256:")
        if reference != bare or len(bare) == 64:
            found = self.images.get("sha256:" + bare)
            if found is not None:
                return found
        if reference == bare:
            name = parse(reference, self.flavour)
            key = self.digests.get(name.digested) if name.digest else self.tags.get(name.tagged)
            if key is not None:
                return self.images[key]
        if bare and _HEX.issuperset(bare):
            several = [image for key, image in self.images.items() if key[7:].startswith(bare)]
            return several[0] if len(several) == 1 else None
        return None


def rfc3339(nano: int) -> str:
    """As Go writes it: trailing zeros of the fraction dropped, year 1 for "never"."""
    if not nano:
        return "0001-01-01T00:00:00Z"
    seconds, fraction = divmod(nano, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"
