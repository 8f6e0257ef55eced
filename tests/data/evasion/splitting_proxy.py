#!/usr/bin/python3
"""A small transparent proxy such as byedpi: it sends the first byte of a request by itself.

Usage: splitting_proxy.py --port=N
"""

import argparse
import asyncio
import socket
import struct

SO_ORIGINAL_DST = 80
SOCKADDR_IN = struct.Struct("!HH4s8x")


async def copy(source: asyncio.StreamReader, goal: asyncio.StreamWriter, first: int) -> None:
    """Copy a stream to its end, with the first bytes in a segment of their own."""
    while chunk := await source.read(65536):
        for part in filter(None, (chunk[:first], chunk[first:])):
            goal.write(part)
            await goal.drain()
        first = 0
    goal.write_eof()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Lead a connection to where it was to go."""
    client = writer.get_extra_info("socket")
    told = client.getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, SOCKADDR_IN.size)
    _, port, host = SOCKADDR_IN.unpack(told)
    answers, requests = await asyncio.open_connection(socket.inet_ntoa(host), port)
    await asyncio.gather(copy(reader, requests, 1), copy(answers, writer, 0))
    requests.close()
    writer.close()


async def main(port: int) -> None:
    """Serve until the program is ended."""
    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        await server.serve_forever()


options = argparse.ArgumentParser()
options.add_argument("--port", type=int)
asyncio.run(main(options.parse_args().port))
