"""What tests on real engines share: the clients they drive, and the truth they compare with.

One lab serves a whole pytest run (three engines of two versions, etcd, agents, two proxies). A `Cli` sends its calls to
several endpoints in turn: with the two proxies in it, what one call makes the next one uses through the other proxy.
The truth is asked of the engines' own API and of etcd's own gateway, with nothing of the product in between.
"""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from swarmproxy.lab import Lab, Node
from swarmproxy.model import keys, options

T = TypeVar("T")

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
PREDEFINED = ("bridge", "host", "none", "docker_gwbridge")
"""Networks of an engine's own; the last one comes with the first container on an overlay and stays."""
HELD = (keys.NAMES, keys.ALLOC, keys.IPAM, keys.ENDPOINTS)
"""What containers hold in the store. All of it must go with them, whoever removes them."""
MADE = (keys.NETWORKS, keys.NETNAMES, keys.VNIS, keys.SUBNETS, keys.NETNODES, keys.VOLUMES)
"""What networks and volumes hold in the store."""


class CliError(Exception):
    """A command that failed; the text is its stderr."""

    def __init__(self, words: Sequence[str], done: subprocess.CompletedProcess[str]) -> None:
        super().__init__(f"{' '.join(words)}: exit status {done.returncode}: {done.stderr.strip() or done.stdout}")
        self.stderr, self.stdout, self.returncode = done.stderr, done.stdout, done.returncode


class Cli:
    """A command line client. Each call goes to the next of its environments, or to the one named by `to` (from 1)."""

    def __init__(self, environments: Sequence[Mapping[str, str]], prefix: Sequence[str] = ("docker",)) -> None:
        self.environments = [{**_neutral(), **one} for one in environments]
        self.prefix = tuple(prefix)
        self._turn = itertools.cycle(range(len(self.environments)))

    def __call__(self, *words: str, check: bool = True, input: str | None = None, timeout: float = 60,
                 to: int = 0) -> str:  # fmt: skip
        """Standard output. Raises CliError when the command fails, unless `check` is false."""
        return self.run(*words, check=check, input=input, timeout=timeout, to=to).stdout

    def run(self, *words: str, check: bool = True, input: str | None = None, timeout: float = 60,
            to: int = 0) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Both outputs and the exit status."""
        done = subprocess.run([*self.prefix, *words], env=self.environment(to), input=input or "", capture_output=True,
                              text=True, errors="replace", timeout=timeout, check=False)  # fmt: skip
        if check and done.returncode != 0:
            raise CliError((*self.prefix, *words), done)
        return done

    def refused(self, *words: str, timeout: float = 60, to: int = 0) -> str:
        """Standard error of a command that must fail."""
        done = self.run(*words, check=False, timeout=timeout, to=to)
        assert done.returncode != 0, f"{' '.join(words)} went through: {done.stdout}"
        return done.stderr

    def json(self, *words: str, to: int = 0) -> Any:
        return json.loads(self(*words, to=to))

    def lines(self, *words: str, to: int = 0) -> list[str]:
        return self(*words, to=to).splitlines()

    def inspect(self, reference: str, *, to: int = 0) -> Any:
        """The one object a reference means."""
        (found,) = self.json("inspect", reference, to=to)
        return found

    @contextmanager
    def start(self, *words: str, to: int = 0, stdin: int = subprocess.DEVNULL) -> Iterator[Live]:
        """A command that goes on; killed at the end of the block."""
        process = subprocess.Popen([*self.prefix, *words], env=self.environment(to), stdin=stdin, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=1)  # fmt: skip
        try:
            yield Live(process)
        finally:
            process.kill()  # an attached client does not end by a signal it can forward
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def environment(self, to: int = 0) -> dict[str, str]:
        """Of the next call."""
        return self.environments[to - 1 if to else next(self._turn)]

    def in_turn(self, *prefix: str) -> Cli:
        """Another command line with the same environments."""
        return Cli(self.environments, prefix)


class Live:
    """A running client and what it has said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._said: list[str] = []
        self._reader = ThreadPoolExecutor(1)
        self._whole = self._reader.submit(self._read)
        self._reader.shutdown(wait=False)

    def _read(self) -> None:
        assert self.process.stdout is not None
        try:
            for line in self.process.stdout:
                self._said.append(line)
        except ValueError:  # closed by the end of the block
            return

    @property
    def output(self) -> str:
        return "".join(self._said)

    def says(self, text: str, seconds: float = 10) -> str:
        """All output so far, once `text` is in it."""
        until(lambda: text in self.output, f"{text!r} from {self.process.args!r}: {self.output!r}", seconds)
        return self.output

    def write(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def close_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def ends(self, seconds: float = 15) -> int:
        """Its exit status; all output has been read then."""
        status = self.process.wait(seconds)
        self._whole.result(seconds)
        return status


def _neutral() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("DOCKER_", "COMPOSE_"))}


def until(seen: Callable[[], T], what: str, seconds: float = 10) -> T:
    """Waits for a condition; its first true value."""
    end = time.monotonic() + seconds
    while not (value := seen()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)
    return value


def request(method: str, url: str, body: Any = None, *, timeout: float = 20) -> tuple[int, Any]:
    """Status and decoded JSON (None if it is none) of one HTTP call past the product."""
    data = None if body is None else json.dumps(body).encode()
    call = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})
    try:
        with _DIRECT.open(call, timeout=timeout) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, None


class Etcd:
    """The store's own words, by etcd's JSON gateway. Keys are relative to the product's root."""

    def __init__(self, lab: Lab) -> None:
        self.url = lab.etcd_url.replace("etcd://", "http://") + "/v3/kv/"

    def under(self, prefix: str) -> dict[str, Any]:
        status, answer = request("POST", f"{self.url}range", _range(prefix))
        assert status == 200, answer
        return {base64.b64decode(kv["key"]).decode().removeprefix(keys.ROOT): _value(kv)
                for kv in answer.get("kvs", ())}  # fmt: skip

    def held(self, prefixes: Sequence[str] = HELD) -> list[str]:
        return [key for prefix in prefixes for key in self.under(prefix)]

    def wipe(self, prefix: str) -> None:
        request("POST", f"{self.url}deleterange", _range(prefix))


def _range(prefix: str) -> dict[str, str]:
    start = (keys.ROOT + prefix).encode()
    end = start[:-1] + bytes([start[-1] + 1])
    return {"key": base64.b64encode(start).decode(), "range_end": base64.b64encode(end).decode()}


def _value(kv: dict[str, Any]) -> Any:
    text = base64.b64decode(kv.get("value", ""))
    try:
        return json.loads(text)
    except ValueError:
        return text.decode(errors="replace")


class Cleaner:
    """Removes what a test made and says what the product has kept of it."""

    def __init__(self, lab: Lab, docker: Cli) -> None:
        self.lab, self.docker, self.etcd = lab, docker, Etcd(lab)
        self.images = set().union(*(_tags(node) for node in lab.nodes))
        self.image_ids = {image["Id"] for node in lab.nodes for image in _images(node) if _names(image)}

    def clean(self) -> None:
        """Containers go behind the product's back, networks and volumes through it.

        Raises:
            AssertionError: a claim, an address, an endpoint or a record is left, and what; it is wiped for the next.
        """
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._remove_containers, self.lab.nodes))
        try:
            until(lambda: not self.etcd.held(), "nothing held by containers that are gone", 5)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self._wipe(HELD)}") from None
        finally:
            self._remove_objects()
        try:
            until(lambda: not self._left(), "nothing left of networks and volumes", 5)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self._left()} {self._wipe(MADE)}") from None

    def _remove_containers(self, node: Node) -> None:
        _, found = request("GET", f"{node.http_url}/containers/json?all=1")
        for container in found or ():
            request("DELETE", f"{node.http_url}/containers/{container['Id']}?force=1&v=1")

    def _remove_objects(self) -> None:
        for node in self.lab.nodes:
            for local in _networks(node):
                if local["Driver"] != options.DRIVER:  # made behind the product's back
                    request("DELETE", f"{node.http_url}/networks/{local['Id']}")
        if networks := [record["id"] for record in self.etcd.under(keys.NETWORKS).values()]:
            self.docker("network", "rm", *networks, check=False)
        names = [volume["Name"] for node in self.lab.nodes for volume in _volumes(node)]
        if volumes := {*names, *(record["name"] for record in self.etcd.under(keys.VOLUMES).values())}:
            self.docker("volume", "rm", "-f", *sorted(volumes), check=False)
        tags = set().union(*(_tags(node) for node in self.lab.nodes))
        known = {keys.parts(key)[-1] for key in self.etcd.under(keys.IMAGES)}
        if stale := (tags | known) - self.images:
            self.docker("rmi", "-f", *sorted(stale), check=False)
        for node in self.lab.nodes:  # such as have no name any more
            for image in _images(node):
                if image["Id"] not in self.image_ids:
                    request("DELETE", f"{node.http_url}/images/{image['Id']}?force=1")

    def _left(self) -> list[str]:
        found = self.etcd.held(MADE)
        for node in self.lab.nodes:
            found += [f"{node.name} network {one['Name']}" for one in _networks(node)]
            found += [f"{node.name} volume {one['Name']}" for one in _volumes(node)]
        return found

    def _wipe(self, prefixes: Sequence[str]) -> list[str]:
        found = self.etcd.held(prefixes)
        for prefix in prefixes:
            self.etcd.wipe(prefix)
        return found


def _networks(node: Node) -> list[dict[str, Any]]:
    _, answer = request("GET", f"{node.http_url}/networks")
    return [one for one in answer or () if one["Name"] not in PREDEFINED]


def _volumes(node: Node) -> list[dict[str, Any]]:
    _, answer = request("GET", f"{node.http_url}/volumes")
    return list((answer or {}).get("Volumes") or ())


def _images(node: Node) -> list[dict[str, Any]]:
    return list(request("GET", f"{node.http_url}/images/json")[1] or ())


def _tags(node: Node) -> set[str]:
    return {name for image in _images(node) for name in _names(image)}


def _names(image: dict[str, Any]) -> list[str]:
    return [name for name in image.get("RepoTags") or () if name != "<none>:<none>"]


@contextmanager
def raised_lab(name: str, base: Path, *, keep: bool = False, cluster: bool | None = None) -> Iterator[Lab]:
    """A lab of this run alone: of `name`, `name2`, … the first that no other run holds.

    Args:
        keep: it stays up afterwards. cluster: False = engines and etcd only.
    """
    base.mkdir(parents=True, exist_ok=True)
    for candidate in (name, *(f"{name}{number}" for number in range(2, 9))):
        lock = os.open(base / f".{candidate}.run", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        lab = Lab(name=candidate, cluster=cluster)
        try:
            if not keep:
                lab.down()  # the rest of a run that was killed
                lab = Lab(name=candidate, cluster=cluster)
            lab.up()
            yield lab
        finally:
            if not keep:
                lab.down()
                (base / f".{candidate}.run").unlink(missing_ok=True)
            os.close(lock)
        return
    raise AssertionError(f"eight runs hold labs called {name} already")
