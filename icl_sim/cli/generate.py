"""``generate``: what a language model writes behind a prompt."""

from __future__ import annotations

from typing import Any

from icl_sim.cli import flags, output
from icl_sim.execution.progress import ProgressBar


def add(commands: Any) -> None:
    """Adds the command and its flags."""
    about = "what a language model writes behind a prompt"
    parser = flags.add_command(commands, "generate", run, about)
    parser.add_argument(
        "--base", default="smollm2", metavar="MODEL", help="smollm2, base, a directory, a .gguf"
    )
    parser.add_argument(
        "--prompt", action="append", required=True, metavar="TEXT", help="may come several times"
    )
    parser.add_argument(
        "--prefix", default="", metavar="TEXT", help="in front of all prompts, read once"
    )
    parser.add_argument("--max-tokens", type=int, default=64, metavar="N", help="at most (64)")
    parser.add_argument(
        "--temperature", type=float, default=0.0, metavar="T", help="0, the default, is greedy"
    )
    parser.add_argument("--top-k", type=int, default=0, metavar="K", help="of the K likeliest")
    parser.add_argument(
        "--top-p", type=float, default=1.0, metavar="P", help="of the likeliest of mass P (1)"
    )
    parser.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="ends an answer; several times"
    )


def run(arguments: Any) -> int:
    """Prints the answers, and the speed."""
    import jax

    from icl_sim.decoding.token_sampling import Sampling
    from icl_sim.pretrained import from_pretrained, generate_text

    sampling = Sampling(arguments.temperature, arguments.top_k, arguments.top_p)
    model, params, tokenizer = from_pretrained(arguments.base)
    with ProgressBar() as progress:
        found = generate_text(
            model,
            params,
            tokenizer,
            arguments.prompt,
            max_tokens=arguments.max_tokens,
            sampling=sampling,
            stop=arguments.stop,
            prefix=arguments.prefix,
            key=jax.random.key(arguments.seed),
            progress=progress,
        )
    if arguments.json:
        output.print_json(found)
        return 0
    for prompt, text in zip(found.prompts, found.texts, strict=True):
        print(f"{prompt}{text}")
    print(f"{sum(found.tokens)} tokens, {found.tokens_per_second:.1f} tokens/s")
    return 0
