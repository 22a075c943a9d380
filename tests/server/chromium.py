"""A headless Chromium, controlled over the DevTools protocol through a pipe, without further packages."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time


def executable():
    """The path of Chromium; None if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("OUTRIDER_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


class Chromium:
    """One page. Its console messages and errors are collected in `complaints`."""

    def __init__(self, width=1200, height=800):
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        command = [executable(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   "--no-first-run", "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
                   f"--user-data-dir={self._profile.name}", f"--window-size={width},{height}",
                   "--remote-debugging-pipe", "about:blank"]

        def wire():  # the browser reads from descriptor 3 and writes to 4
            kept = os.dup(from_browser)
            os.dup2(to_browser, 3)
            os.dup2(kept, 4)

        self._process = subprocess.Popen(command, close_fds=False, preexec_fn=wire, stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.complaints = []
        self._answers = {}
        self._arrived = threading.Condition()
        self._next = 0
        self._session = None
        threading.Thread(target=self._listen, daemon=True).start()
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def _listen(self):
        held = b""
        while chunk := os.read(self._read, 1 << 16):
            held += chunk
            while b"\0" in held:
                text, held = held.split(b"\0", 1)
                self._take(json.loads(text))
        with self._arrived:
            self._answers = None
            self._arrived.notify_all()

    def _take(self, message):
        if "id" in message:
            with self._arrived:
                self._answers[message["id"]] = message
                self._arrived.notify_all()
        elif message["method"] == "Runtime.exceptionThrown":
            self.complaints.append(message["params"])
        elif message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] in ("error", "warning"):
            self.complaints.append(message["params"])
        elif message["method"] == "Runtime.consoleAPICalled" and message["params"]["type"] in ("error", "warning"):
            self.complaints.append(message["params"])

    def call(self, method, timeout=60, **parameters):
        self._next += 1
        number = self._next
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        with self._arrived:
            arrived = self._arrived.wait_for(lambda: self._answers is None or number in self._answers, timeout)
            assert arrived and self._answers is not None, f"Chromium does not answer {method}"
            answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, f"{expression}: {result['exceptionDetails']}"
        return result["result"].get("value")

    def wait_for(self, expression, timeout=60):
        """Waits until the expression is true."""
        end = time.monotonic() + timeout
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < end, f"{expression} did not become true; the page shows: " + self.evaluate(
                "document.body.innerText")
            time.sleep(0.05)
        return value

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def type(self, text):
        self.call("Input.insertText", text=text)

    def press(self, key, code, modifiers=0):
        text = {"text": "\r"} if key == "Enter" else {}
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        with open(path, "wb") as out:
            out.write(base64.b64decode(data))

    def close(self):
        try:
            self._session = None
            self.call("Browser.close", timeout=10)
        except (AssertionError, OSError):
            self._process.kill()
        self._process.wait(30)
        self._profile.cleanup()
