"""Runs nftables commands in this process, with the library behind the program `nft`.

Starting a process costs a guest 5 ms. The commands apply to the network namespace in which the
thread is.
"""

from __future__ import annotations

import ctypes
from functools import cache

_LIBRARY = "libnftables.so.1"
_JSON_OUTPUT = 1 << 4
"""`NFT_CTX_OUTPUT_JSON` (nftables/libnftables.h)."""


class NftError(OSError):
    """nftables or the kernel refused a command; the message says which, and why."""


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise NftError(f"{_LIBRARY}, which comes with nftables, is missing: {error}") from None
    library.nft_ctx_new.restype = ctypes.c_void_p
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).restype = ctypes.c_char_p
    return library


def run_nft(commands: str, *, json: bool = False) -> str:
    """Run commands (nft(8)) as one transaction; return what they print.

    Raises:
        NftError: A command failed, so none has had an effect.
    """
    library = _library()
    context = ctypes.c_void_p(library.nft_ctx_new(0))
    try:
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        if json:
            library.nft_ctx_output_set_flags(context, _JSON_OUTPUT)
        failed = library.nft_run_cmd_from_buffer(context, commands.encode())
        if failed:
            said: bytes = library.nft_ctx_get_error_buffer(context)
            raise NftError(said.decode(errors="replace").strip())
        printed: bytes = library.nft_ctx_get_output_buffer(context)
        return printed.decode()
    finally:
        library.nft_ctx_free(context)
