"""A real etcd that dies under load, or hangs: what needs it is refused at once, all else goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from swarmproxy.lab import Lab
from tests.faults.conftest import Truth
from tests.shared_lab import Cli, request, until

SLEEP = ("busybox", "sleep", "1000")
LISTS = ("/containers/json?all=1", "/info", "/networks", "/volumes", "/images/json")
LOST = "cluster store unavailable: "
BACK = 5.0
"""Seconds after the store's return within which everything must work."""


@pytest.fixture(autouse=True)
def etcd_is_back(lab: Lab, truth: Truth) -> Iterator[None]:
    yield
    lab.start_etcd()
    for proxy in lab.proxies:
        until(lambda proxy=proxy: creates(proxy.http_url), f"{proxy.name} creates", 15)
    until(lambda: not truth(), f"claims and containers agree: {truth()}", 5)


def creates(url: str) -> bool:
    """Whether a container can be made there; it is removed again."""
    status, made = request("POST", f"{url}/containers/create", {"Image": "busybox"})
    if status == 201:
        request("DELETE", f"{url}/containers/{made['Id']}")
    return status == 201


def timed(method: str, url: str, body: Any = None) -> tuple[int, Any, float]:
    began = time.monotonic()
    status, answer = request(method, url, body)
    return status, answer, time.monotonic() - began


class Load:
    """Creates and removes through one proxy without a pause, and remembers what was not done."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.done = 0
        self.refused: list[tuple[int, str, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._stop.is_set():
            status, answer, seconds = timed("POST", f"{self.url}/containers/create", {"Image": "busybox"})
            if status == 201:
                request("DELETE", f"{self.url}/containers/{answer['Id']}")
                self.done += 1
            else:
                self.refused.append((status, str((answer or {}).get("message")), seconds))
                self._stop.wait(0.05)


def test_it_dies_under_load(lab: Lab, docker: Cli, sleeping: str) -> None:
    urls = [proxy.http_url for proxy in lab.proxies]
    with Load(urls[0]) as one, Load(urls[1]) as two:
        until(lambda: one.done > 5 and two.done > 5, "both are at work")
        lab.kill("etcd")
        until(lambda: one.refused and two.refused, "both refuse", 6)
        goes_on(docker, urls, sleeping)
        refused = [len(one.refused), len(two.refused)]
        lab.start_etcd()
        began = time.monotonic()
        done = [one.done, two.done]
        until(lambda: one.done > done[0] and two.done > done[1], "both are at work again", BACK)
        print(f"back after {time.monotonic() - began:.1f} s; refused {refused}")
    for status, message, _ in one.refused + two.refused:
        assert (status, message.startswith(LOST)) == (503, True), message
    # What was under way when it died may wait for its return; then it is known to be lost, and said at once.
    assert max(seconds for load in (one, two) for _, _, seconds in load.refused[:1]) < 5
    assert max(seconds for load in (one, two) for _, _, seconds in load.refused[2:]) < 0.5


def goes_on(docker: Cli, urls: list[str], sleeping: str) -> None:
    """Everything but making things, through each proxy."""
    for proxy, url in enumerate(urls, 1):
        assert "WARNING: the cluster's store is lost since " in docker.run("info", to=proxy).stderr
        for path in (*LISTS, f"/containers/{sleeping}/json"):
            status, _, seconds = timed("GET", url + path)
            assert status == 200
            assert seconds < 0.2, path
        assert docker("exec", sleeping, "echo", "here", to=proxy).strip() == "here"
        assert docker("logs", sleeping, to=proxy).strip() == "began"
        docker("restart", "-t", "0", sleeping, to=proxy)
        docker("stop", "-t", "0", sleeping, to=proxy)
        docker("start", sleeping, to=proxy)
        assert LOST in docker.refused("run", "--rm", "busybox", "true", to=proxy)
        assert LOST in docker.refused("network", "create", "net", to=proxy)
        assert "No such container" in docker.refused("start", "nosuch", to=proxy)
    docker("rm", "-f", sleeping)


@pytest.fixture
def sleeping(docker: Cli) -> str:
    """A container that says a word and sleeps."""
    docker(
        "run", "-d", "--init", "--name", "web", "busybox", "sh", "-c", "[ -e /f ] || echo began; touch /f; sleep 1000"
    )
    return "web"


def test_a_hung_etcd_is_a_lost_one(lab: Lab, docker: Cli, sleeping: str) -> None:
    urls = [proxy.http_url for proxy in lab.proxies]
    lab.stop("etcd")
    try:
        for url in urls:  # nobody knows yet
            for path in LISTS:
                status, _, seconds = timed("GET", url + path)
                assert (status, seconds < 0.8) == (200, True), (path, seconds)
        status, answer, seconds = timed("POST", f"{urls[0]}/containers/create", {"Image": "busybox"})
        assert (status, answer["message"].startswith(LOST)) == (503, True), answer
        assert seconds < 8  # 4 s of patience, from its first failure on, and a round trip or two
        until(lambda: "store is lost" in docker.run("info", to=1).stderr, "known to be lost", 12)
        status, answer, seconds = timed("POST", f"{urls[0]}/containers/create", {"Image": "busybox"})
        assert (status, seconds < 0.5) == (503, True), seconds
        goes_on(docker, urls, sleeping)
    finally:
        lab.cont("etcd")
    began = time.monotonic()
    for url in urls:
        until(lambda url=url: creates(url), "creates again", BACK)
    print(f"back after {time.monotonic() - began:.1f} s")
