"""Turns VLESS as Xray has it into the transport `xray`, without addresses and keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from testbed.experiment.brought._singbox import without_hosts
from testbed.experiment.brought.brought import Brought, title_of
from testbed.experiment.explanations import ScenarioError, names_in
from testbed.experiment.names import Name

_NETWORKS = {
    "": "raw",
    "raw": "raw",
    "tcp": "raw",
    "xhttp": "xhttp",
    "splithttp": "xhttp",
    "grpc": "grpc",
    "kcp": "mkcp",
    "mkcp": "mkcp",
}
"""The transport's names of networks, by Xray's, old and new."""
_KEPT = {
    "xhttp": ("path", "mode", "extra", "headers", "xPaddingBytes", "xmux", "noGRPCHeader"),
    "grpc": ("serviceName", "multiMode", "authority", "user_agent"),
    "mkcp": ("mtu", "tti", "uplinkCapacity", "downlinkCapacity", "congestion"),
}
"""The settings that both sides may have."""


@dataclass(frozen=True)
class VlessStream:
    """What carries VLESS."""

    network: str
    """Xray's name of it."""
    security: str
    settings: Mapping[str, object]
    """The network's own settings."""
    fingerprint: str = ""
    """The browser whose ClientHello is imitated."""


def from_vless(
    stream: VlessStream,
    what: str,
    server: str,
    replaced: Sequence[str],
    *,
    has_vision: bool,
    has_mux: bool = False,
) -> Brought:
    """Return what VLESS over a stream is; `what` names it in messages.

    Raises:
        ScenarioError: The lab cannot run this combination.
    """
    if (network := _NETWORKS.get(stream.network)) is None:
        raise ScenarioError(f"{what}: network: {stream.network!r} is none of {names_in(_NETWORKS)}")
    if network != "mkcp" and stream.security not in ("reality", "tls"):
        raise ScenarioError(f"{what}: security: {stream.security!r} is neither reality nor tls")
    parameters: dict[str, object] = {"network": network}
    words, lost = ["vless", network], []
    if network == "mkcp":
        lost += ["security: mKCP runs without"] if stream.security in ("tls", "reality") else []
    else:
        parameters["security"] = stream.security
        words.append(stream.security)
    if network == "raw":
        parameters["vision"] = has_vision
        words += ["vision"] if has_vision else []
    if has_mux:
        parameters["mux"] = True
        words.append("mux")
    if stream.fingerprint and network != "mkcp":
        parameters["fingerprint"] = stream.fingerprint
    settings, hosts = without_hosts(stream.settings)
    kept, dropped = _split(network, settings)
    if kept:
        parameters["settings"] = kept
    lost += dropped
    names = (f"the server {server}", "uuid", *replaced, *hosts)
    return Brought(what, Name("xray", parameters), title_of(words), names, tuple(lost))


def _split(network: str, settings: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """Return the settings that can be kept, and a sentence on each other one."""
    known = _KEPT.get(network, ())
    kept = {key: value for key, value in settings.items() if key in known}
    lost = [f"{key}: has no place in the lab" for key in settings if key not in known]
    if isinstance(extra := kept.get("extra"), Mapping) and "downloadSettings" in extra:
        kept["extra"] = {key: value for key, value in extra.items() if key != "downloadSettings"}
        lost.append("extra.downloadSettings: the lab has one server, for both directions")
    return kept, lost
