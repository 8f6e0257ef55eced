"""Keeps Dask's client from unpickling anything that comes from a scheduler or a worker.

Unpickling runs code that the sender chooses. Dask sends functions to workers as pickles, which is
why whoever reaches a scheduler can run code on its workers. In the other direction the testbed
needs only `bytes` (`testbed.run.cell_results`), but Dask's client would unpickle results, errors,
types and events as well. Its option `deserializers` covers results only, so its loader is replaced,
too.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

import distributed.client
import distributed.protocol.pickle

DESERIALIZERS = ("dask", "msgpack", "error")
"""The serializers of Dask by which a result may be read. By `dask`, `bytes` are sent as they are,
after a pickle of their type."""
_TYPE_OF_BYTES = {pickle.dumps(bytes, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)}


class PickleError(TypeError):
    """Something from a cluster would have to be unpickled.

    It is a TypeError because that is what Dask expects of a traceback that cannot be read.
    """


def _load(content: bytes, *, buffers: Sequence[object] = ()) -> type[bytes]:
    if not buffers and bytes(content) in _TYPE_OF_BYTES:
        return bytes
    raise PickleError("a pickle from a cluster is not read")


@contextmanager
def no_pickles() -> Iterator[None]:
    """Keep Dask's client in this process from unpickling, as long as the context lasts.

    A scheduler in the same process cannot work meanwhile.
    """
    module: ModuleType = distributed.client
    with ExitStack() as stack:
        for place, name, loader in (
            (distributed.protocol.pickle, "loads", _load),
            (module, "loads", _load),
            (module, "pickle", SimpleNamespace(loads=_load)),
        ):
            stack.enter_context(patch.object(place, name, loader))
        yield
