"""The specialised engine as machine code, by LLVM, without XLA's loop.

`straight_line.read` is traced once; its trace, a few hundred float32 operations, becomes the body
of one loop (`native_code`). JAX's engines stay the definition and the way to accelerators: this one
runs on the processor it was compiled on, one sequence at a time. It needs the extra ``native``.

Letters: n tokens.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.decoding import straight_line
from icl_sim.decoding.attention import Reading
from icl_sim.decoding.head_state import Memory, empty, settle
from icl_sim.decoding.native_code import Emitter, Seen, Table, UnsupportedCodeError, short
from icl_sim.decoding.plan import Plan
from icl_sim.errors import InputError

ENGINE = "native"
NAME = "decode"
IN_MEMORY = ("table", "averages")  # memories of a head that are too long for registers
Leaves = list[np.ndarray]


def require_llvm() -> None:
    """Raises InputError where the extra is not installed."""
    try:
        import llvmlite  # noqa: F401
    except ImportError:
        raise InputError(
            f"engine {ENGINE}: expected llvmlite, which is not installed: "
            "pip install 'icl-sim[native]', or use specialised"
        ) from None


class Program:
    """The compiled loop of one plan with known weights.

    Args:
      plan, weights: as for `straight_line.read`.

    Raises:
      InputError: an operation that has no native form, or no llvmlite.
    """

    def __init__(self, plan: Plan, weights: Mapping[str, np.ndarray]) -> None:
        require_llvm()
        memories = jax.eval_shape(lambda: settle(plan, empty(plan)))  # as the prompt leaves them
        leaves, self._tree = jax.tree.flatten(memories)
        names = [name for row in memories for memory in row for name in sorted(memory)]
        self._shapes = [(np.shape(x), np.dtype(x.dtype)) for x in leaves]
        self._tables = [name in IN_MEMORY for name in names]

        def one(leaves: Leaves, token: jax.Array, position: jax.Array) -> Any:
            given = jax.tree.unflatten(self._tree, leaves)
            kept, found = straight_line.read(plan, weights, given, token, position, Reading.ONE)
            return jax.tree.leaves(kept), found.following, jnp.asarray(found.lost, bool)

        shapes = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in self._shapes]
        number = jax.ShapeDtypeStruct((), jnp.int32)
        self._trace = jax.make_jaxpr(one)(shapes, number, number)
        try:
            self._code = _compile(self._module())
        except UnsupportedCodeError as error:
            raise InputError(
                f"engine {ENGINE}: no native form of {error}: use specialised"
            ) from None

    def decode(
        self, memories: list[list[Memory]], token: int, position: int, *, steps: int, stop: int
    ) -> tuple[list[list[Memory]], np.ndarray, np.ndarray]:
        """Up to ``steps`` tokens from this state on, until ``stop`` is given out.

        Returns:
          The memories after them, the tokens int32 [n], and int32 [4]: the token that comes next,
          its position, whether the stop token was given out, whether an address was out of range.
        """
        # Copies, for the loop writes into them.
        leaves = [np.array(leaf, order="C") for leaf in jax.tree.leaves(memories)]
        out, status = np.empty(steps, np.int32), np.array([token, position, 0, 0], np.int32)
        pointers = [x.ctypes.data for x in (*leaves, out, status)]
        kinds = [ctypes.c_void_p] * len(pointers) + [ctypes.c_int64, ctypes.c_int32]
        address = self._code.get_function_address(NAME)
        run = ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(address)  # other threads run meanwhile
        count = run(*pointers, steps, stop)
        return jax.tree.unflatten(self._tree, leaves), out[:count], status

    def _module(self) -> Any:
        from llvmlite import ir

        module = ir.Module("icl_sim")
        _Loop(module, self._trace, self._shapes, self._tables).write()
        return module


class _Loop:
    """The module's function: a loop whose body is the trace."""

    def __init__(
        self, module: Any, trace: Any, shapes: Sequence[Any], tables: Sequence[bool]
    ) -> None:
        from llvmlite import ir

        self._ir, self._trace, self._shapes, self._in_memory = ir, trace, shapes, tables
        kind = Emitter(ir.IRBuilder(), self._constant).kind
        memories = [kind(dtype).as_pointer() for _, dtype in shapes]
        int32, int64 = ir.IntType(32), ir.IntType(64)
        others = [int32.as_pointer()] * 2
        signature = ir.FunctionType(int64, [*memories, *others, int64, int32])
        function = ir.Function(module, signature, name=NAME)
        for argument in function.args[:-2]:
            argument.add_attribute("noalias")
        self._pointers = function.args[: len(shapes)]
        self._tokens, self._status, self._steps, self._stop = function.args[-4:]
        self._int32, self._int64, self._function = int32, int64, function
        self._b = ir.IRBuilder(function.append_basic_block("entry"))
        # What a step changes, kept in registers while the loop runs.
        self._slots = [
            None if here else [self._slot(kind(dtype), pointer, i) for i in range(_size(shape))]
            for (shape, dtype), here, pointer in zip(shapes, tables, self._pointers, strict=True)
        ]
        self._token, self._position, self._done, self._lost = (
            self._slot(int32, self._status, i) for i in range(4)
        )
        self._n = self._b.alloca(int64)
        self._b.store(ir.Constant(int64, 0), self._n)

    def write(self) -> None:
        """Gives out the token that comes next and reads it, as `decoder._loop` does."""
        b, zero, one = self._b, *(self._ir.Constant(self._int32, i) for i in range(2))
        head, inside, after = (self._function.append_basic_block(x) for x in ("head", "in", "out"))
        b.branch(head)
        b.position_at_end(head)
        more = b.icmp_signed("<", b.load(self._n), self._steps)
        b.cbranch(b.and_(more, b.icmp_signed("==", b.load(self._done), zero)), inside, after)
        b.position_at_end(inside)
        n, token = b.load(self._n), b.load(self._token)
        b.store(token, b.gep(self._tokens, [n]))
        following, lost = self._read(token)
        ended = b.icmp_signed("==", token, self._stop)
        b.store(b.select(ended, self._stop, following), self._token)
        b.store(b.zext(ended, self._int32), self._done)
        b.store(b.or_(b.load(self._lost), lost), self._lost)
        b.store(b.add(b.load(self._position), one), self._position)
        b.store(b.add(n, self._ir.Constant(self._int64, 1)), self._n)
        b.branch(head)
        b.position_at_end(after)
        self._put_back()
        b.ret(b.load(self._n))

    def _read(self, token: Any) -> tuple[Any, Any]:
        """One token read: what follows, and as int32 whether an address was out of range."""
        b, emitter = self._b, Emitter(self._b, self._constant)
        memories: list[Any] = []
        for (shape, dtype), slots, pointer in zip(
            self._shapes, self._slots, self._pointers, strict=True
        ):
            if slots is None:
                memories.append(Seen(Table(pointer, shape, dtype)))
            else:
                memories.append(short([b.load(slot) for slot in slots], shape))
        numbers = [short([x], ()) for x in (token, b.load(self._position))]
        *after, following, lost = emitter.run(self._trace, [*memories, *numbers])
        for slots, before, now in zip(self._slots, memories, after, strict=True):
            if slots is None:
                if now.current() is not before.table:
                    raise UnsupportedCodeError("a table that becomes another")
                continue
            for slot, entry in zip(slots, now.ravel(), strict=True):
                b.store(entry, slot)
        return following.item(), b.zext(lost.item(), self._int32)

    def _slot(self, kind: Any, pointer: Any, i: int) -> Any:
        slot = self._b.alloca(kind)
        self._b.store(self._b.load(self._at(pointer, i)), slot)
        return slot

    def _put_back(self) -> None:
        for slots, pointer in zip(self._slots, self._pointers, strict=True):
            for i, slot in enumerate(slots or ()):
                self._b.store(self._b.load(slot), self._at(pointer, i))
        for i, slot in enumerate((self._token, self._position, self._done, self._lost)):
            self._b.store(self._b.load(slot), self._at(self._status, i))

    def _at(self, pointer: Any, i: int) -> Any:
        return self._b.gep(pointer, [self._ir.Constant(self._int64, i)])

    def _constant(self, array: np.ndarray) -> Table:
        """A known table, as a constant of the module."""
        ir, module = self._ir, self._function.module
        kind = Emitter(self._b, self._constant).kind(array.dtype)
        many = ir.ArrayType(kind, array.size)
        name = module.get_unique_name("known")
        known = ir.GlobalVariable(module, many, name=name)
        known.initializer = ir.Constant(many, array.ravel().tolist())
        known.global_constant, known.linkage = True, "internal"
        zero = ir.Constant(self._int32, 0)
        return Table(self._b.gep(known, [zero, zero]), array.shape, array.dtype)


def _size(shape: Sequence[int]) -> int:
    return int(np.prod(shape))


@functools.cache
def _target() -> Any:
    """The processor that this runs on, with all that it can do."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features().flatten()
    return binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=features, opt=3, reloc="pic", codemodel="small"
    )


def _compile(module: Any) -> Any:
    from llvmlite import binding

    machine = _target()
    code = binding.parse_assembly(str(module))
    code.verify()
    options = binding.create_pipeline_tuning_options(speed_level=3)
    builder = binding.create_pass_builder(machine, options)
    builder.getModulePassManager().run(code, builder)
    # An engine owns the target machine it is given.
    _target.cache_clear()
    engine = binding.create_mcjit_compiler(code, machine)
    engine.finalize_object()
    return engine
