"""Why a node is out, as data: a template and its values. Refusal, `explain` and dashboard print the same one."""

from __future__ import annotations

__all__ = ["Bytes", "Cpus", "Reason"]


class Reason:
    """`Reason("port {port}/{protocol} is taken by {holder}", port=80, …)`; its text is what `str` gives."""

    __slots__ = ("template", "values")

    def __init__(self, template: str, **values: object) -> None:
        self.template = template
        self.values = values

    def __str__(self) -> str:
        return self.template.format(**self.values)

    def __repr__(self) -> str:
        return f"Reason({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reason) and (self.template, self.values) == (other.template, other.values)

    def __hash__(self) -> int:
        return hash((self.template, *sorted((key, str(value)) for key, value in self.values.items())))


class Bytes(int):
    """A number of bytes that reads as `docker info` writes it: 512 MiB, 1.5 GiB."""

    def __str__(self) -> str:
        size = float(self)
        for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
            if abs(size) < 1024:
                return f"{size:.4g} {unit}"
            size /= 1024
        return f"{size:.4g} PiB"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


class Cpus(int):
    """Nano-CPUs that read as cores: 1.5."""

    def __str__(self) -> str:
        return f"{int(self) / 1e9:.10g}"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)
