"""Speak the Chrome DevTools Protocol with a browser over pipes (`--remote-debugging-pipe`).

Messages are JSON, each terminated by a zero byte. A command carries a number, and its answer
carries the same one; all other messages are events. `Page.run` reads both: it wakes the task that
waits for an answer, and puts what the page reports into a channel. The library for trio (trio-cdp)
speaks only WebSocket, and only the protocol of 2020.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import trio

from testbed.lab.nodes.process import LabProcess

Content = Mapping[str, Any]


class DevToolsError(Exception):
    """The browser refused a command, or its page threw an exception."""


class BrowserEnded(DevToolsError):  # noqa: N818 - it is not always an error of ours
    """The browser or its pipe has ended, so no answer will come."""


class Page:
    """One page of a browser, to which this is attached; `run` must be running while it is used."""

    def __init__(self, process: LabProcess) -> None:
        self.process = process
        told, self.told = trio.open_memory_channel[str](math.inf)
        """What the page has passed to its function `tell`, in order."""
        self._tell = told
        self._session = ""
        self._loaded = trio.Event()
        self._asked: dict[int, trio.Event] = {}
        self._answers: dict[int, Content] = {}
        self._has_ended = False

    async def run(self) -> None:
        """Read the browser's messages until it ends."""
        unparsed = bytearray()
        with suppress(trio.BrokenResourceError):
            while chunk := await self.process.stdout.receive_some():
                unparsed += chunk
                *messages, rest = unparsed.split(b"\0")
                unparsed = bytearray(rest)
                for message in messages:
                    self._take(json.loads(message))
        self._has_ended = True
        for waited_for in (self._loaded, *self._asked.values()):
            waited_for.set()

    async def open(self, url: str) -> None:
        """Open a page and wait until it has loaded."""
        target = await self.command("Target.createTarget", url="about:blank")
        attached = await self.command(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = attached["sessionId"]
        await self.command("Runtime.enable")
        await self.command("Runtime.addBinding", name="tell")
        await self.command("Page.enable")
        await self.command("Page.navigate", url=url)
        await self._loaded.wait()

    async def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - whatever the page returns
        """Return an expression's value; if it is a promise, the value that it resolves to.

        Raises:
            DevToolsError: The expression threw an exception.
        """
        answer = await self.command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if (thrown := answer.get("exceptionDetails")) is not None:
            what = thrown.get("exception", {}).get("description", thrown["text"])
            raise DevToolsError(f"{self.process.name}: {expression[:80]!r}: {what}")
        return answer["result"].get("value")

    async def command(self, method: str, **parameters: object) -> Content:
        """Send a command, and return the result once it is answered.

        Raises:
            DevToolsError: The browser refused the command.
            BrowserEnded: The browser ended before it answered.
        """
        number = len(self._asked) + 1
        asked = self._asked[number] = trio.Event()
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        with suppress(trio.BrokenResourceError):
            await self.process.stdin.send_all(json.dumps(message).encode() + b"\0")
        if not self._has_ended:
            await asked.wait()
        answer = self._answers.pop(number, None)
        if answer is None:
            raise BrowserEnded(f"{self.process.name} ended before it answered to {method}")
        if "error" in answer:
            raise DevToolsError(f"{self.process.name}: {method}: {answer['error']['message']}")
        result: Content = answer["result"]
        return result

    def _take(self, message: Content) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
            self._asked[message["id"]].set()
        elif message["method"] == "Runtime.bindingCalled":
            self._tell.send_nowait(message["params"]["payload"])
        elif message["method"] == "Page.loadEventFired":
            self._loaded.set()
