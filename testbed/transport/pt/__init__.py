"""Tor's pluggable transport protocol, version 1: starts any managed transport; knows none by name.

`start_server` and `start_client` run a program as Tor would; `Client.open_stream` gives a stream
through it. The pure parts live in `encoding` (arguments, environment), `replies` (what a program
says), `socks` (the client's handshake); `extorport` is the server side of the Extended ORPort.
"""

from testbed.transport.pt.launch import Client, start_client, start_server

__all__ = ["Client", "start_client", "start_server"]
