"""Tor's pluggable transport protocol, version 1: runs any managed transport, as Tor would.

`start_server` and `start_client` run a program, and `Client.open_stream` opens a stream through it:

1. The program is configured by environment variables: `encoding`.
2. It reports on standard output what it offers: `replies`.
3. The client side is a SOCKS proxy, which gets the server's arguments as credentials: `socks`.
4. The server side connects to Tor's ORPort for each stream; `extorport` is the variant that also
   says where the client is.

`launch` puts these together, and `exactly` reads a given number of bytes. The specification is
pt-spec 1 (https://spec.torproject.org/pt-spec/).
"""

from testbed.transport.pt.launch import Client, start_client, start_server

__all__ = ["Client", "start_client", "start_server"]
