"""Configuration files of clients: sing-box's and Xray's, both in JSON.

One outbound is taken: the only one that leads to a server, or the one whose tag is given, as in
`./client.json#proxy`. All that does not concern the path to the server (inbounds, routes, DNS) is
left aside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from testbed.experiment.brought import _xray_json
from testbed.experiment.brought._files import is_file, read_text
from testbed.experiment.brought._singbox import from_outbound
from testbed.experiment.brought.brought import Brought, Format, check_known
from testbed.experiment.explanations import ScenarioError, names_in

_ASIDE = {
    "singbox": (
        *("log", "dns", "ntp", "certificate", "endpoints", "inbounds", "outbounds", "route"),
        *("services", "experimental", "$schema"),
    ),
    "xray": (
        *("log", "api", "dns", "routing", "policy", "inbounds", "outbounds", "transport", "stats"),
        *("reverse", "fakedns", "metrics", "observatory", "burstObservatory", "version"),
        *("geodata", "remarks"),
    ),
}
"""The fields of a whole file of either program."""
_NO_SERVER = (
    *("direct", "block", "dns", "selector", "urltest", "freedom", "blackhole", "loopback"),
    "bridge",
)
"""The outbounds that lead to no server, by `type` or `protocol`."""
Table = Mapping[str, object]


def _read(text: str) -> Brought:
    path, _, tag = text.partition("#")
    try:
        content: object = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ScenarioError(f"{path}: it is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise ScenarioError(f"{path}: expected a JSON object with `outbounds`, or one outbound")
    outbound = _outbound(content, path, tag)
    if "protocol" in outbound:
        return _xray_json.from_outbound(outbound, f"{path}: an outbound of Xray")
    return from_outbound(outbound, f"{path}: an outbound of sing-box")


def _outbound(content: Table, path: str, tag: str) -> Table:
    if "outbounds" not in content:
        if not {"type", "protocol"} & set(content):
            raise ScenarioError(f"{path}: outbounds: missing; a single outbound needs a `type`")
        return content
    outbounds = content["outbounds"]
    if not isinstance(outbounds, Sequence) or not all(isinstance(o, dict) for o in outbounds):
        raise ScenarioError(f"{path}: outbounds: expected a list of objects")
    is_xray = any("protocol" in outbound for outbound in outbounds)
    check_known(path, content, _ASIDE["xray" if is_xray else "singbox"])
    servers = {
        str(outbound.get("tag", number)): outbound
        for number, outbound in enumerate(outbounds)
        if outbound.get("type", outbound.get("protocol")) not in _NO_SERVER
    }
    if tag and tag not in servers:
        raise ScenarioError(f"{path}: outbounds: there is no tag {tag!r}, only {names_in(servers)}")
    if not tag and len(servers) != 1:
        hint = f"; choose one, as by {path}#{next(iter(servers))}" if servers else ""
        raise ScenarioError(f"{path}: outbounds: {len(servers)} of them lead to a server{hint}")
    found: Table = servers[tag] if tag else next(iter(servers.values()))
    return found


FORMAT = Format(lambda text: is_file(text, ".json"), _read)
