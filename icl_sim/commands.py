"""One function a command: calls the library, prints what it found, returns the exit code.

Only this module and `icl_sim.cli` print. Heavy imports stand inside the functions, so that
``--help`` answers at once.
"""

from __future__ import annotations

import json
from typing import Any

from icl_sim.errors import InputError
from icl_sim.execution.progress import Progress


def run_reproduce(arguments: Any) -> int:
    """The main job: all verdicts, comparisons and checks, and the report."""
    from icl_sim.reproduction import reproduce

    with Progress() as progress:
        results = reproduce(
            profile=arguments.profile,
            seed=arguments.seed,
            out=arguments.out,
            resume=arguments.resume,
            progress=progress,
        )
    return _report(results, arguments.out, arguments)


def run_verify(arguments: Any) -> int:
    """Judges claims or single statements."""
    from icl_sim.reproduction import verify

    _require_out(arguments)
    with Progress() as progress:
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


def run_report(arguments: Any) -> int:
    """Writes the pages of a run from its records."""
    from icl_sim.reproduction import recorded

    return _report(recorded(arguments.directory), arguments.directory, arguments)


def _report(results: dict[str, Any], directory: str, arguments: Any) -> int:
    """Writes the pages of an audit, shows it, and returns the exit code."""
    page = _pages(results, directory)
    _show(results | {"report": str(page)}, arguments)
    if not arguments.json:
        print(f"report: {page}")
    return _failed(results)


def _pages(results: dict[str, Any], directory: str) -> Any:
    """The path of the report; in a run of several processes the first one writes it."""
    from icl_sim.execution.hosts import is_first
    from icl_sim.report.pages import write_report

    return write_report(results, directory) if is_first() else None


def run_compare(arguments: Any) -> int:
    """Every route from the same data, side by side."""
    from icl_sim.reproduction import compare_routes

    _require_out(arguments)
    names = {} if arguments.predictors is None else {"predictors": arguments.predictors}
    with Progress() as progress:
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
    page = _pages({"comparisons": [found]}, arguments.out) if arguments.out else None
    if arguments.json:
        _print_json(found)
        return 0
    width = max(map(len, found["predictors"]))
    for size, matrix in found["matrix"].items():
        print(f"mean total variation, N = {size} (columns in the order of the rows)")
        for row, cells in matrix.items():
            print(f"{row:>{width}}", *(f"{cells[column]['mean']:.4f}" for column in matrix))
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


def run_sample_size(arguments: Any) -> int:
    """How many demonstrations suffice per context."""
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


def run_emulate(arguments: Any) -> int:
    """Runs a machine through a transformer's weights."""
    if arguments.construction == "looped":
        return _emulate_looped(arguments)
    from icl_sim.emulation.turing import build, emulate, find_machine

    machine = find_machine(arguments.machine.strip())
    with Progress() as progress:
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
    from icl_sim.emulation.looped import emulate_looped

    if arguments.trace:
        raise InputError("--trace: expected a Turing machine, the viewer draws its tape")
    with Progress() as progress:
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


def run_train_base(arguments: Any) -> int:
    """Pretrains a base; it is written if it passes the gate."""
    from icl_sim.training.runs import train_base

    steps = {} if arguments.steps is None else {"steps": arguments.steps}
    with Progress() as progress:
        found = train_base(
            arguments.out,
            seed=arguments.seed,
            replicas=arguments.replicas,
            resume=arguments.resume,
            progress=progress,
            **steps,
        )
    _pages({"pretraining": [found]}, arguments.out)
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


def run_train_sft(arguments: Any) -> int:
    """Fine-tunes the base on tables, all copies at once."""
    from icl_sim.training.runs import fine_tuning_config, train_sft

    names = ("rank", "optimizer", "learning_rate", "steps")
    config = fine_tuning_config(arguments.adapt, **{n: getattr(arguments, n) for n in names})
    with Progress() as progress:
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
    page = _pages({"training": [found]}, arguments.out)
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


def run_list(arguments: Any) -> int:
    """Names of everything that this installation holds."""
    from icl_sim.inventory import inventory

    found = inventory()
    if arguments.json:
        _print_json(found)
        return 0
    for kind, items in found.items():
        print(f"{kind}:")
        for item in items:
            values = [item] if isinstance(item, str) else item.values()
            print(" ", "  ".join(" ".join(v) if isinstance(v, list) else str(v) for v in values))
    return 0


def run_export(arguments: Any) -> int:
    """Weights, sidecars and cards of every construction, or the records of a run, as files."""
    if arguments.records is not None:
        return _export_records(arguments)
    from icl_sim.exports import export

    with Progress() as progress:
        written = export(arguments.directory, progress=progress)
    if arguments.json:
        _print_json({"constructions": written})
    else:
        print(f"{sum(map(len, written.values()))} files in {arguments.directory}:")
        for name in written:
            print(f"  {name}: .safetensors, .json, .html")
    return 0


def _export_records(arguments: Any) -> int:
    from pathlib import Path

    from icl_sim.storage.parquet import write_parquet

    path = Path(arguments.directory) / "records.parquet"
    rows, columns = write_parquet(arguments.records, path)
    if arguments.json:
        _print_json({"path": str(path), "rows": rows, "columns": columns})
    else:
        print(f"{path}: {rows:,} rows, {len(columns)} columns")
    return 0


def run_doctor(arguments: Any) -> int:
    """Versions, devices and arithmetic of this machine."""
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
