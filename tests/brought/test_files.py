"""Configuration files, bridge lines and programs that people have: what the lab runs for them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.experiment.brought.brought import Brought, read_brought
from testbed.experiment.choosing import load_transport, transport_choice
from testbed.experiment.explanations import ScenarioError
from transports import obfs4, openvpn, pt, wireguard, xray, xray_wireguard

KEY = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
OUTBOUND = {
    "type": "vless",
    "tag": "proxy",
    "server": "192.0.2.1",
    "server_port": 443,
    "uuid": "u",
    "detour": "other",
    "transport": {"type": "ws", "path": "/news", "headers": {"Host": "a.example"}},
    "multiplex": {"enabled": True, "padding": True},
    "tls": {"enabled": True, "server_name": "a.example", "utls": {"enabled": True}},
}
SING_BOX = {
    "log": {"level": "info"},
    "inbounds": [{"type": "tun"}],
    "outbounds": [OUTBOUND, {"type": "direct", "tag": "direct"}],
}
XRAY = {
    "inbounds": [],
    "outbounds": [
        {
            "protocol": "vless",
            "tag": "proxy",
            "settings": {
                "vnext": [
                    {
                        "address": "192.0.2.1",
                        "port": 443,
                        "users": [{"id": "u", "encryption": "none", "flow": "xtls-rprx-vision"}],
                    }
                ]
            },
            "streamSettings": {
                "network": "tcp",
                "security": "reality",
                "realitySettings": {"serverName": "a.example", "publicKey": "k", "shortId": "0"},
            },
            "mux": {"enabled": True},
        },
        {"protocol": "freedom"},
    ],
}
WIREGUARD = f"""[Interface]
PrivateKey = {KEY}
Address = 10.8.0.2/24  # mine
dns = 192.0.2.53

[Peer]
PublicKey = {KEY}
Endpoint = 192.0.2.1:51820
AllowedIPs = 0.0.0.0/0
"""
AMNEZIA = WIREGUARD.replace("dns", "Jc = 4\nJmin = 40\nJmax = 70\nS1 = 15\nH1 = 1234\ndns")
OPENVPN = f"""client
dev tun
remote 192.0.2.1 1194 tcp-client
cipher AES-128-GCM
<ca>
remote nothing
</ca>
<tls-crypt>
{KEY}
</tls-crypt>
"""
BRIDGE = "Bridge obfs4 192.0.2.1:443 0123456789ABCDEF0123456789ABCDEF01234567 cert=a+b/c iat-mode=1"


def brought(path: Path, text: str) -> Brought:
    path.write_text(text)
    found = read_brought(str(path))
    assert found is not None
    return found


def test_an_outbound_of_sing_box_loses_its_addresses_and_keys(tmp_path: Path) -> None:
    found = brought(tmp_path / "client.json", json.dumps(SING_BOX))
    assert found.name.parameters["client"] == {
        "type": "vless",
        "transport": {"type": "ws", "path": "/news"},
        "multiplex": {"enabled": True, "padding": True},
        "tls": {"enabled": True},
    }
    assert [line.partition(":")[0] for line in found.lost] == ["detour", "tls.utls"]
    assert found.title == "my-vless-ws-tls"
    alone = brought(tmp_path / "outbound.json", json.dumps(OUTBOUND))
    assert alone.name == found.name


def test_an_outbound_of_xray_runs_in_xray(tmp_path: Path) -> None:
    (tmp_path / "client.json").write_text(json.dumps(XRAY))
    choice = transport_choice(f"{tmp_path}/client.json#proxy")
    assert load_transport(choice) == xray.Transport("raw", "reality", vision=True, mux=True)
    assert str(choice) == "my-vless-raw-reality-vision-mux"


@pytest.mark.parametrize(
    ("protocol", "settings", "stream", "client"),
    [
        (
            "trojan",
            {"servers": [{"address": "a", "port": 1, "password": "p"}]},
            {"network": "grpc", "grpcSettings": {"serviceName": "s"}, "security": "tls"},
            {
                "type": "trojan",
                "transport": {"type": "grpc", "service_name": "s"},
                "tls": {"enabled": True},
            },
        ),
        (
            "shadowsocks",
            {"servers": [{"address": "a", "port": 1, "method": "aes-128-gcm", "password": "p"}]},
            {},
            {"type": "shadowsocks", "method": "aes-128-gcm"},
        ),
        (
            "vmess",
            {"vnext": [{"address": "a", "port": 1, "users": [{"id": "u"}]}]},
            {"network": "ws", "wsSettings": {"path": "/x", "headers": {"Host": "h"}}},
            {"type": "vmess", "transport": {"type": "ws", "path": "/x"}},
        ),
    ],
)
def test_other_protocols_of_xray_run_in_sing_box(
    tmp_path: Path, protocol: str, settings: object, stream: object, client: object
) -> None:
    outbound = {"protocol": protocol, "settings": settings, "streamSettings": stream}
    found = brought(tmp_path / "client.json", json.dumps(outbound))
    assert found.name.parameters == {"client": client}
    load_transport(transport_choice(f"{tmp_path}/client.json"))


def test_wireguard_of_xray_keeps_its_mask(tmp_path: Path) -> None:
    outbound = {
        "protocol": "wireguard",
        "settings": {"secretKey": KEY, "peers": [{"publicKey": KEY, "endpoint": "192.0.2.1:1"}]},
        "streamSettings": {"finalmask": {"udp": [{"type": "salamander"}]}},
    }
    (tmp_path / "client.json").write_text(json.dumps(outbound))
    made = load_transport(transport_choice(f"{tmp_path}/client.json"))
    assert made == xray_wireguard.Transport("salamander")


def test_the_junk_of_amnezia_becomes_noise_and_its_changed_headers_are_named(
    tmp_path: Path,
) -> None:
    path = tmp_path / "wg0.conf"
    assert brought(path, WIREGUARD).lost == ("DNS: the lab's tunnel has its own",)
    assert load_transport(transport_choice(str(path))) == wireguard.Transport()
    lost = brought(path, AMNEZIA).lost
    assert [line.partition(":")[0] for line in lost] == ["DNS", "S1", "H1"]
    made = load_transport(transport_choice(str(path)))
    assert made == xray_wireguard.Transport("noise", 4, "40-70")


def test_a_profile_of_openvpn_keeps_its_protocol(tmp_path: Path) -> None:
    found = brought(tmp_path / "client.ovpn", OPENVPN)
    assert load_transport(transport_choice(f"{tmp_path}/client.ovpn")) == openvpn.Transport("tcp")
    assert found.replaced == ("the server 192.0.2.1", "ca", "tls-crypt")
    assert [line.partition(":")[0] for line in found.lost] == ["tls-crypt", "cipher"]


def test_a_bridge_line_and_a_binary_are_transports(tmp_path: Path) -> None:
    assert load_transport(transport_choice(BRIDGE)) == obfs4.Transport(1)
    program = tmp_path / "lyrebird"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    command = (str(program),)
    made = load_transport(transport_choice(f"pt:{program} {{server_options = {{iat-mode = '1'}}}}"))
    assert made == pt.Transport("obfs4", command, command, {"iat-mode": "1"})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "{", "it is no JSON"),
        ("a.json", "[]", "expected a JSON object"),
        ("a.json", "{}", "outbounds: missing"),
        ("a.json", '{"outbounds": [{"type": "direct"}]}', "outbounds: 0 of them lead to a server"),
        ("a.json", '{"type": "wireguard"}', "type: 'wireguard' is none of anytls, "),
        ("a.json", '{"type": "vless", "server": "a", "uid": "u"}', "unknown field 'uid' of"),
        ("a.json", '{"type": "vless", "server": "a"}', "uuid: missing"),
        ("a.json", '{"outbond": [], "outbounds": []}', "unknown field 'outbond' of"),
        ("a.json", '{"protocol": "vless", "streamSetings": {}}', "unknown field 'streamSetings'"),
        ("a.json", '{"protocol": "vless", "settings": {"vnext": []}}', "vnext: expected a list"),
        ("a.json", '{"protocol": "wireguard", "settings": {}}', "secretKey: missing"),
        ("a.conf", WIREGUARD.replace("PrivateKey", "# "), "[Interface] PrivateKey: missing"),
        ("a.conf", WIREGUARD.replace(KEY, "short", 1), "[Interface] PrivateKey: it is no key"),
        ("a.conf", WIREGUARD.replace("Endpoint", "#"), "[Peer] Endpoint: missing"),
        ("a.conf", WIREGUARD.replace("dns", "Dnz"), "line 4: unknown field 'Dnz' of"),
        ("a.conf", AMNEZIA.replace("Jc = 4", "Jc = many"), "[Interface] Jc: 'many' is no number"),
        ("a.conf", "PrivateKey = x", "line 1: expected KEY = VALUE below [Interface]"),
        ("a.ovpn", OPENVPN.replace("remote 192", "# remote 192"), "remote: missing"),
        ("a.ovpn", OPENVPN.replace("dev tun", "dev tap"), "dev: 'tap': the lab runs `tun` only"),
        ("a.ovpn", OPENVPN.replace("</tls-crypt>", ""), "<tls-crypt>: its end is missing"),
    ],
)
def test_a_malformed_file_is_refused_in_one_sentence_that_names_the_field(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    with pytest.raises(ScenarioError) as refused:
        brought(tmp_path / name, text)
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"{tmp_path}/{name}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BRIDGE.replace("192.0.2.1:443", "a.example:443"), "address: 'a.example:443' is no"),
        (BRIDGE.replace("cert=", "crt="), "cert: missing"),
        (BRIDGE.replace("mode=1", "mode=3"), "iat-mode: '3' is none of 0, 1, 2"),
        (BRIDGE.replace("0123456789A", ""), "is neither a fingerprint nor KEY=VALUE"),
        ("webtunnel 192.0.2.1:443 url=https://a", "the lab has no program for webtunnel"),
        ("pt:/no/such/file", "there is no such file"),
        ("./no/such.conf", "there is none of this name"),
    ],
)
def test_a_malformed_line_is_refused_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        read_brought(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("type", "protocol", "server", "uuid", "password", "tls", "outbounds", "tag"),
                    *("settings", "vnext", "users", "streamSettings", "security", "peers"),
                ]
            ),
            inner | st.sampled_from(["vless", "trojan", "wireguard", "tls", "reality"]),
            max_size=6,
        )
    ),
    max_leaves=20,
)
ANY_FOLDER = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ANY_FOLDER
@given(JSON)
def test_any_json_is_read_or_refused(tmp_path: Path, content: object) -> None:
    with suppress(ScenarioError):
        brought(tmp_path / "a.json", json.dumps(content))


def lines_of(text: str) -> st.SearchStrategy[str]:
    """Draw a file that has some of a real one's lines, and others, in any order."""
    some = st.sampled_from(text.splitlines()) | st.text("[]=#<>/abc ", max_size=8)
    return st.lists(some, max_size=20).map("\n".join)


@ANY_FOLDER
@given(lines_of(AMNEZIA) | st.text(), lines_of(OPENVPN) | st.text())
def test_any_text_in_a_file_is_read_or_refused(tmp_path: Path, conf: str, ovpn: str) -> None:
    for name, text in (("a.conf", conf), ("a.ovpn", ovpn)):
        with suppress(ScenarioError):
            brought(tmp_path / name, text)


@given(st.text() | lines_of(BRIDGE.replace(" ", "\n")).map(lambda text: text.replace("\n", " ")))
def test_any_line_is_a_bridge_line_or_refused_or_something_else(text: str) -> None:
    with suppress(ScenarioError):
        read_brought(text)
