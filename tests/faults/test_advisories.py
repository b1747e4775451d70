"""That the check for known vulnerabilities fails for one, and never passes in silence."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.faults.advisories import ask, judge

SAFE = {"name": "click", "version": "8.5.1", "vulns": []}
UNKNOWN = {"name": "numpy", "skip_reason": "Dependency not found on PyPI"}
FLAWED = {
    "name": "requests",
    "version": "2.30.0",
    "vulns": [{"id": "PYSEC-2023-74", "fix_versions": ["2.31.0"], "aliases": []}],
}


@pytest.mark.parametrize(
    ("packages", "good", "words"),
    [
        ([SAFE, SAFE], True, "2 packages checked, 0 vulnerabilities"),
        ([SAFE, FLAWED], False, "requests 2.30.0: PYSEC-2023-74, mended in 2.31.0"),
        ([UNKNOWN, FLAWED], False, "not known to PyPI: numpy"),
        ([SAFE, UNKNOWN], True, "1 packages checked, 0 vulnerabilities known; not known to PyPI"),
        ([UNKNOWN, UNKNOWN], True, "not checked"),
        ([], False, "no package"),
    ],
)
def test_what_is_said_of_the_answers(packages: list[Any], good: bool, words: str) -> None:
    lines, may_go_on = judge(packages)
    assert may_go_on is good
    assert words in "\n".join(lines)


# --- pip-audit itself, asking a service of this test ---------------------------------------------


@pytest.fixture
def service() -> Iterator[Callable[[int, dict[str, Any]], list[str]]]:
    """Start an advisory service that always gives one answer; return pip-audit's options for it."""
    servers = []

    def start(status: int, answer: dict[str, Any]) -> list[str]:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return ["--osv-url", f"http://127.0.0.1:{server.server_port}/"]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


FLAW = {
    "vulns": [{
        "id": "GHSA-1",
        "affected": [{
            "package": {"name": "requests", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3"}]}],
        }],
    }]
}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "answer", "text", "good", "words"),
    [
        (200, {}, "requests==2.30.0\n", True, "1 packages checked, 0 vulnerabilities"),
        (200, FLAW, "requests==2.30.0\n", False, "requests 2.30.0: GHSA-1, mended in 3"),
        (500, {}, "requests==2.30.0\n", True, "not checked: the service cannot be reached"),
        (200, {}, "requests>=2\n", False, "pip-audit failed"),
    ],
)
def test_a_service_that_answers(
    service: Any, tmp_path: Path, status: int, answer: Any, text: str, good: bool, words: str
) -> None:
    pytest.importorskip("pip_audit")
    (tmp_path / "pinned.txt").write_text(text)
    options = ["-s", "osv", "--cache-dir", str(tmp_path / "cache"), *service(status, answer)]
    lines, may_go_on = ask(tmp_path / "pinned.txt", options)
    assert may_go_on is good
    assert words in "\n".join(lines)


def test_no_network(tmp_path: Path) -> None:
    pytest.importorskip("pip_audit")
    (tmp_path / "pinned.txt").write_text("requests==2.30.0\n")
    options = ["-s", "osv", "--osv-url", "http://127.0.0.1:9/", "--cache-dir", str(tmp_path / "c")]
    (line,), may_go_on = ask(tmp_path / "pinned.txt", options)
    assert may_go_on
    assert "not checked: the service cannot be reached" in line
