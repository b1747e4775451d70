"""A service on this machine that answers as it is told to."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import soundfile

RATE_HZ = 16_000


def sound(
    seconds: float = 0.1, *, seed: int = 0, format: str = "WAV", channels: int = 1, **options: Any
) -> bytes:
    """The bytes of a recording of noise."""
    rng = np.random.default_rng(seed)
    samples = rng.uniform(-0.5, 0.5, (round(seconds * RATE_HZ), channels))
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format=format, **options)
    return file.getvalue()


def md5(data: bytes) -> str:
    return f"md5:{hashlib.md5(data, usedforsecurity=False).hexdigest()}"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Answer:
    """One answer. `sent` cuts the body short although its whole length is announced."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    sent: int | None = None
    announced: bool = True


@dataclass
class Asked:
    """One request that came."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


def as_json(record: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(
        status, json.dumps(record).encode(), {"Content-Type": "application/json", **headers}
    )


class Service:
    """Answers each path with its script, the last answer again and again; 404 elsewhere."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._scripts: dict[str, list[Answer | Callable[[Asked], Answer]]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        # A client that has had enough hangs up: no news.
        self._server.handle_error = lambda *_: None
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def script(self, path: str, *answers: Answer | Callable[[Asked], Answer]) -> str:
        """Set what a path is answered with; return its address."""
        self._scripts[path] = list(answers)
        return self.address + path

    def file(
        self, path: str, data: bytes, *, cuts: tuple[int, ...] = (), tag: str = '"one"',
        ranges: bool = True, before: tuple[Answer, ...] = (),
    ) -> str:  # fmt: skip
        """Serve a file with Range and If-Range; the first answers end after `cuts` bytes."""
        left = list(cuts)

        def answer(asked: Asked) -> Answer:
            start, status, headers = 0, 200, {"ETag": tag} if tag else {}
            wanted = asked.headers.get("range", "")
            fresh = asked.headers.get("if-range", tag) == tag
            if wanted and ranges and fresh:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(data):
                    return Answer(416, headers={"Content-Range": f"bytes */{len(data)}"})
                status = 206
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return Answer(status, data[start:], headers, left.pop(0) if left else None)

        return self.script(path, *before, answer)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _next(self, asked: Asked) -> Answer:
        script = self._scripts.get(asked.path, [Answer(404)])
        answer = script.pop(0) if len(script) > 1 else script[0]
        return answer(asked) if callable(answer) else answer

    def _handler(service) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                headers = {key.lower(): value for key, value in self.headers.items()}
                asked = Asked(parts.path, query, headers)
                service.asked.append(asked)
                answer = service._next(asked)
                self.send_response(answer.status)
                for key, value in answer.headers.items():
                    self.send_header(key, value)
                if answer.announced:
                    self.send_header("Content-Length", str(len(answer.body)))
                if answer.sent is not None or not answer.announced:
                    self.send_header("Connection", "close")
                    self.close_connection = True
                self.end_headers()
                self.wfile.write(answer.body[: answer.sent])

            def log_message(self, *arguments: Any) -> None:
                pass

        return Handler
