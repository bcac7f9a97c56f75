"""Weights on disk: what was written comes back, and whatever was changed is refused."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from constructions import CONSTRUCTIONS, PROGRAMS, Layer
from icl_sim import load_base
from icl_sim.cli import run
from icl_sim.cli.export import export
from icl_sim.errors import InputError
from icl_sim.storage.weights import SEAL, load_weights, pack, save_weights, sealed, unpack

BUILT = CONSTRUCTIONS["lookup"](vocab=2)


def resealed(raw, sidecar, **changes):
    """The sidecar with the changed file's own digest, so that the digest does not catch it."""
    about = json.loads(sidecar) | {"sha256": hashlib.sha256(raw).hexdigest()} | changes
    return json.dumps(about | {SEAL: sealed(about)})


def with_header(raw, change):
    size = int.from_bytes(raw[:8], "little")
    text = change(raw[8 : 8 + size].decode())
    return len(text).to_bytes(8, "little") + text.encode() + raw[8 + size :]


def test_every_flipped_bit_is_refused():
    raw, sidecar = pack(BUILT.spec, BUILT.params)
    for place in np.random.default_rng(0).integers(0, 8 * len(raw), 60):
        damaged = bytearray(raw)
        damaged[place // 8] ^= 1 << (place % 8)
        with pytest.raises(InputError, match=r"expected SHA-256 .*damaged"):
            unpack(bytes(damaged), sidecar, name="x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.replace('"w_out"', '"../w_out"'), r"\.\./w_out"),
        (lambda h: h.replace('"w_out"', '"embed"'), "each name once, got 'embed' twice"),
        (lambda h: h.replace('"F32"', '"I32"', 1), "'dtype': 'F32'"),
        (lambda h: h.replace("{", '{"extra":{},', 1), "missing or unknown: extra"),
        (lambda h: "[" * 100_000, "RecursionError|expected"),
        (lambda h: h.rstrip()[:-1], "expected"),
    ],
)
def test_a_header_that_is_not_the_specs_is_refused(change, message):
    raw, sidecar = pack(BUILT.spec, BUILT.params)
    raw = with_header(raw, change)
    with pytest.raises(InputError, match=message):
        unpack(raw, resealed(raw, sidecar), name="x")


@pytest.mark.parametrize(
    "metadata",
    ['{"a":1}', '{"a":"b"}', '["a"]', '"a"', "null", '{"a":' * 50_000 + "1" + "}" * 50_000],
)
def test_metadata_that_were_put_in_are_refused_by_every_reader(metadata, tmp_path):
    """Those of a stock checkpoint are in test_pretrained_damage.py."""
    raw, sidecar = pack(BUILT.spec, BUILT.params, window=9)
    raw = with_header(raw, lambda h: f'{{"__metadata__":{metadata},' + h[1:])
    (tmp_path / "x.safetensors").write_bytes(raw)
    (tmp_path / "x.json").write_text(resealed(raw, sidecar))
    for read in (load_weights, load_base):
        with pytest.raises(InputError, match=r"x\.safetensors: expected") as caught:
            read(tmp_path / "x")
        assert "\n" not in str(caught.value)
        assert metadata.startswith('{"a":{') or "__metadata__" in str(caught.value)


def test_bytes_behind_the_leaves_are_refused():
    raw, sidecar = pack(BUILT.spec, BUILT.params)
    raw += b"more"
    with pytest.raises(InputError, match="bytes, got"):
        unpack(raw, resealed(raw, sidecar), name="x")


@pytest.mark.parametrize("sidecar", ["", "[]", "{}", '{"sha256": 1, "sha256": 2}', "\u0000"])
def test_a_sidecar_that_is_none_is_refused(sidecar):
    raw, _ = pack(BUILT.spec, BUILT.params)
    with pytest.raises(InputError, match="expected a sidecar with sha256 and spec"):
        unpack(raw, sidecar, name="x")


def test_another_spec_is_refused():
    raw, sidecar = pack(BUILT.spec, BUILT.params)
    other = json.loads(pack(*_parts("lookup", vocab=3))[1])["spec"]
    with pytest.raises(InputError, match="'shape': "):
        unpack(raw, resealed(raw, sidecar, spec=other), name="x")


@pytest.mark.parametrize(
    ("field", "value"), [("loops", 2), ("readout", "logits"), ("epsilon", 1e-5), ("norm", "rms")]
)
def test_a_changed_spec_is_refused_though_the_leaves_fit(field, value):
    raw, sidecar = pack(BUILT.spec, BUILT.params)
    about = json.loads(sidecar)
    about["spec"][field] = value
    with pytest.raises(InputError, match="sidecar_sha256 .* it was changed"):
        unpack(raw, json.dumps(about), name="x")


def test_every_flipped_bit_of_the_sidecar_is_refused():
    raw, sidecar = pack(BUILT.spec, BUILT.params, note="kept")
    for place in np.random.default_rng(1).integers(0, 8 * len(sidecar), 60):
        damaged = bytearray(sidecar.encode())
        damaged[place // 8] ^= 1 << (place % 8)
        text = damaged.decode("latin1")
        try:
            same = json.loads(text) == json.loads(sidecar)
        except ValueError:
            same = False
        if not same:  # a line break may become a space
            with pytest.raises(InputError, match="expected"):
                unpack(raw, text, name="x")


def test_a_sidecar_without_a_seal_is_refused():
    raw, sidecar = pack(BUILT.spec, BUILT.params)
    about = {name: value for name, value in json.loads(sidecar).items() if name != SEAL}
    with pytest.raises(InputError, match="sealed by sidecar_sha256"):
        unpack(raw, json.dumps(about), name="x")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_neither_written_nor_read(value):
    params = {name: leaf.copy() for name, leaf in BUILT.params.items()}
    params["w_out"][0, 0] = value
    with pytest.raises(InputError, match="expected finite weights, got NaN or infinity in w_out"):
        pack(BUILT.spec, params)
    raw, sidecar = pack(BUILT.spec, BUILT.params)
    raw = safetensors.numpy.save(params)
    with pytest.raises(InputError, match="expected finite weights"):
        unpack(raw, resealed(raw, sidecar), name="x")


@pytest.mark.parametrize("scale", [np.nan, np.inf, "x", None, 1j])
def test_a_scale_is_a_finite_number(scale):
    with pytest.raises(ValueError, match="Layer.scale: expected a finite number"):
        Layer(scale=scale)


def test_only_float32_of_the_right_shapes_is_written(tmp_path):
    doubles = {name: leaf.astype(np.float64) for name, leaf in BUILT.params.items()}
    with pytest.raises(InputError, match="expected float32, got float64"):
        save_weights(tmp_path / "x", BUILT.spec, doubles)
    with pytest.raises(InputError, match="missing embed"):
        save_weights(tmp_path / "x", BUILT.spec, {})
    with pytest.raises(InputError, match="save_weights or export"):
        load_weights(tmp_path / "x")


def test_certified_weights_changed_on_disk_are_not_certified(tmp_path):
    params = {name: leaf.copy() for name, leaf in BUILT.params.items()}
    params["w_out"][0] += 1
    save_weights(tmp_path / "x", BUILT.spec, params)  # a whole file, of other weights
    spec, loaded, _ = load_weights(tmp_path / "x")
    with pytest.raises(ValueError, match="lookup: w_out"):
        BUILT.certify(spec, loaded)


def test_export_writes_what_loads_and_certifies(tmp_path, monkeypatch, capsys):
    chosen = {name: CONSTRUCTIONS[name] for name in ("lookup", "perceptron")}
    monkeypatch.setattr("constructions.CONSTRUCTIONS", chosen)
    assert run(["icl-sim", "export", str(tmp_path / "out"), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)["constructions"]
    assert sorted(written) == sorted(chosen)
    assert all(Path(path).is_file() for paths in written.values() for path in paths)
    for name, build in chosen.items():
        spec, params, about = load_weights(tmp_path / "out" / name)
        built = build()
        assert built.certify(spec, params).weights == about["certificate"]["weights"]
        assert about["residual"] == built.residual.sizes
        # Others read the file with the library alone.
        leaves = safetensors.numpy.load_file(tmp_path / "out" / f"{name}.safetensors")
        np.testing.assert_array_equal(leaves["embed"], built.params["embed"])
        page = (tmp_path / "out" / f"{name}.html").read_text()
        assert all(f"<span>{slice_} <b>" in page for slice_ in built.residual.sizes)
        assert page.count("<figure>") == sum(layer.heads for layer in spec.layers)
        assert about["certificate"]["weights"] in page
        links = page.replace("http://www.w3.org/", "").replace("http://creativecommons", "")
        assert "<script" not in page
        assert "src=" not in links
    gallery = (tmp_path / "out" / "gallery.html").read_text()
    pages = re.findall(r'<a href="([^":]*)">', gallery)
    assert pages == [f"{name}.html" for name in chosen] + [f"machine-{n}.html" for n in PROGRAMS]
    assert all((tmp_path / "out" / page).is_file() for page in pages)
    assert gallery.count('src="data:image/png') == len(pages)


def test_export_into_a_file_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="expected a directory"):
        export(tmp_path / "taken")


def _parts(name, **options):
    built = CONSTRUCTIONS[name](**options)
    return built.spec, built.params


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_path_without_a_name_is_refused(path):
    with pytest.raises(InputError, match="path: expected the name of a file"):
        save_weights(path, BUILT.spec, BUILT.params)
