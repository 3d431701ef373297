"""A headless Chromium, driven through the pipe of its DevTools protocol."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clusters import kill_tree
from waiting import PATIENCE, wait_for

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--remote-debugging-pipe",
)  # fmt: skip


class Page:
    """One page of a browser."""

    def __init__(self, commands: int, replies: int) -> None:
        self._commands, self._replies = commands, os.fdopen(replies, "rb")
        self._session: str | None = None
        self._count = 0
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def open(self, url: str, width: int = 1400, height: int = 1000) -> None:
        """Begin to load an address, as in a new tab."""
        self._call("Page.navigate", url="about:blank")
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        return self._call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def text(self) -> str:
        """Return all text that is in the page."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def wait(self, what: str, met: Callable[[str], Any]) -> str:
        """Wait until the page's text meets a condition; return the text."""
        wait_for(what, lambda: met(self.text()))
        return self.text()

    def screenshot(self, path: Path) -> None:
        """Write what is visible to a PNG."""
        time.sleep(1.0)  # charts move into their places
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            reply = json.loads(self._read())
            if reply.get("id") == self._count:
                assert "result" in reply, reply
                result: dict[str, Any] = reply["result"]
                return result

    def _read(self) -> bytes:
        read = bytearray()
        while (byte := self._replies.read(1)) != b"\0":
            assert byte, "the browser has ended"
            read += byte
        return bytes(read)


@contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """Yield a page of a new browser, whose profile is in a folder."""
    assert PROGRAM is not None
    commands, to_browser = os.pipe()
    from_browser, replies = os.pipe()
    line = ["bash", "-c", f'exec "$@" 3<&{commands} 4>&{replies}', "bash", PROGRAM, *OPTIONS]
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [*line, f"--user-data-dir={folder / 'profile'}"], stdout=log, stderr=log, pass_fds=(commands, replies)
        )
    os.close(commands)
    os.close(replies)
    try:
        yield Page(to_browser, from_browser)
    finally:
        kill_tree(process.pid)
        process.wait(PATIENCE)
        os.close(to_browser)
