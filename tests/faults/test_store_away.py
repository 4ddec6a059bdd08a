"""The store goes away under a real cluster: what needs no claim goes on, what does is refused at once and says why."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from swarmproxy.lab import Lab
from tests.shared_lab import Cli, Etcd, request, until

SLEEP = ("busybox", "sh", "-c", "trap 'exit 0' TERM; echo up; sleep 600 & wait")


@pytest.fixture(autouse=True)
def repaired(lab: Lab, docker: Cli) -> Iterator[None]:
    yield
    lab.up()
    for proxy in (1, 2):
        until(lambda proxy=proxy: "store is lost" not in docker.run("info", to=proxy).stderr, "the store is back", 20)
        until(lambda proxy=proxy: "Agent: none" not in docker("info", to=proxy), "all agents are alive", 20)


def test_without_the_store_everything_but_claims_goes_on(docker: Cli, lab: Lab, etcd: Etcd) -> None:
    docker("network", "create", "net")
    docker("run", "-d", "--name", "web", "--network", "net", *SLEEP)
    docker("run", "-d", "--name", "other", "--network", "net", *SLEEP)
    docker("create", "--name", "idle", "busybox", "true")
    lab.kill("etcd")
    for proxy in (1, 2):
        until(lambda proxy=proxy: "store is lost" in docker.run("info", to=proxy).stderr, "info warns", 10)
    assert docker.lines("ps", "--format", "{{.Names}}") == ["other", "web"]
    assert docker.inspect("web")["Name"] == "/web"
    assert docker("logs", "web") == "up\n"
    assert docker("exec", "web", "ping", "-c", "1", "-W", "2", "other")
    docker("start", "idle")
    docker("stop", "-t", "1", "other")
    until(lambda: docker.run("create", "--name", "no", "busybox", check=False).returncode, "create is refused")
    time.sleep(4)  # known lost: nothing is waited for any more
    for words in (("create", "busybox"), ("network", "create", "more"), ("rename", "web", "site")):
        began = time.monotonic()
        assert "cluster store unavailable" in docker.refused(*words)
        assert time.monotonic() - began < 1
    status, body = request("POST", f"http{docker_url(lab)}/containers/create?name=no", {"Image": "busybox"})
    assert status == 503 and body["message"].startswith("cluster store unavailable")
    docker("rm", "idle")
    lab.start_etcd()
    began = time.monotonic()
    until(lambda: docker.run("create", "--name", "yes", "busybox", check=False).returncode == 0, "create works again")
    assert time.monotonic() - began < 8
    until(lambda: "names/idle" not in etcd.under("names/"), "what was removed meanwhile is released", 20)
    docker("rm", "-f", "web", "other", "yes")
    # what the agents could not give back while the store was away goes after their grace of 15 s
    until(lambda: not etcd.held(("ipam/", "endpoints/")), "no address is leaked", 40)


def docker_url(lab: Lab) -> str:
    return lab.proxy_urls[0].removeprefix("tcp")
