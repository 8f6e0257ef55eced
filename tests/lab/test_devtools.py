"""What a browser says over its pipe reaches who asked, however it is cut; errors have its words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
import trio
import trio.testing

from testbed.lab.engines.devtools import BrowserEnded, DevToolsError, Page
from testbed.lab.nodes.process import LabProcess

Content = Mapping[str, Any]
Answer = Callable[[Content], Content | None]


class Browser:
    """A browser's end of the pipes: answers each command as a test says, a byte at a time."""

    name = "browser on caller"

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._says, self.stdout = trio.testing.memory_stream_one_way_pair()
        self.stdin, self._hears = trio.testing.memory_stream_one_way_pair()

    async def run(self) -> None:
        unparsed = b""
        while chunk := await self._hear():
            *messages, unparsed = (unparsed + chunk).split(b"\0")
            for message in map(json.loads, messages):
                if message["method"] == "Page.navigate":
                    await self.say({"method": "Page.loadEventFired", "params": {}})
                if (answer := self._answer(message)) is not None:
                    await self.say({"id": message["id"], **answer})

    async def _hear(self) -> bytes:
        try:
            return bytes(await self._hears.receive_some())
        except trio.ClosedResourceError:
            return b""

    async def leave(self) -> None:
        """End, as a browser that is killed."""
        await self._says.aclose()
        await self._hears.aclose()

    async def say(self, message: Content) -> None:
        for byte in json.dumps(message).encode() + b"\0":
            await self._says.send_all(bytes([byte]))


async def asked(answer: Answer, ask: Callable[[Page], Any]) -> Any:  # noqa: ANN401
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


def test_a_browser_that_ends_leaves_nobody_waiting() -> None:
    async def ask(page: Page) -> None:
        browser = cast(Browser, page.process)

        async def ends() -> None:
            await trio.testing.wait_all_tasks_blocked()
            await browser.leave()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends)
            with pytest.raises(BrowserEnded, match=r"browser on caller ended before it answered"):
                await page.evaluate("hangUp()")
        with pytest.raises(BrowserEnded, match=r"ended before it answered to Runtime\.evaluate"):
            await page.evaluate("hangUp()")

    trio.run(asked, lambda _: None, ask)


def test_messages_of_a_page_arrive_in_order() -> None:
    async def ask(page: Page) -> list[str]:
        browser = cast(Browser, page.process)
        for word in ("one", "two"):
            params = {"name": "tell", "payload": word}
            await browser.say({"method": "Runtime.bindingCalled", "params": params})
        return [await page.told.receive() for _ in range(2)]

    assert trio.run(asked, lambda _: {}, ask) == ["one", "two"]
