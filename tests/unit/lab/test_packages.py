"""Where packages come from."""

from __future__ import annotations

import pytest

from swarmproxy.lab.packages import mirror_in

SECURITY = "Packages|Debian|Debian-Security|bookworm-security|http://deb.debian.org/debian-security/"
FOREIGN = "Packages|docker|Docker CE|bookworm|https://download.docker.com/linux/debian"
SNAPSHOT = "Packages|Debian|Debian|bookworm|http://snapshot.debian.org/archive/debian/20250520T000000Z/"
UPDATES = "Packages|Debian|Debian|bookworm-updates|http://mirror.example/debian/"
UNFETCHED = "Packages|||bookworm|http://mirror.example/debian/"


@pytest.mark.parametrize(
    ("lines", "uri"),
    [
        ([], None),
        (["", "nonsense", "Sources|Debian|Debian|bookworm|http://mirror.example/debian/"], None),
        ([SECURITY, UPDATES], None),
        ([SECURITY, FOREIGN, SNAPSHOT], "http://snapshot.debian.org/archive/debian/20250520T000000Z/"),
        ([UNFETCHED], "http://mirror.example/debian/"),
    ],
)
def test_mirror_is_the_machines_own(lines: list[str], uri: str | None) -> None:
    assert mirror_in("\n".join(lines)) == uri
