"""Every list of both proxies, asked again and again while a host dies, hangs or falls silent: none of them waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from swarmproxy.lab import Lab
from tests.shared_lab import Cli, request, until

LISTS = ("/containers/json?all=1", "/info", "/networks", "/volumes", "/images/json", "/nodes", "/version")
SLOW = 0.2
"""Seconds that one list may take; two cores that also raise engines may miss it once in a hundred."""
SICK = "node-2"


class Lists:
    """Asks all lists of one proxy in turn until the end of the block."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seconds: list[tuple[float, str]] = []
        self.odd: list[Any] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def _ask(self) -> None:
        while not self._end.is_set():
            for path in LISTS:
                began = time.monotonic()
                status, answer = request("GET", self.url + path)
                self.seconds.append((time.monotonic() - began, path))
                if status != 200 or (path == LISTS[0] and {one["Names"][0] for one in answer} != {"/sick", "/well"}):
                    self.odd.append((path, status, answer))
            self._end.wait(0.02)

    def __enter__(self) -> Lists:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(30)

    def slow(self) -> list[tuple[float, str]]:
        return sorted(one for one in self.seconds if one[0] > SLOW)


@pytest.fixture
def containers(docker: Cli) -> None:
    for name, where in (("sick", f"node=={SICK}"), ("well", f"node!={SICK}")):
        docker("run", "-d", "--init", "--name", name, "-e", f"constraint:{where}", "busybox", "sleep", "1000")


@pytest.fixture(autouse=True)
def repaired(lab: Lab) -> Iterator[None]:
    yield
    lab.cont(SICK)
    lab.heal()
    lab.up()
    for url in (proxy.http_url for proxy in lab.proxies):
        until(lambda url=url: state(url) == "ready", "healthy again by itself", 20)


def state(url: str) -> str:
    """What the proxy says of the sick node: ready or down."""
    _, nodes = request("GET", f"{url}/nodes")
    return next(str(one["Status"]["State"]) for one in nodes if one["Description"]["Hostname"] == SICK)


FAULTS: tuple[tuple[str, Callable[[Lab], None], float], ...] = (
    # what happens to the host, and within how many seconds both proxies say so
    ("killed", lambda lab: lab.kill(SICK), 2.0),
    ("its engine killed", lambda lab: lab.kill(SICK, "engine"), 2.0),
    ("frozen", lambda lab: lab.stop(SICK), 15.0),
    ("its engine stopped", lambda lab: lab.stop(SICK, "engine"), 15.0),
    ("cut off", lambda lab: lab.link_down(SICK), 15.0),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault[0])
def test_a_host_is(lab: Lab, containers: None, fault: tuple[str, Callable[[Lab], None], float]) -> None:
    what, strike, limit = fault
    urls = [proxy.http_url for proxy in lab.proxies]
    with Lists(urls[0]) as one, Lists(urls[1]) as two:
        strike(lab)
        began = time.monotonic()
        until(lambda: all(state(url) == "down" for url in urls), "both proxies have given it up", limit)
        known = time.monotonic() - began
        for url in urls:
            began = time.monotonic()
            status, refused = request("POST", f"{url}/containers/sick/stop")
            assert time.monotonic() - began < SLOW
            assert (status, f"({SICK}: " in refused["message"]) == (503, True), refused
            assert refused["message"].startswith("Cannot connect to the Docker daemon at tcp://")
            _, listed = request("GET", f"{url}/containers/json?all=1")
            assert [one["Status"].endswith(" (unreachable)") for one in listed if one["Names"] == ["/sick"]] == [True]
        until(lambda: len(one.seconds) > 200 and len(two.seconds) > 200, "asked often enough")
    print(f"{what}: known after {known:.2f} s; slowest of {len(one.seconds) + len(two.seconds)} lists "
          f"{max(one.seconds + two.seconds)[0]:.3f} s")  # fmt: skip
    assert not one.odd + two.odd
    slow = one.slow() + two.slow()
    assert len(slow) <= len(one.seconds + two.seconds) / 100, slow
