"""etcd's message classes and stubs, as the package `etcd3` ships them, on any protobuf.

etcd3 0.12.0 carries code generated in 2020, which current protobuf refuses to import ("Descriptors cannot be created
directly"), and pinning protobuf would put an old release with known faults into everybody's environment. But the
generated files hold the serialized descriptors as constants: they are read from the source, put into a private
DescriptorPool (the default one would clash with other etcd clients in the process) and built into classes by the same
`builder` that generated code uses today. etcd3's stubs run unmodified on top, and take any channel, grpc.aio's too.

Its client class is not used: it cannot resume a watch, knows one endpoint, and spins while etcd is away.
Cost: 50 to 120 ms once, import of grpc included. A later release of etcd3 is imported the plain way.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.internal import builder

__all__ = ["load"]

_loaded: dict[str, Any] = {}


def load() -> Any:
    """A namespace with every message class and stub of etcd's API: `.RangeRequest`, `.KVStub`, …

    Raises:
        ImportError: etcd3 is not installed, or its files are not as expected.
    """
    if not _loaded:
        try:
            package = importlib.metadata.distribution("etcd3")
        except importlib.metadata.PackageNotFoundError:
            raise ImportError("etcd:// needs the package etcd3") from None
        if package.version.startswith("0.12."):
            _loaded["rpc"] = _build(Path(str(package.locate_file("etcd3/etcdrpc"))))
        else:
            _loaded["rpc"] = importlib.import_module("etcd3.etcdrpc")
    return _loaded["rpc"]


def _build(folder: Path) -> ModuleType:
    pool = descriptor_pool.DescriptorPool()
    for name in ("kv", "auth", "rpc"):  # in the order of their imports
        messages = ModuleType(f"{__name__}.{name}")
        descriptor = pool.AddSerializedFile(_serialized(folder / f"{name}_pb2.py"))
        builder.BuildMessageAndEnumDescriptors(descriptor, messages.__dict__)
        builder.BuildTopDescriptorsAndMessages(descriptor, messages.__name__, messages.__dict__)
    source = folder / "rpc_pb2_grpc.py"
    tree = ast.parse(source.read_bytes(), str(source))
    tree.body = [
        part for part in tree.body if not (isinstance(part, ast.ImportFrom) and part.module == "etcd3.etcdrpc")
    ]
    stubs: dict[str, Any] = {"__name__": f"{__name__}.stubs", "rpc__pb2": messages}
    exec(compile(tree, str(source), "exec"), stubs)
    messages.__dict__.update({name: value for name, value in stubs.items() if name.endswith("Stub")})
    return messages


def _serialized(path: Path) -> bytes:
    """The constant in `FileDescriptor(serialized_pb=_b('…'))`."""
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "FileDescriptor":
            for keyword in node.keywords:
                if keyword.arg == "serialized_pb":
                    value: Any = keyword.value.args[0] if isinstance(keyword.value, ast.Call) else keyword.value
                    data: str | bytes = value.value
                    return data.encode("latin1") if isinstance(data, str) else data
    raise ImportError(f"no descriptor in {path}")
