"""Asking a health endpoint: one question, one connection, one answer, checked before anybody believes it."""

from __future__ import annotations

import http.client
import json
import math
import socket
import time
import urllib.error
import urllib.request
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import IO, Any, Final
from urllib.parse import urlsplit, urlunsplit

from ..stats.counters import CoalescerStats
from ..stats.health import STATUSES
from ..stats.latency import BOUNDS_SECONDS, LatencySnapshot

DEFAULT_PATH: Final = "/health/coalescer"
MOST_BYTES: Final = 64 * 2**20
"""No endpoint has so much to tell: ten thousand functions with full histograms are a quarter of it."""


class ClientError(Exception):
    """There is no answer; the message is one line that says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a status is not healthy: a code for machines, and words for people."""

    code: str
    function: str | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one worker said of itself.

    Attributes:
        instance: random per process.
        pid: the process's number on its host.
        version: of the package in it.
        uptime_seconds: how long it has been counting.
        status: ``healthy``, ``warning`` or ``degraded``.
        reasons: why it is not healthy.
        functions: the numbers of each function by its name.
        gone: those of functions that exist no more.
        totals: the sums of all.
    """

    instance: str
    pid: int
    version: str
    uptime_seconds: float
    status: str
    reasons: Sequence[Reason]
    functions: Mapping[str, CoalescerStats]
    gone: CoalescerStats
    totals: CoalescerStats


def address_of(text: str) -> str:
    """Return the whole address that a person means: ``localhost:8000`` is ``http://localhost:8000/health/coalescer``.

    Raises:
        ClientError: it is no address.
    """
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        hostname, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ClientError(f"{text!r} is no address ({error}): give one like http://localhost:8000") from None
    if parts.scheme not in {"http", "https"} or not hostname:
        raise ClientError(f"{text!r} is no address of a web service: give one like http://localhost:8000")
    if parts.username is not None:
        raise ClientError("a token does not belong into the address: give it with --token or COALESCE_KIT_TOKEN")
    path = parts.path if parts.path not in {"", "/"} else DEFAULT_PATH
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def ask(address: str, *, token: str | None = None, timeout_seconds: float = 10.0) -> Answer:
    """Ask once, over a connection of its own, so that any worker behind the address may be the one that answers.

    Args:
        address: of the endpoint.
        token: sent as ``Authorization: Bearer``, and to nobody but this address.
        timeout_seconds: how long the whole may take.

    Raises:
        ClientError: there is no answer, or none that can be read.
    """
    headers = {"Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    deadline = time.monotonic() + timeout_seconds
    try:
        # A scheme other than http and https does not come past address_of.
        request = urllib.request.Request(address, headers=headers)  # noqa: S310
        opener = urllib.request.build_opener(_NoRedirect)
        with opener.open(request, timeout=timeout_seconds) as response:
            body = _read(response, deadline, address, timeout_seconds)
    except urllib.error.HTTPError as error:
        with error:
            body = _refused(error, address, deadline, timeout_seconds)
    except (TimeoutError, urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        raise ClientError(_why_unreachable(error, address, timeout_seconds)) from None
    return read_answer(body, address)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nowhere: urllib would send the token on, to whatever host the answer names."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _read(response: IO[bytes], deadline: float, address: str, timeout_seconds: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := response.read1(2**16):  # type: ignore[attr-defined]  # IO does not know it, every HTTP response does
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise ClientError(f"{address} answered more than {MOST_BYTES // 2**20} MiB: is it a health endpoint?")
        if time.monotonic() > deadline:
            raise ClientError(_too_slow(address, timeout_seconds))
    return b"".join(parts)


def _refused(error: urllib.error.HTTPError, address: str, deadline: float, timeout_seconds: float) -> bytes:
    """The body of an answer that is an error for HTTP, and is one for us unless the service says degraded by it."""
    if error.code in {401, 403}:
        raise ClientError(
            f"{address} asks for a token, or for another one: give it with --token or COALESCE_KIT_TOKEN"
        ) from None
    if 300 <= error.code < 400:
        target = one_line(error.headers.get("Location", "elsewhere"))
        raise ClientError(
            f"{address} sends us to {target}: give that address, if you trust it with the token"
        ) from None
    if error.headers.get_content_type() != "application/json" or error.code < 500:
        where = "the path is the one where health_app() is mounted" if error.code == 404 else "look into its log"
        raise ClientError(f"{address} answered with status {error.code}: {where}") from None
    return _read(error, deadline, address, timeout_seconds)


def _why_unreachable(error: Exception, address: str, timeout_seconds: float) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return _too_slow(address, timeout_seconds)
    if isinstance(reason, ConnectionRefusedError):
        return f"nobody listens at {address}: is the service running, and is this its port?"
    if isinstance(reason, socket.gaierror):
        return f"the host of {address} is not known: is its name spelled right?"
    return f"{address} cannot be asked ({one_line(str(reason)) or type(reason).__name__}): is it the service's address?"


def _too_slow(address: str, timeout_seconds: float) -> str:
    return f"{address} did not answer within {timeout_seconds:g} s: give it longer with --timeout, or look why it hangs"


def read_answer(body: bytes, address: str) -> Answer:
    """Return what the JSON of an endpoint says.

    Raises:
        ClientError: it is something else.
    """
    try:
        told = json.loads(body)
        instance, pid = str(told["instance"]), int(told["pid"])
        return Answer(
            instance=instance,
            pid=pid,
            version=str(told.get("version", "")),
            uptime_seconds=float(_number(told["started_seconds_ago"])),
            status=told["status"] if told["status"] in STATUSES else "unknown",
            reasons=tuple(_read_reason(reason) for reason in told.get("reasons", ())),
            functions={name: read_stats(row, name, instance, pid) for name, row in told["functions"].items()},
            gone=read_stats(told["gone"], "gone", instance, pid),
            totals=read_stats(told["totals"], "totals", instance, pid),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ClientError(
            f"{address} answered something other than the numbers of coalesce_kit: is health_app() mounted there?"
        ) from None


def _read_reason(told: Mapping[str, Any]) -> Reason:
    code, function = str(told["code"]), told.get("function")
    return Reason(code, None if function is None else str(function), str(told.get("text") or code.replace("_", " ")))


def read_stats(told: Mapping[str, Any], name: str, instance: str, pid: int) -> CoalescerStats:
    """Return the numbers of one function as they were before they became JSON; what is not told is zero.

    Raises:
        ValueError: a number is none.
        TypeError: the same.
    """
    values: dict[str, Any] = {}
    for number in fields(CoalescerStats):
        if number.name not in told or number.name in {"name", "instance", "pid"}:
            continue
        if isinstance(number.default, LatencySnapshot):
            values[number.name] = _read_latency(told[number.name])
        else:
            values[number.name] = _number(told[number.name])
    return CoalescerStats(name=name, instance=instance, pid=pid, **values)


def _number(told: object) -> float:
    if isinstance(told, bool) or not isinstance(told, int | float) or not math.isfinite(told) or told < 0:
        raise ValueError(f"{told!r} is no number of anything")
    return told


def _read_latency(told: Mapping[str, Any]) -> LatencySnapshot:
    buckets = [0] * (len(BOUNDS_SECONDS) + 1)
    for bound, samples in told["buckets"].items():
        # A shade less than the bound: a bucket holds what is at most its bound, and the text has four digits of it.
        index = len(BOUNDS_SECONDS) if bound == "+Inf" else bisect_left(BOUNDS_SECONDS, float(bound) * (1 - 1e-6))
        buckets[index] += int(_number(samples))
    return LatencySnapshot(tuple(buckets))


def one_line(text: str) -> str:
    """Return a text as one line that moves nothing around it: what does not print is a question mark."""
    return "".join(character if character.isprintable() else "?" for character in text[:1000])
