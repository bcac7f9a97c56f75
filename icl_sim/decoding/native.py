"""The specialised engine as machine code, by LLVM, without XLA's loop.

`straight_line.read` is traced once; its trace, a few hundred float32 operations, becomes the body
of one loop (`native_code`). JAX's engines stay the definition and the way to accelerators: this one
runs on the processor it was compiled on, one sequence at a time. It needs the extra ``native``.

Letters: n tokens.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.decoding import straight_line
from icl_sim.decoding.attention import Reading
from icl_sim.decoding.head_state import Memory, empty, settle
from icl_sim.decoding.native_code import Emitter, Seen, Table, UnsupportedCodeError, short
from icl_sim.decoding.plan import Plan
from icl_sim.decoding.recall import SLOTS, WORDS, Part, empty_slots, forget, split
from icl_sim.errors import InputError

ENGINE = "native"
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


def installed() -> bool:
    """Whether the extra is there."""
    return find_spec("llvmlite") is not None


def own(memories: list[list[Memory]]) -> list[list[Memory]]:
    """Copies as NumPy arrays, for `Program.check` to change."""
    return jax.tree.map(lambda leaf: np.array(leaf, order="C"), memories)


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
        given, made = self._trace.jaxpr.invars, self._trace.jaxpr.outvars
        *before, token, _ = given
        unchanged = [x for x, after in zip(before, made, strict=False) if x is after]
        self._steps = split(self._trace.jaxpr, token, unchanged)
        self._parts = [step for step in self._steps if isinstance(step, Part)]
        self._threads = threading.local()  # slots, each thread's own
        self._codes: dict[str, Any] = {}  # by name of the loop

    def decode(
        self, memories: list[list[Memory]], token: int, position: int, *, steps: int, stop: int
    ) -> tuple[list[list[Memory]], np.ndarray, np.ndarray]:
        """Up to ``steps`` tokens from this state on, until ``stop`` is given out.

        Returns:
          The memories after them, the tokens int32 [n], and int32 [4]: the token that comes next,
          its position, whether the stop token was given out, whether an address was out of range.
        """
        out, status = np.empty(steps, np.int32), np.array([token, position, 0, 0], np.int32)
        # Copies, for the loop writes into them.
        kept = own(memories)
        count = self._run("decode", jax.tree.leaves(kept), out, status, steps, stop)
        return kept, out[:count], status

    def check(
        self, memories: list[list[Memory]], tokens: np.ndarray, position: int
    ) -> tuple[int, int, bool]:
        """Whether each token but the first is what follows the one before it.

        Args:
          memories: before the first token is read, as NumPy arrays (`own`), which are changed to
            those after n tokens.
          tokens: int32 [n + 1].
          position: of the first token.

        Returns:
          How many of n do not follow, the first of them counted from 0 (n if there is none), and
          whether an address was out of range.
        """
        given, count = np.ascontiguousarray(tokens, np.int32), len(tokens) - 1
        status = np.array([0, position, count, 0], np.int32)
        self._run("check", jax.tree.leaves(memories), given, status, count, 0)
        return int(status[0]), int(status[2]), bool(status[3])

    def compile(self, name: str) -> Any:
        """The loop of this name, ``decode`` or ``check``; compiled once.

        Raises:
          InputError: an operation that has no native form.
        """
        if name not in self._codes:
            try:
                self._codes[name] = _compile(self._module(name))
            except UnsupportedCodeError as error:
                raise InputError(
                    f"engine {ENGINE}: no native form of {error}: use specialised"
                ) from None
        return self._codes[name]

    def _run(
        self, name: str, leaves: Leaves, tokens: np.ndarray, status: np.ndarray, *numbers: int
    ) -> int:
        if not hasattr(self._threads, "slots"):
            self._threads.slots = empty_slots(len(self._parts))
        forget(self._threads.slots, self._parts)
        arrays = (*leaves, tokens, status, self._threads.slots)
        kinds = [ctypes.c_void_p] * len(arrays) + [ctypes.c_int64, ctypes.c_int32]
        address = self.compile(name).get_function_address(name)
        run = ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(address)  # other threads run meanwhile
        return int(run(*(x.ctypes.data for x in arrays), *numbers))

    def _module(self, name: str) -> Any:
        from llvmlite import ir

        module = ir.Module("icl_sim")
        loop = _Loop(module, name, self._trace, self._steps, self._shapes, self._tables)
        (loop.decode if name == "decode" else loop.check)()
        return module


class _Loop:
    """The module's function: a loop whose body is the trace."""

    def __init__(
        self,
        module: Any,
        name: str,
        trace: Any,
        steps: Sequence[Any],
        shapes: Sequence[Any],
        tables: Sequence[bool],
    ) -> None:
        from llvmlite import ir

        self._ir, self._trace, self._shapes = ir, trace, shapes
        self._steps_of_trace = steps
        self._parts = [step for step in steps if isinstance(step, Part)]
        kind = Emitter(ir.IRBuilder(), self._constant).kind
        memories = [kind(dtype).as_pointer() for _, dtype in shapes]
        int32, int64 = ir.IntType(32), ir.IntType(64)
        others = [int32.as_pointer(), int32.as_pointer(), int64.as_pointer()]
        signature = ir.FunctionType(int64, [*memories, *others, int64, int32])
        function = ir.Function(module, signature, name=name)
        for argument in function.args[:-3]:
            argument.add_attribute("noalias")
        self._pointers = function.args[: len(shapes)]
        self._tokens, self._status, self._slots, self._steps, self._stop = function.args[-5:]
        self._int32, self._int64, self._function = int32, int64, function
        self._b = ir.IRBuilder(function.append_basic_block("entry"))
        # What a step changes, kept in registers while the loop runs.
        self._kept = [
            None if here else [self._slot(kind(dtype), pointer, i) for i in range(_size(shape))]
            for (shape, dtype), here, pointer in zip(shapes, tables, self._pointers, strict=True)
        ]
        self._status_kept = [self._slot(int32, self._status, i) for i in range(4)]
        self._n = self._b.alloca(int64)
        self._b.store(ir.Constant(int64, 0), self._n)

    def decode(self) -> None:
        """Gives out the token that comes next and reads it, as `decoder._loop` does."""
        b, (token_at, position, done, lost_at) = self._b, self._status_kept

        def body(n: Any) -> None:
            token = b.load(token_at)
            b.store(token, b.gep(self._tokens, [n]))
            following, lost = self._read(token, b.load(position))
            ended = b.icmp_signed("==", token, self._stop)
            b.store(b.select(ended, self._stop, following), token_at)
            b.store(b.zext(ended, self._int32), done)
            b.store(b.or_(b.load(lost_at), lost), lost_at)

        self._loop(body, lambda: b.icmp_signed("==", b.load(done), self._number(0)))

    def check(self) -> None:
        """Reads the tokens given and compares what follows with the one after."""
        b, (wrong, position, first, lost_at) = self._b, self._status_kept

        def body(n: Any) -> None:
            here, next_one = n, b.add(n, self._number(1, self._int64))
            token, expected = (b.load(b.gep(self._tokens, [i])) for i in (here, next_one))
            following, lost = self._read(token, b.load(position))
            differs = b.icmp_signed("!=", following, expected)
            fresh = b.and_(differs, b.icmp_signed("==", b.load(wrong), self._number(0)))
            b.store(b.select(fresh, b.trunc(n, self._int32), b.load(first)), first)
            b.store(b.add(b.load(wrong), b.zext(differs, self._int32)), wrong)
            b.store(b.or_(b.load(lost_at), lost), lost_at)

        self._loop(body, lambda: self._ir.Constant(self._ir.IntType(1), 1))

    def _loop(self, body: Callable[[Any], None], more: Callable[[], Any]) -> None:
        """The body, token after token, as long as there are steps left and ``more`` holds."""
        b, position = self._b, self._status_kept[1]
        head, inside, after = (self._function.append_basic_block(x) for x in ("head", "in", "out"))
        b.branch(head)
        b.position_at_end(head)
        b.cbranch(b.and_(b.icmp_signed("<", b.load(self._n), self._steps), more()), inside, after)
        b.position_at_end(inside)
        n = b.load(self._n)
        body(n)
        b.store(b.add(b.load(position), self._number(1)), position)
        b.store(b.add(n, self._number(1, self._int64)), self._n)
        b.branch(head)
        b.position_at_end(after)
        self._put_back()
        b.ret(b.load(self._n))

    def _read(self, token: Any, position: Any) -> tuple[Any, Any]:
        """One token read: what follows, and as int32 whether an address was out of range."""
        b, emitter = self._b, Emitter(self._b, self._constant)
        memories: list[Any] = []
        for (shape, dtype), slots, pointer in zip(
            self._shapes, self._kept, self._pointers, strict=True
        ):
            if slots is None:
                memories.append(Seen(Table(pointer, shape, dtype)))
            else:
                memories.append(short([b.load(slot) for slot in slots], shape))
        numbers = [short([x], ()) for x in (token, position)]
        *after, following, lost = emitter.run(
            self._trace, [*memories, *numbers], steps=self._steps_of_trace, slots=self._of_part
        )
        for slots, before, now in zip(self._kept, memories, after, strict=True):
            if slots is None:
                if now.current() is not before.table:
                    raise UnsupportedCodeError("a table that becomes another")
                continue
            for slot, entry in zip(slots, now.ravel(), strict=True):
                b.store(entry, slot)
        return following.item(), b.zext(lost.item(), self._int32)

    def _of_part(self, part: Part) -> Any:
        first = SLOTS * WORDS * self._parts.index(part)
        return self._b.gep(self._slots, [self._number(first, self._int64)])

    def _number(self, x: int, kind: Any = None) -> Any:
        return self._ir.Constant(kind or self._int32, x)

    def _slot(self, kind: Any, pointer: Any, i: int) -> Any:
        slot = self._b.alloca(kind)
        self._b.store(self._b.load(self._at(pointer, i)), slot)
        return slot

    def _put_back(self) -> None:
        for slots, pointer in zip(
            [*self._kept, self._status_kept], [*self._pointers, self._status], strict=True
        ):
            for i, slot in enumerate(slots or ()):
                self._b.store(self._b.load(slot), self._at(pointer, i))

    def _at(self, pointer: Any, i: int) -> Any:
        return self._b.gep(pointer, [self._number(i, self._int64)])

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


def _target() -> Any:
    """The processor that this runs on, with all that it can do."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features().flatten()
    # Large: in a process of many gigabytes code and numbers may lie more than 2 GiB apart.
    return binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=features, opt=3, reloc="static", codemodel="large"
    )


def _compile(module: Any) -> Any:
    from llvmlite import binding

    machine = _target()
    code = binding.parse_assembly(str(module))
    code.verify()
    options = binding.create_pipeline_tuning_options(speed_level=3)
    builder = binding.create_pass_builder(machine, options)
    builder.getModulePassManager().run(code, builder)
    engine = binding.create_mcjit_compiler(code, machine)
    engine.finalize_object()
    return engine
