"""Blueprints: what heads and units compute, and which weights are taken for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from constructions import Residual, forward
from constructions.blueprint import Blueprint, Head, LayerBlueprint
from constructions.certificate import bilinear, value_map
from constructions.gadgets import clear, embedding, move, product, signed_product

R = Residual(one=1, key=3, square=1, flag=1, source=2, target=2, found=1)
SCORE = {("key", "key"): 2.0, ("one", "square"): -1.0, ("one", "flag"): -0.5}
VALUE = {("source", "target"): 1.0, ("one", "found"): 3.0, ("flag", "found"): -2.0}


def blueprint(head):
    return Blueprint(
        residual=R,
        embed=embedding(R, R),
        layers=(LayerBlueprint((head,)),),
        out={"target": np.eye(2)},
        inputs="vectors",
    )


def test_a_compact_head_computes_the_same_in_fewer_columns():
    wide, narrow = (blueprint(Head(SCORE, VALUE, compact=compact)) for compact in (False, True))
    sizes = [(p.spec.layers[0].key_size, p.spec.layers[0].value_size) for p in (wide, narrow)]
    assert sizes == [(5, 4), (4, 3)]
    first, second = wide.build(), narrow.build()
    np.testing.assert_array_equal(
        bilinear(wide.spec, first, 0, 0), bilinear(narrow.spec, second, 0, 0)
    )
    np.testing.assert_array_equal(value_map(first, 0, 0), value_map(second, 0, 0))


def test_other_factors_of_a_head_are_the_same_head_but_not_exactly_the_same_weights():
    plan = blueprint(Head(SCORE, VALUE))
    params = plan.build()
    plan.verify_exactly("test", plan.spec, params)
    other = params | {"layer_0.w_q": 2 * params["layer_0.w_q"]}
    other["layer_0.w_k"] = params["layer_0.w_k"] / 2
    plan.verify("test", plan.spec, other)
    with pytest.raises(ValueError, match=r"test: layer_0.w_q\[0, 0, 3\]: expected 1, got 2"):
        plan.verify_exactly("test", plan.spec, other)
    less = params | {"layer_0.w_q": params["layer_0.w_q"] / 2}
    with pytest.raises(ValueError, match=r"test: layer_0.w_q\[0, 0, 3\]: expected 1, got 0.5"):
        plan.verify_exactly("test", plan.spec, less)
    with pytest.raises(ValueError, match="the spec is not that of the construction"):
        plan.verify_exactly("test", replace(plan.spec, loops=2), params)


def test_a_window_is_as_wide_as_the_longest_bias():
    layer = LayerBlueprint((Head(SCORE, VALUE), Head(SCORE, VALUE, bias=(0.0, 1.0))))
    plan = replace(blueprint(Head(SCORE, VALUE)), layers=(layer,))
    assert plan.spec.layers[0].window == 2


def run(units, gate, **slices):
    """The residual stream, by name, after one layer of these units on one token."""
    plan = Blueprint(
        residual=R,
        embed=embedding(R, R),
        layers=(LayerBlueprint(units=units, gate=gate),),
        out={name: np.eye(R.width)[R[name]] for name in R.sizes},
        inputs="vectors",
    )
    x = np.zeros((1, R.width))
    for name, values in slices.items():
        x[:, R[name]] = values
    (y,) = forward(plan.spec, plan.build(), x)
    return {name: y[R[name]].tolist() for name in R.sizes}


@pytest.mark.parametrize("gate", ["relu", "hard_sigmoid"])
@pytest.mark.parametrize("sign", [1, -1])
def test_signed_products_are_products_for_both_signs(gate, sign):
    found = run(signed_product(R, "flag", "source", "target"), gate, flag=sign / 2, source=[4, -6])
    assert found["target"] == [2 * sign, -3 * sign]
    total = run(signed_product(R, "flag", "source", "found"), gate, flag=sign / 2, source=[4, -6])
    assert total["found"] == [-sign], "entries add up in a target of one column"


def test_a_product_takes_single_entries_and_a_constant():
    units = (product(R, "flag", ("key", [2, 0]), "target", gain=2.0, plus=1.0),)
    assert run(units, "relu", flag=3, key=[5, 6, 7])["target"] == [48, 36]


def test_moving_and_clearing_leave_nothing_behind():
    units = (move(R, "source", {"target": 2.0}), *clear(R, "source", "flag"))
    found = run(units, "hard_sigmoid", source=[0.1, 7], flag=3)
    assert (found["target"], found["source"], found["flag"]) == ([0.2, 14], [0, 0], [0])


def test_a_slice_ends_before_its_size():
    with pytest.raises(ValueError, match="slice a has 2 columns, got offset 2"):
        Residual(a=2, b=1).column("a", 2)
