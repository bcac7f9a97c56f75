"""The language: random programs equal their interpreter; what cannot be certified is refused."""

from __future__ import annotations

import operator
import random
from functools import reduce

import numpy as np
import pytest
from cases_rasp import every_input, random_program

from constructions import CONSTRUCTIONS, forward, side_by_side
from constructions.rasp import (
    Aggregate,
    Comparison,
    Full,
    LinearSequenceMap,
    Map,
    Select,
    SelectorWidth,
    compile_program,
    indices,
    length,
    numerical,
    tokens,
)
from constructions.rasp.library import fraction_before, histogram, reverse, shift
from constructions.rasp.lowering import Lowering
from icl_sim import load

EQ, LT, LEQ, TRUE = Comparison.EQ, Comparison.LT, Comparison.LEQ, Comparison.TRUE
same = Select(tokens, tokens, EQ)


def mean_of(sop):
    return numerical(Aggregate(Select(tokens, tokens, TRUE), sop, 0))


def answered(built, xs):
    return built.decode(forward(built.spec, built.params, built.encode(xs)))


def agree(seed, alphabet, longest, *, causal, depth=4):
    """Different answers of a random program, compiled; each is its interpreter's.

    Where the interpreter refuses an input, so does the compiled program.
    """
    program = random_program(random.Random(seed), depth)
    built = compile_program(program, length=longest, alphabet=alphabet, causal=causal)
    answers = set()
    for xs in every_input(alphabet, longest):
        try:
            expected = program(xs, causal=causal)
        except ValueError:
            with pytest.raises(ValueError, match="expected equal values"):
                built.encode(xs)
        else:
            assert answered(built, xs) == expected, (seed, causal, xs)
            answers.add(tuple(expected))
    return answers


def test_random_programs_equal_their_interpreter():
    answers = [agree(seed, "ab", 3, causal=bool(seed % 2)) for seed in range(40)]
    assert np.mean([len(found) > 3 for found in answers]) > 0.5  # most depend on their input


@pytest.mark.slow
@pytest.mark.parametrize("causal", [False, True])
def test_two_hundred_programs_equal_their_interpreter_on_all_inputs(causal):
    for seed in range(200):
        agree(seed, "abc", 4, causal=causal)


def test_a_default_may_be_any_value_and_none_is_one():
    ahead = Select(indices, indices, lambda key, query: key == query + 2)
    for default in (None, "z", 7, "a"):
        program = Aggregate(ahead, tokens, default)
        built = compile_program(program, length=4, alphabet="ab")
        assert answered(built, "abba") == ["b", "a", default, default]
    # Later operations see it: None passes through maps, a predicate may ask for it.
    is_none = Select(Aggregate(ahead, tokens), tokens, lambda key, query: key is None)
    built = compile_program(SelectorWidth(is_none), length=4, alphabet="ab")
    assert answered(built, "abba") == [2, 2, 2, 2]


def test_selectors_combine_as_their_tables_do():
    earlier = Select(indices, indices, LT)
    both, either, neither = same & earlier, same | earlier, ~(same | earlier)
    for causal in (False, True):
        for selector in (both, either, neither, ~both & either, both | ~either):
            program = SelectorWidth(selector)
            built = compile_program(program, length=5, alphabet="abc", causal=causal)
            for xs in ("abacb", "ccc", "a", ""):
                assert answered(built, xs) == program(xs, causal=causal)


def test_a_mean_is_exact_and_may_be_of_any_numbers():
    ages = numerical(Map({"a": 0.25, "b": -3, "c": 11}.get, tokens))
    mean = numerical(Aggregate(Select(indices, indices, LEQ), ages, 0))
    built = compile_program(mean, length=6, alphabet="abc")
    assert answered(built, "cab") == [11, 5.625, 2.75]
    twice = numerical(LinearSequenceMap(mean, ages, 2, -0.5))
    built = compile_program(twice > 1, length=6, alphabet="abc")
    assert answered(built, "cabb") == twice_by_hand("cabb")


def twice_by_hand(xs):
    ages = [{"a": 0.25, "b": -3, "c": 11}[x] for x in xs]
    return [2 * sum(ages[: i + 1]) / (i + 1) - age / 2 > 1 for i, age in enumerate(ages)]


def test_equal_functions_are_one_node_and_maps_of_maps_one_table():
    graph = Lowering("abc", 5)
    first, second = (graph.node(SelectorWidth(Select(tokens, tokens, TRUE))) for _ in range(2))
    assert first is second is graph.node(length)
    deep = Map(lambda n: n % 3 == 0, 2 * (length - 1) + 1)
    assert len(compile_program(deep, length=5, alphabet=2).spec.layers) == 1
    # The difference of two integers takes a unit a difference, not one a pair.
    built = compile_program(length - indices, length=30, alphabet=2)
    assert built.spec.layers[1].hidden < 70


def test_sums_of_means_over_one_selector_are_a_mean():
    opens, closes = fraction_before(tokens == "("), fraction_before(tokens == ")")
    graph = Lowering("()", 9)
    together = graph.node(numerical(LinearSequenceMap(opens, closes, 1, -1)))
    apart = graph.node(
        numerical(LinearSequenceMap(opens, numerical(Map(lambda x: x * x, closes)), 1, -1))
    )
    assert len(together.values) < len(apart.values)


@pytest.mark.parametrize(
    ("program", "options", "words"),
    [
        (mean_of(numerical(tokens)), {"length": 1500}, "more than 200,000 values at length 1500"),
        (fraction_before(tokens == 1), {"length": 250}, "cannot be certified at length 250"),
        (shift(tokens), {"length": 5000}, "5,000 values, expected at most 4,096"),
        (
            SelectorWidth(same | Select(indices, indices, LT)),
            {"length": 800},
            "on 3 x 800 x 3 x 800",
        ),
        (numerical(Aggregate(Select(tokens, indices, EQ), numerical(tokens))), {}, "a number as"),
        (numerical(Map(lambda x: None, tokens)), {}, "it may be None"),
        (Map(lambda x: [x], tokens), {}, "expected None, a bool, number, string or tuple"),
        (Map(lambda x: x.lower(), tokens), {}, "map: its function failed on 0: AttributeError"),
        (reduce(lambda x, i: Map(abs, x) + i, range(900), tokens), {}, "nested too deeply"),
        (Select(tokens, tokens, EQ), {}, "program: expected an S-operation"),
        (Map(lambda x: x if x else True, tokens), {}, "True and False, or 1 and 0, not both"),
        (tokens, {"length": 0}, "length: expected at least 1"),
        (tokens, {"alphabet": "aa"}, "alphabet: expected different values"),
        (tokens, {"alphabet": 2.5}, "alphabet: expected a number of tokens or their values"),
        (tokens, {"alphabet": [True, 0, 1]}, "alphabet: expected different values"),
        (reverse(), {"length": 3000}, "a table of 3,000 x 3,000 values"),
    ],
)
def test_what_cannot_be_held_or_certified_is_refused_in_one_line(program, options, words):
    options = {"length": 6, "alphabet": 3} | options
    with pytest.raises(ValueError, match=words) as caught:
        compile_program(program, **options)
    assert "\n" not in str(caught.value)


def test_more_weights_than_fit_are_refused(monkeypatch):
    monkeypatch.setattr("constructions.rasp.compiler.MOST_WEIGHTS", 1000)
    with pytest.raises(ValueError, match=r"reverse: 7,\d{3} weights at length 9, expected at most"):
        compile_program(reverse(), length=9, alphabet=2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Map(3, tokens), "map: expected a function, got 3"),
        (lambda: Map(operator.neg, 3), "map: expected an S-operation, got 3"),
        (lambda: Aggregate(tokens, tokens), "aggregate: expected a selector"),
        (lambda: same & tokens, "expected a selector"),
        (lambda: Select(tokens, tokens, None), "select: expected a function, got None"),
        (lambda: Full([1]), "full: expected None, a bool"),
        (lambda: LinearSequenceMap(tokens, tokens, "a", 1), "expected a number as factor"),
        (lambda: numerical(same), "rasp: expected an S-operation"),
        (lambda: tokens.named("--"), "expected a name with a letter"),
        (lambda: CONSTRUCTIONS["rasp"](program="revers"), "program: expected one of addition"),
        (lambda: CONSTRUCTIONS["rasp"](program="dyck-2", alphabet=3), "alphabet: expected 4 to 30"),
    ],
)
def test_a_malformed_program_is_refused_in_one_line(make, words):
    with pytest.raises(ValueError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_malformed_input_is_refused_in_one_line():
    built = compile_program(reverse(), length=4, alphabet="ab")
    with pytest.raises(ValueError, match=r"token 1: expected one of 'a', 'b', got 'c'"):
        built.encode("ac")
    with pytest.raises(ValueError, match="problem: expected a sequence of tokens, got 3"):
        built.encode(3)
    with pytest.raises(ValueError, match="length: expected at most 5 .*, got 6"):
        built.encode("ababa")


def test_an_input_without_meaning_is_refused_and_others_are_not():
    last = Aggregate(Select(tokens, tokens, LT), tokens, 0)  # of several smaller tokens no one
    built = compile_program(last, length=4, alphabet=4)
    assert answered(built, [1, 0, 1, 0]) == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="expected equal values where position 2 selects, got 0"):
        built.encode([1, 0, 2])
    # Where the table proves that one key is selected nothing is asked of the input.
    sure = compile_program(reverse(), length=4, alphabet=4)
    assert "refuses" in built.proof
    assert "refuses" not in sure.proof


def test_the_certificate_reads_the_weights():
    built = compile_program(histogram(), length=30, alphabet="abc")
    assert built.certificate.limits == {"length": 31}
    assert built.certificate.error(length=31) == 0
    text = built.explain()
    assert "histogram_share := 1 / (1 + number selected) where tokens fits tokens" in text
    # A gate that opens too early is no weight of the program.
    params = dict(built.params)
    params["layer_0.b_gate"] = params["layer_0.b_gate"] + np.float32(2**-10)
    with pytest.raises(ValueError, match=r"histogram: layer_0\.b_gate"):
        built.certify(built.spec, params)


@pytest.mark.parametrize(
    ("program", "scale"),
    [(reverse(), 8.0), (histogram(), 16.0), (mean_of(tokens == 1), 16.0)],
    ids=["one-hot", "width", "mean"],
)
def test_scores_too_near_each_other_are_refused(program, scale, monkeypatch):
    compile_program(program, length=20, alphabet=2)
    monkeypatch.setattr("constructions.rasp.writing.SCALE", scale)
    with pytest.raises(ValueError, match="cannot be certified at length 20"):
        compile_program(program, length=20, alphabet=2)


def test_margins_shrink_with_the_length_until_they_are_too_small():
    def margin(n):
        built = compile_program(fraction_before(tokens == 1) > 0.5, length=n, alphabet=2)
        return min(record.margin for record in built.certificate.records)

    found = [margin(n) for n in (10, 50, 250)]
    assert found == sorted(found, reverse=True)
    assert found[-1] > 0


@pytest.mark.parametrize("name", ["histogram", "reverse"])  # without position features, and with
def test_a_program_beside_a_hand_made_learner(name):
    program = CONSTRUCTIONS["rasp"](program=name, length=12, alphabet=3)
    lookup = CONSTRUCTIONS["lookup"](vocab=3, length=13)
    for pair in ((program, lookup), (lookup, program)):
        both = side_by_side(*pair)
        stream = [0, 1, 0, 2, 0, 1]
        problems = {program: ["abc"[i] for i in stream], lookup: {"stream": stream}}
        problem = dict(zip(("first", "second"), map(problems.get, pair), strict=True))
        outputs = forward(both.spec, both.params, both.encode(problem))
        found, expected = both.decode(outputs), both.oracle(problem)
        for part, built in zip(("first", "second"), pair, strict=True):
            if built is program:
                assert found[part] == expected[part]
            else:
                np.testing.assert_allclose(found[part], expected[part], atol=1e-6)


def test_flax_runs_it_and_its_slices_have_names():
    built = compile_program(histogram(), length=4, alphabet="ab")
    model, params = load(built)
    prompt = built.encode("aba")
    outputs, held = model.apply({"params": params}, prompt, capture=built.residual)
    assert built.decode(outputs) == [2, 1, 2]
    assert held["resid_post", 0, "histogram"].argmax(axis=-1).tolist()[1:] == [1, 0, 1]
    # The start token weighs as much as each token that is selected.
    np.testing.assert_allclose(held["pattern", 0][0][1], [1 / 3, 1 / 3, 0, 1 / 3], atol=1e-7)
