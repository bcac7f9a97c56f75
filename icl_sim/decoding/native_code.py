"""LLVM code of a traced function on scalars, short arrays and tables: one token of decoding.

JAX's trace of `straight_line.read` is the definition; its operations are written down one by one,
in their order and with their types, so that float32 stays float32 and nothing is contracted or
reordered; what hangs on one number alone is kept by that number (`recall`). A short array is as
many registers; a table stays in memory and is changed in place, which is refused wherever an older
state of it is read afterwards.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from icl_sim.decoding.recall import Part, recall

LONGEST = 256  # entries of an array that is held in registers


class UnsupportedCodeError(ValueError):
    """An operation or shape that has no native form here; names it."""


class Table:
    """An array in memory, and how often it has been written.

    Args:
      pointer: LLVM value, to its first entry.
      shape, dtype: [rows, columns], as NumPy's.
    """

    def __init__(self, pointer: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.pointer, self.shape, self.dtype = pointer, shape, dtype
        self.version = 0


class Seen:
    """A table as it stood at one point of the trace."""

    def __init__(self, table: Table) -> None:
        self.table, self.version = table, table.version

    def current(self) -> Table:
        """The table; refused if it has been written since."""
        if self.version != self.table.version:
            raise UnsupportedCodeError("a table that is read after it was written")
        return self.table


Short = np.ndarray  # of LLVM values, dtype object


class Emitter:
    """Writes a jaxpr's operations behind what a builder has written already.

    Args:
      builder: llvmlite's IRBuilder, inside the body of a loop.
      tables: Tables for constants of the trace that are too long for registers.
    """

    def __init__(self, builder: Any, constant_table: Callable[[np.ndarray], Table]) -> None:
        from llvmlite import ir

        self._ir, self._b, self._constant_table = ir, builder, constant_table

    def run(
        self,
        closed: Any,
        arguments: Sequence[Any],
        *,
        steps: Sequence[Any] | None = None,
        slots: Callable[[Part], Any] | None = None,
    ) -> list[Any]:
        """The results of a closed jaxpr; arguments and results are `Short` or `Seen`.

        Args:
          closed: the jaxpr.
          arguments: of it.
          steps: its equations as `recall.split` has them; all of them by default.
          slots: pointer to the slots of a part.
        """
        jaxpr = closed.jaxpr
        known: dict[Any, Any] = dict(zip(jaxpr.invars, arguments, strict=True))
        known |= {v: self.constant(c) for v, c in zip(jaxpr.constvars, closed.consts, strict=True)}

        def value(atom: Any) -> Any:
            if not hasattr(atom, "val"):
                return known[atom]
            return self.constant(np.asarray(atom.val, atom.aval.dtype))  # a literal is Python's

        def evaluate(equation: Any) -> None:
            found = self._equation(equation, [value(atom) for atom in equation.invars])
            known.update(zip(equation.outvars, found, strict=True))

        def part(part: Part) -> list[Any]:
            for equation in part.equations:
                evaluate(equation)
            return [known[result].item() for result in part.results]

        for step in jaxpr.eqns if steps is None else steps:
            if isinstance(step, Part) and slots is not None:
                key = value(step.key).item()
                token = None if step.token is None else value(step.token).item()
                kinds = [self.kind(result.aval.dtype) for result in step.results]
                compute = functools.partial(part, step)
                found = recall(self._b, self._ir, slots(step), key, token, kinds, compute)
                known |= {x: short([y], ()) for x, y in zip(step.results, found, strict=True)}
            else:
                evaluate(step)
        return [value(atom) for atom in jaxpr.outvars]

    def constant(self, value: Any) -> Any:
        """Known numbers, in registers or as a table."""
        array = np.asarray(value)
        if array.size > LONGEST:
            return Seen(self._constant_table(array))
        kind = self.kind(array.dtype)
        entries = [self._ir.Constant(kind, x) for x in array.ravel().tolist()]
        return short(entries, array.shape)

    def kind(self, dtype: Any) -> Any:
        """The LLVM type of a NumPy type."""
        dtype, ir = np.dtype(dtype), self._ir
        if dtype == np.float32:
            return ir.FloatType()
        if dtype == np.float64:
            return ir.DoubleType()
        if dtype.kind in "biu":
            return ir.IntType(1 if dtype.kind == "b" else 8 * dtype.itemsize)
        raise UnsupportedCodeError(f"numbers of type {dtype}")

    def _equation(self, equation: Any, given: list[Any]) -> list[Any]:
        name, params = equation.primitive.name, equation.params
        inner = next((params[k] for k in ("jaxpr", "call_jaxpr") if k in params), None)
        if inner is not None and name in INLINED:
            return self.run(inner, given)
        if name == "dynamic_slice" and isinstance(given[0], Seen):
            return [self._rows(given[0].current(), given[1:], params["slice_sizes"])]
        if name == "dynamic_update_slice" and isinstance(given[0], Seen):
            return [self._write(given[0].current(), given[1], given[2:])]
        if any(isinstance(x, Seen) for x in given):
            raise UnsupportedCodeError(f"{name} of a whole table")
        out = equation.outvars[0].aval
        if name in SHAPED:
            return SHAPED[name](given, params, out)
        if name == "dynamic_slice":
            return [self._pick(given[0], given[1:], params["slice_sizes"])]
        if name == "iota":
            place = np.indices(out.shape)[params["dimension"]]
            return [self.constant(place.astype(out.dtype))]
        if name.startswith("reduce_") and name.removeprefix("reduce_") in REDUCED:
            return [self._reduce(REDUCED[name.removeprefix("reduce_")], given[0], params, equation)]
        dtypes = [atom.aval.dtype for atom in equation.invars]
        entry = self._entry(name, params, dtypes, out.dtype)
        shapes = np.broadcast_arrays(*given)
        entries = [entry(*row) for row in zip(*(x.ravel() for x in shapes), strict=True)]
        return [short(entries, out.shape)]

    def _reduce(self, name: str, x: Short, params: Any, equation: Any) -> Short:
        dtype = equation.invars[0].aval.dtype
        entry = self._entry(name, {}, [dtype, dtype], dtype)
        axes = params["axes"]
        rest = tuple(n for a, n in enumerate(x.shape) if a not in axes)
        rows = np.moveaxis(x, axes, range(len(axes))).reshape(-1, *rest)
        total = rows[0]
        for row in rows[1:]:
            pairs = zip(np.ravel(total), np.ravel(row), strict=True)
            total = short([entry(a, b) for a, b in pairs], rest)
        return short(np.ravel(total), rest)

    def _entry(self, name: str, params: Any, given: Sequence[Any], out: Any) -> Callable[..., Any]:
        """What an operation does to single entries."""
        b = self._b
        real, signed = np.dtype(given[-1]).kind == "f", np.dtype(given[-1]).kind == "i"
        if name == "convert_element_type":
            return lambda x: self._converted(x, np.dtype(given[0]), np.dtype(out))
        if name in COMPARED:
            compare = b.fcmp_ordered if real else b.icmp_signed if signed else b.icmp_unsigned
            if real and name == "ne":
                compare = b.fcmp_unordered
            return lambda x, y: compare(COMPARED[name], x, y)
        if name in ("max", "min"):
            sign = COMPARED["gt" if name == "max" else "lt"]
            if real:  # NaN wins, as XLA has it
                return lambda x, y: b.select(
                    b.or_(b.fcmp_ordered(sign, x, y), b.fcmp_unordered("uno", x, x)), x, y
                )
            compare = b.icmp_signed if signed else b.icmp_unsigned
            return lambda x, y: b.select(compare(sign, x, y), x, y)
        if name == "select_n":
            return lambda which, no, yes: b.select(which, yes, no)
        if name == "integer_pow" and params["y"] == 2:
            return lambda x: (b.fmul if real else b.mul)(x, x)
        if name == "neg":
            return b.fneg if real else b.neg
        if name == "abs" and real:
            # Not by a comparison, which would keep the sign of -0.
            return lambda x: b.call(self._intrinsic("llvm.fabs", [x.type]), [x])
        if name in ("floor", "round") and real:
            kind = {"floor": "llvm.floor", "round": "llvm.roundeven"}[name]
            if name == "round" and params["rounding_method"] != 1:  # 1: to nearest even
                raise UnsupportedCodeError("rounding away from zero")
            return lambda x: b.call(self._intrinsic(kind, [x.type]), [x])
        kinds = REALS if real else INTEGERS if signed else UNSIGNED
        if name not in kinds:
            raise UnsupportedCodeError(f"{name} of {np.dtype(given[-1])}")
        return getattr(b, kinds[name])

    def _intrinsic(self, name: str, types: list[Any], result: Any = None) -> Any:
        return self._b.module.declare_intrinsic(
            name, types, self._ir.FunctionType(result or types[0], [types[-1]])
        )

    def _converted(self, x: Any, old: np.dtype, new: np.dtype) -> Any:
        b, kind = self._b, self.kind(new)
        if old == new:
            return x
        if new.kind == "b":
            zero = self._ir.Constant(x.type, 0)
            return (
                b.fcmp_unordered("!=", x, zero) if old.kind == "f" else b.icmp_signed("!=", x, zero)
            )
        if old.kind == "f" and new.kind == "f":
            return (b.fpext if new.itemsize > old.itemsize else b.fptrunc)(x, kind)
        if new.kind == "f":
            return (b.sitofp if old.kind == "i" else b.uitofp)(x, kind)
        if old.kind == "f":  # saturates, as XLA does
            name = f"llvm.fpto{'si' if new.kind == 'i' else 'ui'}.sat"
            return b.call(self._intrinsic(name, [kind, x.type], kind), [x])
        if old.kind == "b" or new.itemsize > old.itemsize:
            return (b.sext if old.kind == "i" else b.zext)(x, kind)
        return x if new.itemsize == old.itemsize else b.trunc(x, kind)

    def _place(self, index: Any, last: int) -> Any:
        """A start as `lax.dynamic_slice` takes it: moved inside if it is not."""
        b, zero, most = self._b, *(self._ir.Constant(index.type, x) for x in (0, last))
        index = b.select(b.icmp_signed("<", index, zero), zero, index)
        return b.select(b.icmp_signed(">", index, most), most, index)

    def _pointers(self, table: Table, starts: Sequence[Short], sizes: Sequence[int]) -> list[Any]:
        b, wide = self._b, self._ir.IntType(64)
        place: Any = self._ir.Constant(wide, 0)
        for start, n, size in zip(starts, table.shape, sizes, strict=True):
            index = b.sext(self._place(start.item(), n - size), wide)
            place = b.add(b.mul(place, self._ir.Constant(wide, n)), index)
        offsets = (np.indices(sizes).reshape(len(sizes), -1).T @ _strides(table.shape)).tolist()
        return [b.gep(table.pointer, [b.add(place, self._ir.Constant(wide, n))]) for n in offsets]

    def _rows(self, table: Table, starts: Sequence[Short], sizes: Sequence[int]) -> Short:
        entries = [self._b.load(p) for p in self._pointers(table, starts, sizes)]
        return short(entries, tuple(sizes))

    def _write(self, table: Table, rows: Short, starts: Sequence[Short]) -> Seen:
        pointers = self._pointers(table, starts, rows.shape)
        for pointer, entry in zip(pointers, rows.ravel(), strict=True):
            self._b.store(entry, pointer)
        table.version += 1
        return Seen(table)

    def _pick(self, x: Short, starts: Sequence[Short], sizes: Sequence[int]) -> Short:
        """A slice of an array in registers: chosen among all that there are."""
        b = self._b
        found = None
        for corner in itertools.product(
            *(range(n - size + 1) for n, size in zip(x.shape, sizes, strict=True))
        ):
            here = x[tuple(slice(c, c + n) for c, n in zip(corner, sizes, strict=True))].ravel()
            if found is None:
                found = here
                continue
            hit: Any = self._ir.Constant(self._ir.IntType(1), 1)
            for start, c, n, size in zip(starts, corner, x.shape, sizes, strict=True):
                index = self._place(start.item(), n - size)
                same = b.icmp_signed("==", index, self._ir.Constant(index.type, c))
                hit = b.and_(hit, same)
            found = np.array(
                [b.select(hit, new, old) for new, old in zip(here, found, strict=True)]
            )
        return short(found, tuple(sizes))


def short(entries: Any, shape: Sequence[int]) -> Short:
    """An array of LLVM values, which NumPy must not look into."""
    array = np.empty(len(entries), object)
    for i, entry in enumerate(entries):
        array[i] = entry
    return array.reshape(tuple(shape))


def _strides(shape: Sequence[int]) -> np.ndarray:
    return np.array([int(np.prod(shape[i + 1 :])) for i in range(len(shape))])


def _broadcast(given: list[Any], params: Any, out: Any) -> list[Any]:
    shape = [1] * len(out.shape)
    for axis, n in zip(params["broadcast_dimensions"], given[0].shape, strict=True):
        shape[axis] = n
    return [np.broadcast_to(given[0].reshape(shape), out.shape)]


def _sliced(given: list[Any], params: Any, out: Any) -> list[Any]:
    strides = params["strides"] or (1,) * len(out.shape)
    ends = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    return [given[0][tuple(slice(*end) for end in ends)]]


INLINED = {"pjit", "jit", "custom_jvp_call", "custom_vjp_call", "closed_call", "core_call"}
SHAPED: dict[str, Callable[[list[Any], Any, Any], list[Any]]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda x, params, out: [np.concatenate(x, axis=params["dimension"])],
    "copy": lambda x, params, out: x,
    "reshape": lambda x, params, out: [x[0].reshape(out.shape)],
    "slice": _sliced,
    "squeeze": lambda x, params, out: [x[0].reshape(out.shape)],
    "stack": lambda x, params, out: [np.stack(x, axis=params["axis"])],
    "stop_gradient": lambda x, params, out: x,
    "transpose": lambda x, params, out: [x[0].transpose(params["permutation"])],
}
REDUCED = {"sum": "add", "max": "max", "min": "min", "and": "and", "or": "or"}
COMPARED = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
REALS = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
REALS |= {"add_any": "fadd"}
INTEGERS = {"add": "add", "sub": "sub", "mul": "mul", "div": "sdiv", "rem": "srem"}
INTEGERS |= {"and": "and_", "or": "or_", "xor": "xor", "not": "not_"}
INTEGERS |= {"shift_left": "shl", "shift_right_arithmetic": "ashr", "shift_right_logical": "lshr"}
UNSIGNED = INTEGERS | {"div": "udiv", "rem": "urem"}
