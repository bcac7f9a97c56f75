"""Names for the columns of the residual stream, so that no column number stands anywhere else."""

from __future__ import annotations

from constructions.rotary import check_size


class Residual:
    """Named slices of the residual stream, laid out in the order given.

    >>> r = Residual(one=1, token=4, previous=4)
    >>> r["token"], r.width
    (slice(1, 5, None), 9)
    >>> r.column("token", 2)
    3
    """

    def __init__(self, **sizes: int):
        for name, size in sizes.items():
            check_size(f"residual slice {name}", size, 1)
        self.sizes = dict(sizes)
        self._start: dict[str, int] = {}
        self.width = 0
        for name, size in sizes.items():
            self._start[name] = self.width
            self.width += size

    def __getitem__(self, name: str) -> slice:
        start = self.column(name)
        return slice(start, start + self.sizes[name])

    def column(self, name: str, offset: int = 0) -> int:
        """The column of entry ``offset`` of slice ``name``."""
        if name not in self.sizes:
            raise ValueError(f"residual slice: expected one of {', '.join(self.sizes)}, got {name}")
        if not 0 <= offset < self.sizes[name]:
            raise ValueError(
                f"residual slice {name} has {self.sizes[name]} columns, got offset {offset}"
            )
        return self._start[name] + offset

    def names(self) -> list[str]:
        """One label a column: the slice's name, indexed where the slice is longer than one."""
        return [
            name if size == 1 else f"{name}[{i}]"
            for name, size in self.sizes.items()
            for i in range(size)
        ]

    def __repr__(self) -> str:
        return f"Residual({', '.join(f'{name}={size}' for name, size in self.sizes.items())})"
