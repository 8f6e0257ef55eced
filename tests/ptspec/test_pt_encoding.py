"""How arguments, settings and credentials are written: pt-spec's examples, and any text."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.transport.interface import Address
from testbed.transport.pt import encoding
from testbed.transport.pt.encoding import ExtendedOrPort

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
TRICKY = st.text(st.sampled_from("ab\\=,;: \"'\n+/"), max_size=12)
ARGS = st.dictionaries((TEXT | TRICKY).filter(bool), TEXT | TRICKY, max_size=5)
NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]*", fullmatch=True)


@given(ARGS)
def test_smethod_args_are_decoded_as_they_were_encoded(args: dict[str, str]) -> None:
    assert encoding.decode_smethod_args(encoding.encode_smethod_args(args)) == args


@given(ARGS)
def test_socks_args_are_decoded_as_they_were_encoded(args: dict[str, str]) -> None:
    assert encoding.decode_socks_args(encoding.encode_socks_args(args)) == args


@given(NAMES, ARGS)
def test_server_options_are_decoded_as_they_were_encoded(
    name: str, options: dict[str, str]
) -> None:
    text = encoding.encode_server_options(name, options)
    assert encoding.decode_server_options(text) == ({name: options} if options else {})


@given(ARGS)
def test_arguments_stay_the_same_from_smethod_to_socks(args: dict[str, str]) -> None:
    heard = encoding.decode_smethod_args(encoding.encode_smethod_args(args))
    assert encoding.decode_socks_args(encoding.encode_socks_args(heard)) == args


@given(st.text(max_size=40))
def test_any_text_is_either_decoded_or_refused(text: str) -> None:
    for decode in (
        encoding.decode_smethod_args,
        encoding.decode_socks_args,
        encoding.decode_server_options,
    ):
        try:
            decode(text)
        except ValueError:
            continue


def test_each_encoding_escapes_its_own_separator() -> None:
    args = {"k": "a,b;c=d\\e:f"}
    assert encoding.encode_smethod_args(args) == r"k=a\,b;c\=d\\e:f"
    assert encoding.encode_socks_args(args) == r"k=a,b\;c\=d\\e:f"
    assert encoding.encode_server_options("x", args) == r"x:k=a,b\;c=d\\e\:f"


def test_the_examples_of_the_specification_are_encoded_as_there() -> None:
    assert encoding.decode_server_options("scramblesuit:key=banana;automata:rule=110") == {
        "scramblesuit": {"key": "banana"},
        "automata": {"rule": "110"},
    }
    socks = encoding.encode_socks_args({"rocks": "20", "height": "5.6m"})
    assert socks == "rocks=20;height=5.6m"


def test_an_unescaped_equals_sign_in_a_value_is_tolerated() -> None:
    assert encoding.decode_smethod_args("cert=QUJD==,iat-mode=0") == {
        "cert": "QUJD==",
        "iat-mode": "0",
    }


@pytest.mark.parametrize("text", ["novalue", "=v", "k=v,,l=w", "k=v\\", "k=v,"])
def test_malformed_arguments_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"key=value|backslash"):
        encoding.decode_smethod_args(text)


@pytest.mark.parametrize("args", [{"": "v"}, {"k": "a\0b"}, {"k\0": "v"}])
def test_arguments_that_cannot_be_encoded_are_refused(args: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="argument"):
        encoding.encode_socks_args(args)
    with pytest.raises(ValueError, match="argument"):
        encoding.encode_server_options("x", args)


@given(ARGS)
def test_username_and_password_together_are_the_arguments(args: dict[str, str]) -> None:
    encoded = encoding.encode_socks_args(args).encode()
    if len(encoded) > 510:
        with pytest.raises(ValueError, match="at most 510"):
            encoding.socks5_credentials(args)
        return
    username, password = encoding.socks5_credentials(args)
    assert 1 <= len(password) <= 255
    assert len(username) <= 255
    assert username + (b"" if password == b"\0" else password) == encoded


@pytest.mark.parametrize(
    ("length", "password"), [(253, b"\0"), (254, b"v"), (508, b"v" * 255), (509, None)]
)
def test_the_password_has_what_does_not_fit_into_the_username(
    length: int, password: bytes | None
) -> None:
    args = {"k": "v" * length}  # with "k=": 2 more
    if password is None:
        with pytest.raises(ValueError, match="511 bytes"):
            encoding.socks5_credentials(args)
    else:
        assert encoding.socks5_credentials(args)[1] == password


def test_the_client_environment_is_that_of_pt_spec() -> None:
    environment = encoding.client_environment("obfs4", state_location=Path("state"))
    assert environment == {
        "TOR_PT_MANAGED_TRANSPORT_VER": "1",
        "TOR_PT_STATE_LOCATION": str(Path("state").absolute()),
        "TOR_PT_EXIT_ON_STDIN_CLOSE": "1",
        "TOR_PT_CLIENT_TRANSPORTS": "obfs4",
    }
    with_proxy = encoding.client_environment(
        "obfs4", state_location=Path("/s"), proxy="socks5://127.0.0.1:9"
    )
    assert with_proxy["TOR_PT_PROXY"] == "socks5://127.0.0.1:9"


def test_the_server_environment_is_that_of_pt_spec() -> None:
    environment = encoding.server_environment(
        "obfs4",
        state_location=Path("/state"),
        listen=Address("::", 443),
        orport=Address("127.0.0.1", 9001),
        options={"iat-mode": "1"},
    )
    assert environment == {
        "TOR_PT_MANAGED_TRANSPORT_VER": "1",
        "TOR_PT_STATE_LOCATION": "/state",
        "TOR_PT_EXIT_ON_STDIN_CLOSE": "1",
        "TOR_PT_SERVER_TRANSPORTS": "obfs4",
        "TOR_PT_SERVER_BINDADDR": "obfs4-[::]:443",
        "TOR_PT_SERVER_TRANSPORT_OPTIONS": "obfs4:iat-mode=1",
        "TOR_PT_ORPORT": "127.0.0.1:9001",
    }


def test_an_extended_orport_replaces_the_orport_in_the_environment() -> None:
    environment = encoding.server_environment(
        "obfs4",
        state_location=Path("/state"),
        listen=Address("127.0.0.1", 443),
        orport=ExtendedOrPort(Address("127.0.0.1", 9002), Path("/cookie")),
    )
    assert environment["TOR_PT_EXTENDED_SERVER_PORT"] == "127.0.0.1:9002"
    assert environment["TOR_PT_AUTH_COOKIE_FILE"] == "/cookie"
    assert "TOR_PT_ORPORT" not in environment


@pytest.mark.parametrize(
    ("name", "valid"),
    [("obfs4", True), ("_x9", True), ("4obfs", False), ("a-b", False), ("é", False)],
)
def test_only_names_that_pt_spec_allows_are_transport_names(name: str, valid: bool) -> None:
    assert encoding.is_transport_name(name) is valid
