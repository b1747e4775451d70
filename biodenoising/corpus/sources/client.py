"""Asking a web service politely: one request at a time, not too often, again when it is busy.

Only https is spoken, and plain http to this machine itself. Addresses in messages are shown without
their query, which may hold a key.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from biodenoising.errors import CorpusError
from biodenoising.storage import printable

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
LARGEST_ANSWER_BYTES = 64 << 20
BLOCK_BYTES = 1 << 18
MESSAGE_CHARACTERS = 200
NO_RETRY_ADVICE = {
    401: "the key was refused; check it",
    403: "this is not open to everybody; look at its page",
    404: "there is no such thing; check the name or number",
    410: "it was taken away",
}
REDIRECTS = 10

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Manners:
    """How often and how long a service is asked; all times in seconds.

    `interval_s` lies between two requests, `retries` is how many times in a row a request is
    repeated, waiting `backoff_s`, then twice that and so on; what a service asks to wait is kept
    up to `longest_wait_s`.
    """

    interval_s: float = 1.0
    retries: int = 5
    backoff_s: float = 1.0
    longest_wait_s: float = 300.0
    connect_s: float = 15.0
    read_s: float = 60.0


@dataclass
class Client:
    """A session with one service. Clocks are given so that tests need not wait.

    `arrived` is called with the bytes of every block of a file that comes.
    """

    manners: Manners = field(default_factory=Manners)
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    arrived: Callable[[int], None] = lambda size: None
    session: requests.Session = field(default_factory=requests.Session)
    _last: float = field(default=-math.inf, init=False)

    def __post_init__(self) -> None:
        self.session.headers["User-Agent"] = "biodenoising (recordings for research)"

    def get_json(self, url: str, parameters: Mapping[str, str | int] | None = None) -> Any:
        """Return the JSON that an address answers with. Raises CorpusError."""
        for attempt in range(self.manners.retries + 1):
            try:
                with self.open(url, parameters=parameters) as response:
                    body = _whole_body(response, url)
                return json.loads(body)
            except (requests.RequestException, OSError) as error:
                self.wait_after_failure(url, attempt, error)
            except (ValueError, RecursionError) as error:
                raise CorpusError(
                    f"{shown(url)}: did not answer with JSON; is the address right?"
                ) from error
        raise AssertionError("the last failure raises")

    def open(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, str | int] | None = None,
        accept: frozenset[int] = frozenset(),
    ) -> requests.Response:
        """Return an answer whose body has not been read; the caller closes it.

        Busy answers and broken connections are tried again. Raises CorpusError for every other
        status than 200 and those of `accept`, and when the retries are used up.
        """
        for attempt in range(self.manners.retries + 1):
            self._keep_interval()
            try:
                response = self._ask(url, headers or {}, parameters or {})
            except requests.RequestException as error:
                self.wait_after_failure(url, attempt, error)
                continue
            if response.status_code == 200 or response.status_code in accept:
                return response
            self._refused(response, url, attempt)
        raise AssertionError("the last failure raises")

    def _ask(
        self, url: str, headers: Mapping[str, str], parameters: Mapping[str, str | int]
    ) -> requests.Response:
        """Ask once, following redirects; each address is checked before it is asked."""
        place = url
        for turn in range(REDIRECTS):
            check_address(place)
            try:
                response = self.session.get(
                    place,
                    params=dict(parameters) if turn == 0 else {},
                    # A compressed body's length is not the file's, and could not be resumed.
                    headers={"Accept-Encoding": "identity", **headers},
                    stream=True,
                    timeout=(self.manners.connect_s, self.manners.read_s),
                    allow_redirects=False,
                )
                if not response.is_redirect:
                    return response
                with response:
                    place = urljoin(place, response.headers["Location"])
            except requests.RequestException:
                raise
            except ValueError as error:
                raise CorpusError(
                    f"{shown(place)}: sends on to something that is no address; look at its page"
                ) from error
        raise CorpusError(f"{shown(url)}: sends from one address to the next without end")

    def wait_after_failure(self, url: str, attempt: int, error: Exception) -> None:
        """Wait before the next attempt, or raise CorpusError after the last."""
        reason = _reason(error)
        if attempt >= self.manners.retries or isinstance(error, requests.exceptions.InvalidURL):
            raise CorpusError(
                f"{shown(url)}: {reason}; check the network and give the same command again"
            ) from error
        logger.info("%s: %s, trying again", shown(url), reason)
        self.sleep(self.manners.backoff_s * 2**attempt)

    def _keep_interval(self) -> None:
        wait = self._last + self.manners.interval_s - self.clock()
        if wait > 0:
            self.sleep(wait)
        self._last = self.clock()

    def _refused(self, response: requests.Response, url: str, attempt: int) -> None:
        """Wait where the service only is busy, raise CorpusError otherwise."""
        status = response.status_code
        with response:
            asked = asked_to_wait_s(response.headers)
            message = _message(response)
        said = f" ({message})" if message else ""
        if status not in BUSY:
            advice = NO_RETRY_ADVICE.get(status, "look at its page")
            raise CorpusError(f"{shown(url)}: answered {status}{said}; {advice}")
        if asked is not None and asked > self.manners.longest_wait_s:
            raise CorpusError(
                f"{shown(url)}: answered {status} and asks to wait {asked:.0f} s; give the same "
                "command again after that"
            )
        if attempt >= self.manners.retries:
            raise CorpusError(
                f"{shown(url)}: answered {status} {attempt + 1} times{said}; give the same command "
                "again later"
            )
        wait = self.manners.backoff_s * 2**attempt if asked is None else asked
        logger.info("%s: answered %d, waiting %.0f s", shown(url), status, wait)
        self.sleep(wait)


def asked_to_wait_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer asks to wait, or None where it does not say.

    Retry-After is a number of seconds or a date; X-RateLimit-Reset (Zenodo) is a Unix time.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    if text:
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
        except (ValueError, TypeError, OverflowError):
            return None
    reset = headers.get("X-RateLimit-Reset", "").strip()
    if headers.get("X-RateLimit-Remaining", "").strip() == "0" and reset.isdecimal():
        return max(0.0, float(reset) - time.time())
    return None


def check_address(url: str) -> None:
    """Raise CorpusError for an address that is neither https nor on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise CorpusError(f"{shown(url)}: cannot be fetched ({error})") from error
    if parts.scheme == "https" and host:
        return
    if parts.scheme == "http" and host in LOOPBACK:
        return
    raise CorpusError(f"{shown(url)}: only https addresses are fetched")


def shown(url: str) -> str:
    """Return an address for a message: without query and credentials, in one line."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is none"
    host = parts.netloc.rpartition("@")[2]
    return printable(f"{parts.scheme}://{host}{parts.path}")[:MESSAGE_CHARACTERS]


def _whole_body(response: requests.Response, url: str) -> bytes:
    body = bytearray()
    for block in response.iter_content(BLOCK_BYTES):
        body += block
        if len(body) > LARGEST_ANSWER_BYTES:
            raise CorpusError(f"{shown(url)}: the answer is endless; ask for less at a time")
    return bytes(body)


def _message(response: requests.Response) -> str:
    """Return what a service says went wrong, where it says so as Xeno-canto and Zenodo do."""
    try:
        record = json.loads(next(response.iter_content(1 << 14), b"{}"))
        said = record.get("message") or record.get("error") or ""
    except (ValueError, AttributeError, OSError, RecursionError):
        return ""
    return printable(" ".join(str(said).split()))[:MESSAGE_CHARACTERS]


def _reason(error: Exception) -> str:
    """Return why a connection failed; the error's own text would show the key in the address."""
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted"
    if isinstance(error, requests.Timeout):
        return "does not answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "ended its answer too early"
    if isinstance(error, requests.ConnectionError):
        return "cannot be reached"
    return f"failed ({type(error).__name__})"
