"""Chromium for tests, spoken to over its DevTools pipe: one page, its console, and every request it makes.

Covers what the tests of reports need: opening, evaluating, keys, sizes and colour schemes. No
driver program and no package: --remote-debugging-pipe takes JSON on file descriptor 3, answers on 4.
"""

import json
import os
import select
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--remote-debugging-pipe"),
)
NAMES = ("chromium", "chromium-browser", "google-chrome")
KEY_CODES = {"Escape": 27, "ArrowRight": 39, "ArrowDown": 40, "End": 35, "Tab": 9, "Enter": 13}


def find_chromium():
    """The browser's path, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Chromium:
    """A browser with one blank page. `problems`: console errors, exceptions and requests beyond the file."""

    def __init__(self, profile: Path, program: str):
        self.problems, self.requests = [], []
        self._number, self._rest, self._events, self._session = 0, b"", [], None
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()
        # bash, since 3 and 4 are taken in this process.
        shell = f'exec 3<&{to_read} 4>&{to_write}; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "chromium", program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        targets = self.send("Target.getTargets", session=None)["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def close(self):
        """End the browser."""
        with suppress(OSError):
            self.send("Browser.close", session=None)
        os.close(self._to)
        os.close(self._from)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def send(self, method, session=True, **parameters):
        """The result of a DevTools command. Raises RuntimeError for what the browser refuses."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session and self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            answer = self._read(60)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _read(self, seconds):
        end = time.monotonic() + seconds
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0, end - time.monotonic()))
            piece = os.read(self._from, 1 << 20) if ready else b""
            if not piece:
                raise TimeoutError("the browser does not answer")
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(line)
        if "method" in message:
            self._note(message["method"], message["params"])
        return message

    def _note(self, method, facts):
        self._events.append(method)
        if method == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"][:200])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(str(facts["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and facts["type"] in ("error", "warning", "assert"):
            self.problems.append(str(facts["args"]))
        elif method == "Log.entryAdded" and facts["entry"]["level"] in ("error", "warning"):
            self.problems.append(facts["entry"]["text"])
        elif method == "Page.javascriptDialogOpening":
            self.problems.append(f"dialog: {facts['message']}")

    def open(self, address, seconds=120):
        """Navigate and wait for the load event; seconds that this took."""
        self._events.clear()
        start = time.perf_counter()
        self.send("Page.navigate", url=address)
        while "Page.loadEventFired" not in self._events:
            self._read(seconds)
        return time.perf_counter() - start

    def run(self, code):
        """The value of an expression in the page, awaited; Python's own types."""
        result = self.send(
            "Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(f"{code}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, condition, seconds=10):
        """Until an expression in the page is true; AssertionError when it does not become so."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, f"never became true: {condition}"
            time.sleep(0.02)

    def press(self, *keys):
        """Key after key, as typed."""
        for key in keys:
            typed = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
            facts = {"key": key, "windowsVirtualKeyCode": KEY_CODES.get(key, 0), **typed}
            self.send("Input.dispatchKeyEvent", type="keyDown", **facts)
            self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def look(self, width=1280, height=900, scheme="light"):
        """Set the window's size and what the system prefers."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
