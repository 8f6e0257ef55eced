"""What a browser says over its pipe reaches who asked, however it is cut; errors have its words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
import trio
import trio.testing

from testbed.lab.engines.devtools import DevToolsError, Page
from testbed.lab.nodes.host import LabProcess

Content = Mapping[str, Any]


class Browser:
    """A browser's end of the pipes: answers each command as a test says, a byte at a time."""

    name = "browser on caller"

    def __init__(self, answer: Callable[[Content], Content]) -> None:
        self._answer = answer
        self._says, self.stdout = trio.testing.memory_stream_one_way_pair()
        self.stdin, self._hears = trio.testing.memory_stream_one_way_pair()

    async def run(self) -> None:
        unparsed = b""
        async for chunk in self._hears:
            *messages, unparsed = (unparsed + chunk).split(b"\0")
            for message in map(json.loads, messages):
                if message["method"] == "Page.navigate":
                    await self.say({"method": "Page.loadEventFired", "params": {}})
                await self.say({"id": message["id"], **self._answer(message)})

    async def say(self, message: Content) -> None:
        for byte in json.dumps(message).encode() + b"\0":
            await self._says.send_all(bytes([byte]))


async def asked(answer: Callable[[Content], Content], ask: Callable[[Page], Any]) -> Any:  # noqa: ANN401
    browser = Browser(answer)
    page = Page(cast(LabProcess, browser))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(browser.run)
            nursery.start_soon(page.run)
            found = await ask(page)
            nursery.cancel_scope.cancel()
    return found


def test_a_page_is_opened_and_asked() -> None:
    sessions = []

    def answer(message: Content) -> Content:
        sessions.append(message.get("sessionId"))
        value = {"value": message["params"].get("expression")}
        return {"result": {"targetId": "t", "sessionId": "s", "result": value}}

    async def ask(page: Page) -> object:
        await page.open("file:///call.html")
        return await page.evaluate("1 + 1")

    assert trio.run(asked, answer, ask) == "1 + 1"
    assert sessions[:2] == [None, None]
    assert set(sessions[2:]) == {"s"}, "once attached, a page is meant"


def test_what_the_page_throws_is_said() -> None:
    thrown = {"text": "Uncaught", "exception": {"description": "TypeError: no microphone"}}

    async def ask(page: Page) -> None:
        with pytest.raises(DevToolsError, match=r"browser on caller: 'talk.*no microphone"):
            await page.evaluate("talk()")

    trio.run(asked, lambda _: {"result": {"exceptionDetails": thrown, "result": {}}}, ask)


def test_what_the_browser_refuses_is_said() -> None:
    async def ask(page: Page) -> None:
        with pytest.raises(DevToolsError, match=r"Runtime\.enable: not allowed"):
            await page.command("Runtime.enable")

    trio.run(asked, lambda _: {"error": {"message": "not allowed"}}, ask)


def test_what_a_page_tells_comes_in_order() -> None:
    async def ask(page: Page) -> list[str]:
        browser = cast(Browser, page.process)
        for word in ("one", "two"):
            params = {"name": "tell", "payload": word}
            await browser.say({"method": "Runtime.bindingCalled", "params": params})
        return [await page.told.receive() for _ in range(2)]

    assert trio.run(asked, lambda _: {}, ask) == ["one", "two"]
