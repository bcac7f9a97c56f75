"""The command line: parses, calls one function a command, prints.  The only module that prints.

Heavy imports stand inside the commands, so that ``--help`` answers at once.
Exit codes: 0 done, 1 a claim or check failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl.flags import argparse_flags

from icl_sim.errors import InputError
from icl_sim.progress import Progress as _Progress

PROFILES = ("smoke", "standard", "full")


class _Parser(argparse_flags.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # One line instead of argparse's usage dump.
        raise InputError(f"{message}; see {self.prog} --help")


def run(argv: Sequence[str]) -> int:
    """Runs ``argv[1:]`` and returns the exit code."""
    try:
        arguments = _parser().parse_args(list(argv[1:]))
        return int(arguments.command(arguments))
    except InputError as error:
        print(f"icl-sim: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"icl-sim: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("icl-sim: interrupted; --resume continues a run", file=sys.stderr)
        return 130


def _parser() -> _Parser:
    parser = _Parser(prog="icl-sim", description=_ABOUT)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def command(
        name: str, function: Callable[[Any], int], about: str, among: Any = commands
    ) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = among.add_parser(name, help=about, description=about)
        sub.set_defaults(command=function)
        sub.add_argument("--json", action="store_true", help="one JSON object on stdout")
        sub.add_argument("--seed", type=int, default=0, help="root of all randomness (0)")
        return sub

    def runs(sub: argparse.ArgumentParser, out: str | None) -> None:
        sub.add_argument("--profile", choices=PROFILES, default="smoke")
        sub.add_argument("--out", default=out, metavar="DIR", help="records and report go here")
        sub.add_argument("--resume", action="store_true", help="continue the run in --out")

    runs(command("reproduce", _reproduce, "judge every claim and write the report"), "out")
    verify = command("verify", _verify, "judge claims or single statements")
    verify.add_argument("names", nargs="*", metavar="CLAIM | STATEMENT", help="e.g. C1, C1.sum")
    runs(verify, None)
    size = command("sample-size", _sample_size, "how many demonstrations suffice per context")
    size.add_argument("--vocab", type=int, required=True, metavar="V")
    size.add_argument("--eps", type=str, required=True, metavar="E", help="total variation")
    size.add_argument("--delta", type=float, required=True, metavar="D", help="failure probability")
    size.add_argument("--contexts", type=int, required=True, metavar="M")
    size.add_argument("--length", type=int, default=1, metavar="L", help="output tokens (1)")
    size.add_argument("--dim", type=int, default=None, metavar="D", help="of linear classification")
    emulate = command("emulate", _emulate, "run a machine through a transformer's weights")
    emulate.add_argument("machine", metavar="MACHINE", help="name, bbchallenge line, or file")
    emulate.add_argument(
        "--tape", default="", metavar="T", help="input, a character a symbol; looped: numbers"
    )
    emulate.add_argument(
        "--construction", default="universal", metavar="NAME", help="single, universal or looped"
    )
    emulate.add_argument(
        "--engine", default=None, metavar="NAME", help="dense, cached, specialised or verify"
    )
    emulate.add_argument("--max-steps", type=int, default=None, metavar="N")
    emulate.add_argument("--trace", default=None, metavar="FILE.html", help="write a viewer")
    emulate.add_argument("--out", default="out", metavar="DIR", help="checkpoints of long runs")
    emulate.add_argument("--resume", action="store_true", help="take up a long run")
    compare = command("compare", _compare, "every route from the same data, side by side")
    compare.add_argument("--task", default="english", metavar="T")
    compare.add_argument("--sizes", type=int, nargs="+", default=[16, 64, 256], metavar="N")
    compare.add_argument("--predictors", nargs="+", default=None, metavar="P")
    compare.add_argument("--tasks", type=int, default=12, metavar="N", help="tables (12)")
    compare.add_argument("--seeds", type=int, default=1, metavar="S", help="data sets of each (1)")
    compare.add_argument("--contexts", type=int, default=8, metavar="M")
    compare.add_argument("--vocab", type=int, default=8, metavar="V")
    compare.add_argument("--out", default=None, metavar="DIR", help="records and report go here")
    compare.add_argument("--resume", action="store_true", help="continue the run in --out")
    about = "pretrain a base, or fine-tune it"
    train = commands.add_parser("train", help=about, description=about)
    kinds = train.add_subparsers(required=True, metavar="base|sft", parser_class=_Parser)
    base = command(
        "base", _train_base, "pretrain a base; it is written if it passes the gate", kinds
    )
    base.add_argument("--steps", type=int, default=None, metavar="N", help="of pretraining")
    base.add_argument(
        "--replicas", type=int, default=0, metavar="R", help="seeds gated as well (0)"
    )
    sft = command("sft", _train_sft, "fine-tune the base on tables, all copies at once", kinds)
    sft.add_argument("--task", default="english", metavar="T")
    sft.add_argument("--sizes", type=int, nargs="+", default=[16, 64], metavar="N")
    sft.add_argument("--tasks", type=int, default=4, metavar="N", help="tables (4)")
    sft.add_argument("--seeds", type=int, default=1, metavar="S", help="data sets of each (1)")
    sft.add_argument("--adapt", default="full", metavar="full|lora|head")
    sft.add_argument("--rank", type=int, default=None, metavar="R", help="of LoRA (4)")
    sft.add_argument("--optimizer", default=None, metavar="adam|sgd")
    sft.add_argument("--learning-rate", type=float, default=None, metavar="X")
    sft.add_argument("--steps", type=int, default=None, metavar="N")
    for sub in (base, sft):
        sub.add_argument("--out", default="out", metavar="DIR", help="results and report go here")
        sub.add_argument("--resume", action="store_true", help="continue the run in --out")
    command("list", _list, "what this installation holds")
    files = command("export", _export, "write each construction's weights and card as files")
    files.add_argument("directory", metavar="DIR")
    command("doctor", _doctor, "versions, devices and arithmetic of this machine")
    return parser


_ABOUT = (
    "In-context learning against fine-tuning: hand-written transformers, genuine training, and "
    "certified verdicts on the claims of arXiv:2506.08060."
)


def _reproduce(arguments: Any) -> int:
    from icl_sim.report.pages import write_report
    from icl_sim.reproduction import reproduce

    with _Progress() as progress:
        results = reproduce(
            profile=arguments.profile,
            seed=arguments.seed,
            out=arguments.out,
            resume=arguments.resume,
            progress=progress,
        )
    page = write_report(results, arguments.out)
    _show(results | {"report": str(page)}, arguments)
    if not arguments.json:
        print(f"report: {page}")
    return _failed(results)


def _verify(arguments: Any) -> int:
    from icl_sim.reproduction import verify

    _require_out(arguments)
    with _Progress() as progress:
        results = verify(
            arguments.names,
            profile=arguments.profile,
            seed=arguments.seed,
            out=arguments.out,
            resume=arguments.resume,
            progress=progress,
        )
    _show(results, arguments)
    return _failed(results)


def _compare(arguments: Any) -> int:
    from icl_sim.report.pages import write_report
    from icl_sim.reproduction import compare_routes

    _require_out(arguments)
    names = {} if arguments.predictors is None else {"predictors": arguments.predictors}
    with _Progress() as progress:
        found = compare_routes(
            arguments.task,
            sizes=arguments.sizes,
            tasks=arguments.tasks,
            seeds=arguments.seeds,
            contexts=arguments.contexts,
            vocab=arguments.vocab,
            seed=arguments.seed,
            out=arguments.out,
            resume=arguments.resume,
            progress=progress,
            **names,
        )
    page = write_report({"comparisons": [found]}, arguments.out) if arguments.out else None
    if arguments.json:
        _print_json(found)
        return 0
    from rich.console import Console
    from rich.table import Table

    for size, matrix in found["matrix"].items():
        table = Table(f"N = {size}", *found["predictors"], box=None)
        for row in found["predictors"]:
            table.add_row(row, *(f"{cell['mean']:.4f}" for cell in matrix[row].values()))
        Console().print(table)
    if page:
        print(f"report: {page}")
    return 0


def _require_out(arguments: Any) -> None:
    if arguments.resume and arguments.out is None:
        raise InputError("--resume: expected --out DIR, the run to continue")


def _show(results: dict[str, Any], arguments: Any) -> None:
    if arguments.json:
        _print_json(results)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("statement", "verdict", "confidence", "replicates", "why", box=None)
    for s in results["statements"]:
        confidence = f"{s['confidence']:.0%}"
        table.add_row(s["id"], s["verdict"], confidence, f"{s['replicates']:,}", s["why"])
    for check in results.get("checks", ()):
        outcome = "passed" if check["passed"] else "FAILED"
        why = f"{check['name']}: {check['value']:.2g} (limit {check['limit']:g})"
        table.add_row("check", outcome, "", "", why)
    console = Console()
    console.print(table)
    console.print(f"seed {results['seed']}, digest {results['digest']}")


def _failed(results: dict[str, Any]) -> int:
    """1 if a check failed, or a statement did not get the verdict that its theory derives."""
    surprise = any(s["verdict"] != s["derived"] for s in results["statements"])
    return int(surprise or not all(check["passed"] for check in results.get("checks", ())))


def _sample_size(arguments: Any) -> int:
    from dataclasses import asdict

    from icl_sim.bounds import sample_size

    size = asdict(
        sample_size(
            vocab=arguments.vocab,
            eps=arguments.eps,
            delta=arguments.delta,
            contexts=arguments.contexts,
            length=arguments.length,
            dim=arguments.dim,
        )
    )
    if arguments.json:
        _print_json(size)
    else:
        for name, value in size.items():
            if value is not None:
                print(
                    f"{name:>14}  {value:,}" if isinstance(value, int) else f"{name:>14}  {value}"
                )
    return 0


def _emulate(arguments: Any) -> int:
    if arguments.construction == "looped":
        return _emulate_looped(arguments)
    from icl_sim.emulation import build, emulate, find_machine

    machine = find_machine(arguments.machine)
    with _Progress() as progress:
        found = emulate(
            machine,
            arguments.tape,
            construction=arguments.construction,
            engine=arguments.engine or "specialised",
            max_steps=arguments.max_steps,
            checkpoints=arguments.out,
            resume=arguments.resume,
            progress=progress,
        )
    if arguments.trace:
        from icl_sim.report.viewer import write_viewer

        built = build(machine, construction=arguments.construction, steps=None)
        write_viewer(machine, arguments.tape, built, arguments.trace, steps=found["steps"])
    if not arguments.json:
        tape = "".join(found["tape"])
        found["tape"] = tape if len(tape) <= 200 else f"{tape[:200]}... ({len(tape):,} cells)"
    return _show_run(found, arguments)


def _emulate_looped(arguments: Any) -> int:
    from icl_sim.looped import emulate_looped

    if arguments.trace:
        raise InputError("--trace: expected a Turing machine, the viewer draws its tape")
    with _Progress() as progress:
        found = emulate_looped(
            arguments.machine,
            arguments.tape,
            engine=arguments.engine or "dense",
            max_steps=arguments.max_steps,
            progress=progress,
        )
    return _show_run(found, arguments)


def _show_run(found: dict[str, Any], arguments: Any) -> int:
    if arguments.json:
        _print_json(found)
    else:
        for name, value in found.items():
            shown = f"{value:,.0f}" if isinstance(value, float) else value
            print(f"{name:>16}  {shown}")
    return int(not found["agrees"])


def _train_base(arguments: Any) -> int:
    from icl_sim.experiments.training_runs import train_base
    from icl_sim.report.pages import write_report

    steps = {} if arguments.steps is None else {"steps": arguments.steps}
    with _Progress() as progress:
        found = train_base(
            arguments.out,
            seed=arguments.seed,
            replicas=arguments.replicas,
            resume=arguments.resume,
            progress=progress,
            **steps,
        )
    write_report({"pretraining": [found]}, arguments.out)
    if arguments.json:
        _print_json(found)
    else:
        gates = {arguments.seed: found["gate"]} | found["replicas"]
        for seed, gate in gates.items():
            distances = (f"{d['icl_to_bayes']:.3f} at N = {n}" for n, d in gate["sizes"].items())
            outcome = "passed" if gate["passed"] else "FAILED"
            print(f"seed {seed}: gate {outcome}: TV to Bayes {', '.join(distances)}")
        print(f"base: {found['path'] or 'not written'}; {found['cpu_seconds']:.0f} CPU seconds")
    return int(not found["passed"])


def _train_sft(arguments: Any) -> int:
    from icl_sim.experiments.training_runs import fine_tuning_config, train_sft
    from icl_sim.report.pages import write_report

    names = ("rank", "optimizer", "learning_rate", "steps")
    config = fine_tuning_config(arguments.adapt, **{n: getattr(arguments, n) for n in names})
    with _Progress() as progress:
        found = train_sft(
            arguments.task,
            sizes=arguments.sizes,
            tasks=arguments.tasks,
            seeds=arguments.seeds,
            config=config,
            seed=arguments.seed,
            out=arguments.out,
            resume=arguments.resume,
            progress=progress,
        )
    page = write_report({"training": [found]}, arguments.out)
    if arguments.json:
        _print_json(found)
    else:
        for size, curves in found["curves"].items():
            ends = (
                f"{curve[-1]:.4f} to {name}" for name, curve in curves.items() if name != "loss"
            )
            print(f"N = {size}: mean TV {', '.join(ends)}")
        print(f"{found['copies']} copies, {found['tokens_per_second']:,} tokens/s; report: {page}")
    return 0


def _list(arguments: Any) -> int:
    from icl_sim.inventory import inventory

    found = inventory()
    if arguments.json:
        _print_json(found)
        return 0
    for kind, items in found.items():
        print(f"{kind}:")
        for item in items:
            line = item if isinstance(item, str) else "  ".join(str(v) for v in item.values())
            print(f"  {line}")
    return 0


def _export(arguments: Any) -> int:
    from icl_sim.exports import export

    with _Progress() as progress:
        written = export(arguments.directory, progress=progress)
    if arguments.json:
        _print_json({"constructions": written})
    else:
        print(f"{sum(map(len, written.values()))} files in {arguments.directory}:")
        for name in written:
            print(f"  {name}: .safetensors, .json, .html")
    return 0


def _doctor(arguments: Any) -> int:
    from icl_sim.inventory import examine

    findings = examine()
    if arguments.json:
        _print_json(findings)
    else:
        for name, value in findings.items():
            print(f"{name:>24}  {value}")
    return int(not findings["exact products"])


def _print_json(value: Any) -> None:
    print(json.dumps(value, sort_keys=True, allow_nan=False))
