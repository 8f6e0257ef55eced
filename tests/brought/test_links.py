"""Links that people share: what is kept, what is the lab's own, and what is said of wrong ones."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from contextlib import suppress
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.experiment.brought.brought import Brought, read_brought
from testbed.experiment.choosing import load_transport, transport_choice
from testbed.experiment.explanations import ScenarioError
from testbed.transport.carried import Carried
from tests.command import command

SECRET = "a3482e88-686a-4a58-8126-99c9df64b7bf"
HOST = "vpn.example.org"
SCHEMES = st.sampled_from(["ss", "vless", "trojan", "hysteria2", "hy2", "tuic"])
KEYS = st.sampled_from(
    [
        *("type", "security", "path", "host", "serviceName", "alpn", "sni", "fp", "flow", "pbk"),
        *("sid", "mode", "extra", "obfs", "obfs-password", "insecure", "plugin", "headerType"),
        *("congestion_control", "udp_relay_mode", "encryption", "mport", "nosuch"),
    ]
)
WORDS = st.sampled_from(
    [
        *(
            "",
            "0",
            "1",
            "tcp",
            "ws",
            "grpc",
            "xhttp",
            "kcp",
            "tls",
            "reality",
            "none",
            "salamander",
        ),
        *("bbr", "native", "xtls-rprx-vision", "/path", "{}", '{"downloadSettings": {}}', "h3,h2"),
    ]
)


def brought(text: str) -> Brought:
    found = read_brought(text)
    assert found is not None
    return found


def client_of(text: str) -> object:
    """Return the outbound with which sing-box runs a link."""
    found = brought(text)
    assert found.name.place == "singbox"
    return found.name.parameters["client"]


def test_links_of_shadowsocks_are_read_in_all_their_forms() -> None:
    user = urlsafe_b64encode(b"aes-256-gcm:" + SECRET.encode()).decode().rstrip("=")
    old = urlsafe_b64encode(f"aes-256-gcm:{SECRET}@{HOST}:8388".encode()).decode()
    forms = (
        f"ss://{user}@{HOST}:8388#My server",
        f"ss://{user}@{HOST}:8388/?plugin=",
        f"ss://aes-256-gcm:{SECRET}@{HOST}:8388",
        f"ss://{old}#My%20server",
    )
    for form in forms:
        assert client_of(form) == {"type": "shadowsocks", "method": "aes-256-gcm"}


def test_a_plugin_carries_no_calls_and_the_link_says_so() -> None:
    [lost] = brought(f"ss://aes-128-gcm:p@{HOST}:1/?plugin=obfs-local%3Bobfs%3Dtls").lost
    assert lost.startswith("plugin: a plugin carries TCP only")


def test_reality_runs_in_xray_and_a_web_socket_in_sing_box() -> None:
    query = {"security": "reality", "type": "tcp", "flow": "xtls-rprx-vision", "fp": "firefox"}
    query |= {"pbk": "Zm9v", "sid": "0123", "sni": "www.example.com", "spx": "/"}
    found = brought(f"vless://{SECRET}@{HOST}:443?{urlencode(query)}#x")
    assert str(found.name) == (
        "xray {network = raw, security = reality, vision = true, fingerprint = firefox}"
    )
    assert found.replaced == (f"the server {HOST}", "uuid", "sni", "pbk", "sid", "spx")
    assert found.lost == ()
    query = {"security": "tls", "type": "ws", "path": "/news", "host": "cdn.example.com"}
    assert client_of(f"vless://{SECRET}@{HOST}:443?{urlencode(query)}") == {
        "type": "vless",
        "transport": {"type": "ws", "path": "/news"},
        "tls": {"enabled": True},
    }


def test_xhttp_keeps_its_mode_and_loses_its_second_server() -> None:
    extra = '{"xPaddingBytes": "10-20", "downloadSettings": {"address": "192.0.2.1"}}'
    query = {"security": "tls", "type": "xhttp", "path": "/x", "mode": "stream-one", "extra": extra}
    found = brought(f"vless://{SECRET}@{HOST}:443?{urlencode(query)}")
    assert found.name.parameters["settings"] == {
        "path": "/x",
        "mode": "stream-one",
        "extra": {"xPaddingBytes": "10-20"},
    }
    assert found.lost == ("extra.downloadSettings: the lab has one server, for both directions",)


def test_hysteria_and_tuic_keep_what_is_seen_on_the_wire() -> None:
    query = {"obfs": "salamander", "obfs-password": "p", "sni": "a.example", "insecure": "1"}
    found = brought(f"hy2://{SECRET}@{HOST}:443,5000-6000/?{urlencode(query)}")
    assert found.name.parameters["client"] == {
        "type": "hysteria2",
        "tls": {"enabled": True, "alpn": ["h3"]},
        "obfs": {"type": "salamander"},
    }
    assert [line.partition(":")[0] for line in found.lost] == ["server_ports"]
    link = f"tuic://{SECRET}:p@{HOST}:443?congestion_control=bbr&udp_relay_mode=quic"
    assert client_of(link) == {
        "type": "tuic",
        "tls": {"enabled": True, "alpn": ["h3"]},
        "congestion_control": "bbr",
        "udp_relay_mode": "quic",
    }
    for text in (link, f"hysteria2://{SECRET}@{HOST}"):
        choice = transport_choice(f"{text} through turn")
        assert isinstance(load_transport(choice), Carried)
        assert str(choice) == f"{brought(text).title} through turn"


@settings(max_examples=25)
@given(SCHEMES, st.text(min_size=1), st.dictionaries(KEYS, WORDS, max_size=5), st.text())
def test_any_link_is_run_or_refused_by_a_field_and_its_secrets_are_nowhere(
    scheme: str, user: str, query: dict[str, str], tag: str
) -> None:
    secret = f"{user}{SECRET}"
    before = {"ss": "aes-128-gcm:", "tuic": "u:"}.get(scheme, "")
    text = (
        f"{scheme}://{quote(before + secret, safe='')}@{HOST}:443?{urlencode(query)}#{quote(tag)}"
    )
    with suppress(ScenarioError):
        choice = transport_choice(text)
        load_transport(choice)
        found = brought(text)
        for shown in (repr(choice), str(found.name), found.title):
            assert SECRET not in shown
            assert HOST not in shown


@given(SCHEMES, st.text("abc:@/?#[]%=&0123456789.", max_size=30) | st.text())
def test_any_text_after_a_scheme_is_read_or_refused(scheme: str, rest: str) -> None:
    with suppress(ScenarioError):
        brought(f"{scheme}://{rest}")


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("vless://u@example.org", "vless link: port: missing after the host"),
        ("vless://u@example.org:0", "vless link: port: '0' is no number from 1 to 65535"),
        ("vless://example.org:443", "vless link: uuid: missing before the @"),
        ("vless://u@:443", "vless link: host: missing after the @"),
        ("vless://u@a@b:443", "vless link: host: expected vless://uuid@HOST:PORT"),
        ("vless://u@h:443?type=quic", "vless link: type: 'quic' is none of grpc, "),
        ("vless://u@h:443?security=reality", "vless link: pbk: missing, and security is reality"),
        ("vless://u@h:443?security=reality&pbk=a", "vless link: sni: missing"),
        ("vless://u@h:443?encryption=mlkem768x25519plus.native", "vless link: encryption: "),
        ("vless://u@h:443?type=xhttp&security=tls&extra=[]", "vless link: extra: it is no JSON"),
        ("ss://bm90aGluZw@h:1", "ss link: password: missing"),
        ("ss://rc4-md5:p@h:1", "ss link: method: 'rc4-md5' is none of "),
        ("tuic://u@h:443", "tuic link: password: missing"),
        ("hy2://p@h:443?obfs=salamander", "hy2 link: obfs-password: missing"),
        ("hy2://p@h:443?obfs=xplus", "hy2 link: obfs: 'xplus' is none of none, salamander"),
        ("trojan://p@h:443?headerType=http", "trojan link: headerType: "),
    ],
)
def test_a_malformed_link_is_refused_in_one_sentence_that_names_the_field(
    link: str, said: str
) -> None:
    with pytest.raises(ScenarioError) as refused:
        brought(link)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_the_command_says_what_would_run() -> None:
    done = command("explain", f"trojan://{SECRET}@{HOST}:443?sni=a.example&fp=chrome")
    assert done.status == 0, done.err
    assert done.out.splitlines() == [
        "This is a Trojan link.",
        'The lab runs: singbox {client = { type = "trojan", tls = { enabled = true } }}',
        "  sing-box, with a client's outbound from a link or file. Unordered.",
        "Its name in tables: my-trojan-tls",
        "The lab's own, instead of:",
        f"  the server {HOST}",
        "  password",
        "  tls.server_name",
        "Cannot be kept:",
        "  tls.utls: the lab's sing-box has no uTLS, so the ClientHello is Go's",
    ]
    assert command("explain", "trojan://p@h").status == 2
