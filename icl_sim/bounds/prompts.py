"""How long prompts must be to reach every map (claim C0)."""

from __future__ import annotations

from icl_sim.bounds.arguments import whole


def prompt_length_necessary(*, contexts: int, vocab: int, alphabet: int) -> int:
    """Tokens of the longest prompt by which some base reaches all maps: about m ln V/ln A.

    There are V^m maps from m contexts to V outputs, and a prompt gives one map, whatever the base.
    Prompts of up to L tokens of A kinds are (A^(L+1) - 1)/(A - 1) in number, so this is the least L
    at which they are V^m or more; in integers, without logarithms.

    Args:
      contexts: m >= 1.
      vocab: V >= 2.
      alphabet: A >= 2, the kinds of token that a prompt may hold.

    >>> prompt_length_necessary(contexts=6, vocab=2, alphabet=2)
    6
    >>> prompt_length_necessary(contexts=1000, vocab=49_152, alphabet=49_152)
    1000

    Source: statement C0.prompt-length.
    """
    m, V = whole(contexts, name="contexts", least=1), whole(vocab, name="vocab", least=2)
    A = whole(alphabet, name="alphabet", least=2)
    maps, prompts, length = V**m, 1, 0
    while prompts < maps:
        length += 1
        prompts += A**length
    return length
