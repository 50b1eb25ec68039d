"""A real browser for tests: Debian's headless Chromium, told what to do over the W3C WebDriver protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
PATIENCE_SECONDS = 30.0
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Space": "\ue00d", "Left": "\ue012", "Right": "\ue014", "Escape": "\ue00c"}


def find_browser() -> tuple[str, str] | None:
    """Where Chromium and its driver are; None where either is missing."""
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    return (chromium, driver) if chromium and driver else None


class BrowserError(Exception):
    """The browser refused what it was told to do."""


class Browser:
    """One window. What is asked of the page is asked in JavaScript; what a person does is done as a person does it."""

    def __init__(self, driver_url: str, capabilities: dict[str, Any]) -> None:
        self._url = driver_url
        self._session = self._send("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})["sessionId"]

    def go(self, url: str) -> None:
        """Open an address and wait until it is loaded."""
        self._tell("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page and return what it returns."""
        return self._tell("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def until(self, script: str, *arguments: Any, seconds: float = PATIENCE_SECONDS) -> Any:
        """Ask the page again and again until the answer is true, and return that answer."""
        return until(lambda: self.run(script, *arguments), f"{script} {arguments}", seconds=seconds)

    def text(self, selector: str) -> str:
        """What an element shows."""
        return self.run("return document.querySelector(arguments[0]).innerText", selector)

    def shows(self, selector: str) -> bool:
        """Whether an element takes up room on the page."""
        return self.run("return document.querySelector(arguments[0]).getClientRects().length > 0", selector)

    def click(self, selector: str) -> None:
        """Click on an element, as with a mouse."""
        found = self._tell("POST", "/element", {"using": "css selector", "value": selector})
        self._tell("POST", f"/element/{found[ELEMENT]}/click", {})

    def press(self, *keys: str) -> None:
        """Press keys one after another; what is no name of a key is typed."""
        actions = []
        for key in keys:
            for sign in [KEYS[key]] if key in KEYS else key:
                actions += [{"type": "keyDown", "value": sign}, {"type": "keyUp", "value": sign}]
        self._tell("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def resize(self, width: int, height: int) -> None:
        """Give the page so many pixels."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def prefer(self, **media: str) -> None:
        """Let the person behind the browser prefer something: ``prefers_color_scheme="dark"``."""
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
        self.command("Emulation.setEmulatedMedia", features=features)

    def command(self, name: str, **parameters: Any) -> Any:
        """Use a command of the Chrome DevTools protocol."""
        return self._tell("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def logged(self) -> list[str]:
        """What the browser has logged since the last question: errors of scripts, violations of a policy."""
        return [line["message"] for line in self._tell("POST", "/se/log", {"type": "browser"})]

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as a PNG."""
        taken = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken["data"]))

    def close(self) -> None:
        """Close the window and with it the browser."""
        self._tell("DELETE", "", None)

    def _tell(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        return self._send(method, f"/session/{self._session}{path}", body)

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise BrowserError(error.read().decode()[:2000]) from None


def until(holds: Callable[[], Any], what: str, *, seconds: float = PATIENCE_SECONDS) -> Any:
    """Look again and again until something is so; return what was seen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        seen = holds()
        if seen:
            return seen
        time.sleep(0.05)
    raise AssertionError(f"did not come about within {seconds} s: {what}")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Run a headless browser with a profile of its own for as long as the block lasts."""
    found = find_browser()
    assert found is not None, "Chromium and chromedriver are needed: apt-get install chromium chromium-driver"
    chromium, driver = found
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="coalesce-kit-browser-", ignore_cleanup_errors=True) as home:
        process = subprocess.Popen(
            [driver, f"--port={port}", "--allowed-ips=127.0.0.1"],
            env={**os.environ, "HOME": home, "no_proxy": "*"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            options = {
                "binary": chromium,
                "args": [
                    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
                    *("--hide-scrollbars", "--window-size=1400,1000", "--no-proxy-server"),
                    f"--user-data-dir={home}/profile",
                ],
            }
            until(lambda: _listens(port), "chromedriver listens")
            browser = Browser(
                f"http://127.0.0.1:{port}",
                {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}},
            )
            try:
                yield browser
            finally:
                browser.close()
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
