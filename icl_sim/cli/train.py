"""``train base`` and ``train sft``: pretraining a base, and fine-tuning it."""

from __future__ import annotations

from typing import Any

from icl_sim.cli import flags, listing, output
from icl_sim.execution.progress import ProgressBar


def add(commands: Any) -> None:
    """Adds the two commands and their flags."""
    about = "pretrain a base, or fine-tune it"
    train = commands.add_parser("train", help=about, description=about)
    kinds = train.add_subparsers(required=True, metavar="base|sft", parser_class=flags.Parser)
    about = "pretrain a base; it is written if it passes the gate"
    base = flags.add_command(kinds, "base", run_base, about)
    base.add_argument("--steps", type=int, default=None, metavar="N", help="of pretraining")
    base.add_argument(
        "--replicas", type=int, default=0, metavar="R", help="seeds gated as well (0)"
    )
    about = "fine-tune the base on tables, all copies at once"
    sft = flags.add_command(kinds, "sft", run_sft, about)
    sft.add_argument("--task", default="english", metavar="T", help="tables of list (english)")
    sizes = "demonstrations (16 64)"
    sft.add_argument("--sizes", type=int, nargs="+", default=[16, 64], metavar="N", help=sizes)
    sft.add_argument("--tasks", type=int, default=4, metavar="N", help="tables (4)")
    sft.add_argument("--seeds", type=int, default=1, metavar="S", help="data sets of each (1)")
    leaves = "the leaves that move: all (full, the default), LoRA beside them, or the output layer"
    sft.add_argument("--adapt", default="full", metavar="full|lora|head", help=leaves)
    sft.add_argument("--rank", type=int, default=None, metavar="R", help="of LoRA (4)")
    usual = "as the base is usually fine-tuned, unless told"
    sft.add_argument("--optimizer", default=None, metavar="adam|sgd", help="adam unless told")
    sft.add_argument("--learning-rate", type=float, default=None, metavar="X", help=usual)
    sft.add_argument("--steps", type=int, default=None, metavar="N", help=usual)
    for parser in (base, sft):
        flags.add_out(parser, default="out", about="results and report")


def run_base(arguments: Any) -> int:
    """Pretrains a base; it is written if it passes the gate."""
    from icl_sim.report.findings import Findings
    from icl_sim.training.runs import train_base

    steps = {} if arguments.steps is None else {"steps": arguments.steps}
    with ProgressBar() as progress:
        found = train_base(
            arguments.out,
            **flags.chosen(arguments, "seed", "replicas", "resume"),
            progress=progress,
            **steps,
        )
    output.pages(Findings(pretraining=(found,)), arguments.out)
    if arguments.json:
        output.print_json(found)
    else:
        gates = {arguments.seed: found.gate, **found.replicas}
        for seed, gate in gates.items():
            distances = (f"{d.icl_to_bayes:.3f} at N = {n}" for n, d in gate.sizes.items())
            outcome = "passed" if gate.passed else "FAILED"
            right = (f"{share:.3f} of {kind}" for kind, share in gate.streams.items())
            print(f"seed {seed}: gate {outcome}: TV to Bayes {', '.join(distances)}")
            print(f"  right: {', '.join(right)}")
        print(f"base: {found.path or 'not written'}; {found.cpu_seconds:.0f} CPU seconds")
    return int(not found.passed)


def run_sft(arguments: Any) -> int:
    """Fine-tunes the base on tables, all copies at once."""
    listing.refuse_typos(task=arguments.task, kinds=("table",))
    from icl_sim.report.findings import Findings
    from icl_sim.training.runs import fine_tuning_config, train_sft

    options = flags.chosen(arguments, "rank", "optimizer", "learning_rate", "steps")
    config = fine_tuning_config(arguments.adapt, **options)
    with ProgressBar() as progress:
        found = train_sft(
            arguments.task,
            config=config,
            **flags.chosen(arguments, "sizes", "tasks", "seeds", "seed", "out", "resume"),
            progress=progress,
        )
    page = output.pages(Findings(training=(found,)), arguments.out)
    if arguments.json:
        output.print_json(found)
        return 0
    for size, curves in found.curves.items():
        ends = (f"{curve[-1]:.4f} to {name}" for name, curve in curves.items() if name != "loss")
        print(f"N = {size}: mean TV {', '.join(ends)}")
    print(f"{found.copies} copies, {found.tokens_per_second:,} tokens/s; report: {page}")
    return 0
