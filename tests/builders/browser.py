"""A real browser without a window, driven over the pipe of its DevTools protocol: no library, no port, one process.

A page that it opens counts what it asks for and what its console says; keys, clicks and the wheel are those of a user.
"""

import base64
import io
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
WITHOUT = f"none of these browsers is on PATH: {', '.join(NAMES)}"
OPTIONS = (
    "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--hide-scrollbars", "--force-color-profile=srgb",
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--window-size=1200,900",
)  # fmt: skip
# The browser reads from descriptor 3 and writes to 4
START = """
import fcntl, os, sys
for low, high in enumerate([fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]], start=3):
    os.dup2(high, low)
os.execv(sys.argv[3], sys.argv[3:])
"""
SECONDS = 60.0  # that an answer may take
KEYS = {
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "PageUp": 33, "PageDown": 34, "Home": 36,
}  # fmt: skip


class Page:
    """One tab.

    requests: Addresses that the page asked for, but data: and blob:, which are in itself; its own is the first.
    messages: What its console and the browser said of it.
    """

    def __init__(self, browser: "Browser", session: str) -> None:
        self._browser, self.session = browser, session
        self.requests: list[str] = []
        self.messages: list[str] = []

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.send(method, self.session, **parameters)

    def heard(self, method: str, its: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent" and not its["request"]["url"].startswith(("data:", "blob:")):
            self.requests.append(its["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = its["exceptionDetails"]
            self.messages.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and its["type"] in ("error", "warning", "assert"):
            self.messages.append(" ".join(str(part.get("value", part.get("description"))) for part in its["args"]))
        elif method == "Log.entryAdded" and its["entry"]["level"] in ("error", "warning"):
            self.messages.append(its["entry"]["text"])

    def size(self, width: int, height: int) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def run(self, script: str) -> Any:
        """The value of an expression, waited for where it is a promise."""
        answer = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        until = time.monotonic() + SECONDS
        while not self.run(condition):
            if time.monotonic() > until:
                raise TimeoutError(f"{condition} is not true after {SECONDS:g} s; the page said {self.messages}")
            time.sleep(0.02)

    def press(self, key: str, modifiers: int = 0) -> None:
        text = {"text": key} if len(key) == 1 else {}
        code = KEYS.get(key) or ord(key.upper())
        for kind in ("keyDown", "keyUp"):
            down = text if kind == "keyDown" else {}
            self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, modifiers=modifiers, **down)

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def wheel(self, x: float, y: float, down: float) -> None:
        self.send("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=down)

    def picture(self) -> np.ndarray:
        """(height, width, 3) of what is seen."""
        data = self.send("Page.captureScreenshot", format="png")["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


class Browser:
    """Messages are JSON, each ended by a zero byte; answers are told by their number, events come in between."""

    def __init__(self, profile: Path, *options: str) -> None:
        read_end, self._to = os.pipe()
        self._from, write_end = os.pipe()
        as_root = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
        command = (str(BROWSER), *OPTIONS, *as_root, f"--user-data-dir={profile}", *options, "about:blank")
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(read_end), str(write_end), *command],
            pass_fds=(read_end, write_end),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_end)
        os.close(write_end)
        self._numbers = itertools.count(1)
        self._rest = b""
        self._pages: dict[str, Page] = {}

    def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        rest = json.dumps(message).encode() + b"\0"
        while rest:
            rest = rest[os.write(self._to, rest) :]
        while True:
            answer = self._next(method)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            if "method" in answer and answer.get("sessionId") in self._pages:
                self._pages[answer["sessionId"]].heard(answer["method"], answer["params"])

    def _next(self, waiting_for: str) -> dict[str, Any]:
        parts = [self._rest]
        while b"\0" not in parts[-1]:
            if not select.select([self._from], [], [], SECONDS)[0]:
                raise TimeoutError(f"no answer to {waiting_for} within {SECONDS:g} s")
            if not (part := os.read(self._from, 1 << 20)):
                raise RuntimeError(f"the browser ended before it answered {waiting_for}")
            parts.append(part)
        message, _, self._rest = b"".join(parts).partition(b"\0")
        return json.loads(message)

    @contextmanager
    def open(
        self, file: Path, *, width: int = 1200, height: int = 900, dark: bool = False, before: str = "", offline: bool = False
    ) -> Iterator[Page]:
        """A page of a file, loaded; before: Script that runs before those of the page."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        try:
            for domain in ("Page", "Runtime", "Network", "Log"):
                page.send(f"{domain}.enable")
            page.size(width, height)
            scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
            page.send("Emulation.setEmulatedMedia", features=scheme)
            page.send("Network.emulateNetworkConditions", offline=offline, latency=0, downloadThroughput=-1, uploadThroughput=-1)
            if before:
                page.send("Page.addScriptToEvaluateOnNewDocument", source=before)
            page.send("Page.navigate", url=file.as_uri())
            page.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
            yield page
        finally:
            self.send("Target.closeTarget", targetId=target)
            del self._pages[session]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        os.close(self._to)
        os.close(self._from)
