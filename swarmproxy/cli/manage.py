"""`swarmproxy manage`: the proxy."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from swarmproxy.api.server import Site
from swarmproxy.api.server import run as run_loop
from swarmproxy.discovery.store import StoreError
from swarmproxy.lifecycle.netspec import DEFAULT_POOL
from swarmproxy.proxy import ProxyOptions, serve
from swarmproxy.scheduler import strategies
from swarmproxy.security.tls import Files, contexts

SUMMARY = "serve a cluster as one Docker engine"

DEFAULT_HOST = "tcp://127.0.0.1:3375"
DEFAULT_STATE = Path("/var/lib/swarmproxy/proxy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "discovery",
        metavar="DISCOVERY",
        nargs="?",
        default=os.environ.get("SWARM_DISCOVERY"),
        help="etcd://h1,h2/prefix, nodes://h1:2375,h2:2375, file:///path; nothing = the local engine",
    )
    parser.add_argument(
        "-H",
        "--host",
        action="append",
        metavar="URL",
        help=f"where to listen: tcp://ADDRESS:PORT or unix:///PATH; repeatable [{DEFAULT_HOST}]",
    )
    parser.add_argument("--strategy", metavar="NAME", help=f"{', '.join(strategies.NAMES)} [spread]")
    parser.add_argument("--filter", "-f", action="append", metavar="NAME", help="repeatable; all when none is named")
    parser.add_argument("--state", type=Path, metavar="DIR", help=f"of the embedded store [{DEFAULT_STATE}]")
    parser.add_argument("--pool", metavar="CIDR", help=f"subnets for networks that ask for none [{DEFAULT_POOL}]")
    parser.add_argument(
        "--insecure",
        action="store_true",
        default=None,
        help="allow plain text beyond this host: to listen, to the store, to engines",
    )
    parser.add_argument(
        "--node-names", action="store_true", default=None, help="show containers as node/name, as classic Swarm did"
    )
    parser.add_argument("--tls", action="store_true", default=None, help="TLS without asking clients for certificates")
    parser.add_argument("--tlsverify", action="store_true", default=None, help="TLS, certificates on both sides")
    parser.add_argument("--tlscacert", metavar="FILE")
    parser.add_argument("--tlscert", metavar="FILE")
    parser.add_argument("--tlskey", metavar="FILE")
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML with the same words as the long flags")
    parser.add_argument("--debug", action="store_true", default=None, help="log more")


class Settings:
    """Flags over the configuration file over defaults."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._flags = {key: value for key, value in vars(args).items() if value is not None}
        self._file: dict[str, Any] = {}
        path: Path | None = args.config
        if path is not None:
            loaded = yaml.safe_load(path.read_text()) or {}
            if not isinstance(loaded, dict):
                raise ValueError(f"{path}: a mapping is expected")
            self._file = {str(key).replace("-", "_"): value for key, value in loaded.items()}
            if unknown := sorted(set(self._file) - set(vars(args))):
                raise ValueError(f"{path}: unknown word {unknown[0]!r}")

    def get(self, key: str, default: Any = None) -> Any:
        return self._flags.get(key, self._file.get(key, default))

    def many(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        value = self.get(key, default)
        return (value,) if isinstance(value, str) else tuple(value)


def options(args: argparse.Namespace) -> ProxyOptions:
    """Raises ValueError with a sentence for people."""
    settings = Settings(args)
    files = Files(
        ca=settings.get("tlscacert", ""),
        cert=settings.get("tlscert", ""),
        key=settings.get("tlskey", ""),
        verify=bool(settings.get("tlsverify", False)),
    )
    tls = contexts(files)
    insecure = bool(settings.get("insecure", False))
    sites = tuple(Site.parse(text) for text in settings.many("host", (DEFAULT_HOST,)))
    for site in sites:
        if not site.local and tls.server is None and not insecure:
            raise ValueError(
                f"listening at {site.host}:{site.port} in plain text gives everybody who reaches it root "
                "on every node; use --tlsverify, or say --insecure"
            )
    return ProxyOptions(
        discovery=settings.get("discovery"),
        sites=sites,
        state=Path(settings.get("state", DEFAULT_STATE)),
        strategy=settings.get("strategy", "spread"),
        filters=settings.many("filter"),
        insecure=insecure,
        node_names=bool(settings.get("node_names", False)),
        pool=settings.get("pool", DEFAULT_POOL),
        tls=tls,
    )


def run(args: argparse.Namespace) -> int:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if args.debug else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        opts = options(args)
        opts.state.mkdir(parents=True, exist_ok=True)
        run_loop(serve(opts))
    except (ValueError, StoreError, OSError, yaml.YAMLError) as error:
        print(f"swarmproxy manage: {error}", file=sys.stderr)
        return 1
    return 0
