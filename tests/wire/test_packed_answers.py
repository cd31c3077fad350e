"""Answers that are compressed although nobody asked for it: unpacked, and never beyond the limit."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etrade_tasks import ETradeCredentials, Outcome, call_renew, sign_request
from etrade_tasks.oauth.http import BODY_LIMIT, unpacked
from etrade_tasks.oauth.replies import classify

SENTENCE = b"Access Token has been renewed"


def raw_deflate(body: bytes) -> bytes:
    """Compresses without zlib's wrapping, as some servers do."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "its old name": ("X-GZIP", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without wrapping": ("deflate", raw_deflate),
    "one after the other": ("deflate, identity, gzip", lambda body: gzip.compress(zlib.compress(body))),
    "not at all": ("identity", bytes),
    "no header": ("", bytes),
}
every_packing = pytest.mark.parametrize(("codings", "pack"), PACKERS.values(), ids=PACKERS)


@every_packing
def test_a_packed_answer_is_judged_by_what_it_says(
    serve: Any, keys_for: Callable[[str], ETradeCredentials], codings: str, pack: Callable[[bytes], bytes]
) -> None:
    """The sentence of success counts however the answer is packed."""
    server = serve(body=pack(SENTENCE), headers={"Content-Encoding": codings})
    reply = call_renew.fn(sign_request.fn(keys_for(server.url)))
    assert Outcome.RENEWED is classify(reply).outcome


def test_what_a_packed_answer_echoes_is_removed(
    serve: Any, keys_for: Callable[[str], ETradeCredentials]
) -> None:
    """A secret is removed from a compressed answer as from any other."""
    server = serve(body=gzip.compress(b"canary/access+token="), headers={"Content-Encoding": "gzip"})
    assert "canary" not in call_renew.fn(sign_request.fn(keys_for(server.url))).body


@every_packing
def test_no_more_than_the_limit_is_unpacked(codings: str, pack: Callable[[bytes], bytes]) -> None:
    """If a body unpacks to more than 64 KiB, the first 64 KiB are unpacked."""
    assert b"x" * BODY_LIMIT == unpacked(pack(b"x" * 20 * BODY_LIMIT), codings)[:BODY_LIMIT]
    assert codings in ("", "identity") or len(unpacked(pack(b"x" * 20 * BODY_LIMIT), codings)) == BODY_LIMIT


def test_a_bomb_takes_no_memory(serve: Any, keys_for: Callable[[str], ETradeCredentials]) -> None:
    """An answer of 20 KB that unpacks to 20 MB never takes much more memory than the limit."""
    bomb = gzip.compress(bytes(20_000_000))
    server = serve(body=bomb, headers={"Content-Encoding": "gzip"})
    request = sign_request.fn(keys_for(server.url))
    call_renew.fn(request)  # the first call also imports and caches things, which do not count
    tracemalloc.start()
    try:
        reply = call_renew.fn(request)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert BODY_LIMIT == len(reply.body)
    assert peak < 20 * BODY_LIMIT


@pytest.mark.parametrize("codings", ["br", "zstd", "gzip", "deflate", "gzip, gzip, gzip, gzip"])
def test_what_cannot_be_unpacked_says_so(codings: str) -> None:
    """An unknown coding, a broken one, or too many of them are named in place of the bytes."""
    assert unpacked(b"\x8b\x00canary", codings).startswith(b"[packed as ")
    assert b"canary" not in unpacked(b"\x8b\x00canary", codings)


def test_a_packed_answer_that_breaks_off_is_read_as_far_as_it_goes() -> None:
    """If the limit cuts a compressed body, what came before is still unpacked."""
    text = b"".join(b"%d " % number for number in range(1000))
    begun = unpacked(gzip.compress(text)[:500], "gzip")
    assert begun
    assert text.startswith(begun)


@given(body=st.binary(max_size=300), codings=st.text(max_size=30) | st.sampled_from(["gzip", "deflate"]))
def test_any_body_is_unpacked_somehow(body: bytes, codings: str) -> None:
    """Whatever the body and its claimed coding, unpacking never raises."""
    assert isinstance(unpacked(body, codings), bytes)
