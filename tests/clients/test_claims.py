"""Names: free as soon as their container is gone, whichever proxy is asked, and never given twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.shared_lab import Cli, Etcd

ROUNDS = 50


def test_the_same_name_again_and_again_over_both_proxies(docker: Cli, etcd: Etcd) -> None:
    for number in range(ROUNDS):
        assert docker("run", "--rm", "--name", "same", "busybox", "echo", str(number)) == f"{number}\n"
    assert etcd.held() == []


@pytest.mark.parametrize("removal", [("rm", "-f"), ("stop", "-t", "0"), ("kill",)])
def test_a_name_is_free_when_its_removal_is_told(docker: Cli, etcd: Etcd, removal: tuple[str, ...]) -> None:
    words = ("run", "-d", "--init", "--name", "same", "busybox", "sleep", "1000")
    for _ in range(6):
        docker(*words)
        docker(*removal, "same")
        if removal[0] != "rm":
            docker("rm", "same")
    assert etcd.held() == []


def test_one_of_many_gets_a_name(docker: Cli, etcd: Etcd) -> None:
    def create(number: int) -> str:
        return docker.run("create", "--name", "one", "busybox", check=False, to=1 + number % 2).stderr

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(create, range(8)))
    assert said.count("") == 1
    assert all('The container name "/one" is already in use by container "' in each for each in said if each)
    assert set(etcd.under("names/")) == {"names/one"}


def test_a_failed_create_leaves_nothing(docker: Cli, etcd: Etcd) -> None:
    for words in (
        ["--memory", "1k", "busybox"],
        ["--network", "container:nobody", "--hostname", "x", "busybox"],
        ["--volumes-from", "nobody", "busybox"],
        ["--mount", "type=bind,source=/nosuch/path,target=/d", "busybox"],
        ["nosuch:1"],
    ):
        docker.refused("create", "--name", "half", *words)
        assert docker.lines("ps", "-aq") == []
        assert etcd.held() == []
    docker("create", "--name", "half", "busybox")
