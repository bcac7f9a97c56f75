"""Pages with hostile names in a real browser: no script of theirs runs, no request leaves."""

from __future__ import annotations

import http.server
import re
import shutil
import subprocess
import threading
from dataclasses import replace

import pytest

from constructions import CONSTRUCTIONS
from icl_sim.emulation.machine_files import find_machine
from icl_sim.emulation.turing import build
from icl_sim.report.card import render_card
from icl_sim.report.findings import Findings
from icl_sim.report.pages import render
from icl_sim.report.viewer import render as render_viewer
from icl_sim.report.viewer import run_data, write_viewer

BROWSERS = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
CHROMIUM = next(filter(None, BROWSERS), None)
HOSTILE = (
    "</script><script>document.title='RAN'</script><img src=http://127.0.0.1:{port}/img "
    "onerror=\"document.title='RAN'\"><svg onload=\"document.title='RAN'\">"
    "<link rel=stylesheet href=http://127.0.0.1:{port}/css>{{{{7*7}}}}<!--\u2028'\"&amp;"
)


def hostile(port):
    return HOSTILE.format(port=port)


@pytest.fixture(scope="module")
def server():
    """A server that a page must not ask; what was asked of it."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving.server_address[1], asked
        serving.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def pages(server, tmp_path_factory):
    """The viewer and the card of things with hostile names, and the viewer of a plain one."""
    name = hostile(server[0])
    folder = tmp_path_factory.mktemp("pages")
    machine = find_machine("bb2")
    built = build(machine, construction="single", steps=None)
    found = {"card": render_card(replace(CONSTRUCTIONS["lookup"](vocab=2), name=name))}
    for key, called in (("viewer", name), ("plain", "bb2")):
        named = replace(machine, name=called)
        path = write_viewer(named, "", built, folder / "viewer.html", steps=20)
        found[key] = path.read_text()
    return found


def test_no_page_allows_a_script_that_is_not_ours(pages):
    for text in (*pages.values(), render(Findings())):
        (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
        assert policy.startswith("default-src 'none';")
        assert "unsafe-inline" not in policy.replace("style-src 'unsafe-inline'", "")
        assert "<script>document" not in text


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_hostile_names_run_nothing_and_ask_nobody(pages, tmp_path, server):
    port, asked = server
    for name in ("viewer", "card"):
        assert "<title>RAN</title>" not in browse(tmp_path, pages[name]), name
    assert asked == []
    # The browser would tell, and our own script runs.
    assert "<title>RAN</title>" in browse(tmp_path, f"<!doctype html><body>{hostile(port)}")
    assert asked
    assert "step 0 of 6" in (plain := browse(tmp_path, pages["plain"]))
    assert "at the end are the interpreter&#39;s" in plain.replace("'", "&#39;")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_viewer_replays_any_step_and_tells_of_another_end(tmp_path):
    machine, steps, step = find_machine("bb5"), 3_000_000, 1_234_567
    data = run_data(machine, "", steps) | {"heads": [], "known": 0, "prompt": 0}
    data |= {"certificate": "", "end": data["end"] | {"sum": data["end"]["sum"] ^ 1}}
    found = browse(tmp_path, render_viewer(data), f"#step={step}")
    trace = machine.run("", step, record=False)
    wanted = f"in state {trace.state} read {trace.symbol(trace.head)}, write"
    assert f"step {step:,} of {steps:,}" in found
    assert wanted in found
    assert f'class="head" title="cell {trace.head}"' in found
    assert "do not trust this page" in found


def browse(tmp_path, text, place=""):
    """The document that a page becomes."""
    path = tmp_path / "page.html"
    path.write_text(text)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri() + place]
    done = subprocess.run([CHROMIUM, *flags], capture_output=True, text=True, timeout=120)
    assert "<html" in done.stdout, done.stderr
    return done.stdout
