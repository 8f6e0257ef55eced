"""Evasion on the client's side alone: what is sent instead of a packet, so that a censor misreads.

- `strategy` says what may be done: tactics, each for some packets.
- `nfqws` and `byedpi` read the command lines that people paste, from their documented meaning.
- `recognised` tells what a payload is, and where a request names its server.
- `fakes` makes the payloads of fake packets.
- `rewriting` applies a strategy to packets, as a pure function of packets, times and its state.

Sources: zapret v72.4, `docs/readme.en.md` and `nfq/` (bol-van/zapret at 0bc0997), and byedpi's
`README.md` (hufrea/byedpi at 3a91ae7), read in November 2026. No code of theirs is here.
"""
