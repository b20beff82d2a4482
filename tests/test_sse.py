"""Bytes in, payloads out. Includes the examples of the WHATWG specification (HTML 9.2.6), in our own words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetch_hive_sdk import ResponseTooLargeError
from fetch_hive_sdk._protocol.sse import EventDecoder

BOM = b"\xef\xbb\xbf"


def decode(*chunks):
    """The payloads of a stream that arrives in these chunks, and the data of an incomplete last event."""
    decoder = EventDecoder()
    payloads = [payload for chunk in chunks for payload in decoder.feed(chunk)]
    return payloads, decoder.finish()


def byte_by_byte(stream):
    return [stream[i : i + 1] for i in range(len(stream))]


def cut(stream, places):
    """The stream split at these positions; some chunks may be empty."""
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in zip(edges, edges[1:])]


def reference_decoder(stream):
    """Section 9.2.6 implemented literally, for a complete stream."""
    payloads, data = [], []
    lines = re.split(rb"\r\n|\r|\n", stream.removeprefix(BOM))
    for line in lines[:-1]:
        if not line:
            payloads += [b"\n".join(data)] if any(data) or len(data) > 1 else []
            data = []
            continue
        field, colon, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" ") if colon else b"")
    return payloads


# --- The examples of the WHATWG specification ------------------------------------------------------------------------


def test_several_data_lines_are_one_payload():
    """A ticker sends a name, a change and a price in three lines, which are joined by line feeds."""
    payloads, rest = decode(b"data: HIVE\ndata: +3\ndata: 42\n\n")

    assert payloads == [b"HIVE\n+3\n42"]
    assert rest == b""


def test_comments_and_ids_are_ignored():
    """A comment is not an event, an id is ignored, and the last block is incomplete, as it has no blank line.

    The second of two spaces after the colon belongs to the data.
    """
    payloads, rest = decode(b": a stream to try\n\ndata: one\nid: 1\n\ndata:two\nid\n\ndata:  three")

    assert payloads == [b"one", b"two"]
    assert rest == b" three"


def test_field_without_a_colon_is_empty():
    """Two `data` lines are one line feed, a single one is no data, and the last block is incomplete.

    A browser would dispatch an event without data for the first block. This API does not need it.
    """
    payloads, rest = decode(b"data\n\ndata\ndata\n\ndata:")

    assert payloads == [b"\n"]
    assert rest == b""


@pytest.mark.parametrize("line", [b"data:test", b"data: test"])
def test_one_space_after_the_colon_is_removed(line):
    """The event is the same with and without it."""
    assert decode(line + b"\n\n") == ([b"test"], b"")


# --- Wire forms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newline", [b"\n", b"\r", b"\r\n"])
def test_all_line_ends_are_supported(newline):
    """LF, CR and CRLF, even if the bytes arrive one by one."""
    stream = newline.join([b"data: a", b"data: b", b"", b"data: c", b"", b""])

    assert decode(stream) == ([b"a\nb", b"c"], b"")
    assert decode(*byte_by_byte(stream)) == ([b"a\nb", b"c"], b"")


@pytest.mark.parametrize(
    "chunks",
    [
        (b"data: a\r", b"\n\r", b"\ndata: b\r\n\r\n"),
        (b"data: a\r", b"", b"\n", b"", b"\r", b"\n", b"data: b\r\n\r", b"\n"),
        (b"data: a\n\r\ndata: b\r\r",),
        (b"data: a\r", b"\rdata: b\n", b"\n"),
        (b"data: a\r\n\rdata: b\r", b"\n\n"),
    ],
)
def test_line_ends_may_be_mixed_and_split(chunks):
    """A CR at the end of one chunk and an LF at the beginning of the next are one line end."""
    assert decode(*chunks) == ([b"a", b"b"], b"")


def test_event_is_complete_after_a_carriage_return():
    """The decoder does not wait for a possible line feed."""
    decoder = EventDecoder()

    assert list(decoder.feed(b"data: a\r\n\r")) == [b"a"]
    assert list(decoder.feed(b"\n")) == []


@pytest.mark.parametrize(
    "chunks",
    [
        (BOM + b"data: a\n\n",),
        (b"\xef", b"\xbb", b"\xbf", b"data: a\n\n"),
        (b"\xef\xbb", b"\xbfda", b"ta: a\n\n"),
        (BOM, b"\n", b"data: a\n\n"),
        (BOM + b"\r\ndata: a\r\n\r\n",),
    ],
)
def test_one_leading_byte_order_mark_is_ignored(chunks):
    """Even if it is split between chunks."""
    assert decode(*chunks) == ([b"a"], b"")


def test_other_byte_order_marks_are_kept():
    """Only the first of a stream is ignored; a line that begins with another is an unknown field."""
    stream = BOM + BOM + b"data: a\n\n" + BOM + b"data: b\n\ndata: " + BOM + b"c\n\n"

    assert decode(stream) == ([BOM + b"c"], b"")


def test_stream_with_only_a_byte_order_mark_is_empty():
    """It has no events."""
    assert decode(BOM) == ([], b"")
    assert decode(b"") == ([], b"")
    assert decode() == ([], b"")


@pytest.mark.parametrize("inner", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x00"])
def test_only_cr_and_lf_end_a_line(inner):
    """JSON may contain other characters that Python treats as line ends."""
    payload = f'{{"response": "a{inner}b"}}'.encode()

    assert decode(b"data: " + payload + b"\n\n") == ([payload], b"")
    assert decode(*byte_by_byte(b"data: " + payload + b"\r\n\r\n")) == ([payload], b"")


def test_characters_may_be_split_anywhere():
    """The decoder does not decode them."""
    payload = "Grüße, 蜜蜂 🐝".encode()

    assert decode(*byte_by_byte(b"data: " + payload + b"\n\n")) == ([payload], b"")


@pytest.mark.parametrize(
    "line",
    [
        b": a comment",
        b":",
        b"id: 7",
        b"id",
        b"event: response",
        b"retry: 3000",
        b"retry: soon",
        b"unknown: field",
        b"unknown",
        b" data: indented",
        b"Data: capital",
        b"data : blank before the colon",
        b"datax: longer",
        b"dat: shorter",
        b"\xff\xfe not UTF-8",
    ],
)
def test_other_lines_are_ignored(line):
    """Inside of an event, and as a block of their own."""
    alone = line + b"\n\n"
    inside = b"data: a\n" + line + b"\ndata: b\n\n"

    assert decode(alone + inside + alone) == ([b"a\nb"], b"")


@pytest.mark.parametrize("block", [b"data\n\n", b"data:\n\n", b"data: \n\n", b"\n\n\n", b"id: 1\ndata:\n\n"])
def test_event_without_data_is_skipped(block):
    """It has no payload."""
    assert decode(block + b"data: a\n\n" + block) == ([b"a"], b"")


@pytest.mark.parametrize(
    ("line", "payload"),
    [
        (b"data:  two", b" two"),
        (b"data:\ttab", b"\ttab"),
        (b"data: a: b", b"a: b"),
        (b"data::", b":"),
        (b"data: a ", b"a "),
    ],
)
def test_data_is_unchanged(line, payload):
    """Except for one space after the colon."""
    assert decode(line + b"\n\n") == ([payload], b"")


@pytest.mark.parametrize(
    ("stream", "rest"),
    [
        (b"data: a", b"a"),
        (b"data: a\n", b"a"),
        (b"data: a\r", b"a"),
        (b"data: a\ndata: b", b"a\nb"),
        (b"data: a\nid: 1", b"a"),
        (b"data: a\n\n: comment", b""),
        (b"id: 1", b""),
        (b"dat", b""),
        (b"data", b""),
        (BOM + b"data: a", b"a"),
    ],
)
def test_incomplete_event_is_returned_at_the_end(stream, rest):
    """The caller decides whether to use it."""
    assert decode(stream)[1] == rest
    assert decode(*byte_by_byte(stream))[1] == rest


def test_incomplete_event_is_returned_once():
    """A second `finish` returns nothing."""
    decoder = EventDecoder()
    list(decoder.feed(b"data: a\ndata: b"))

    assert decoder.finish() == b"a\nb"
    assert decoder.finish() == b""


# --- Any stream in any chunks ----------------------------------------------------------------------------------------

newlines = st.sampled_from([b"\n", b"\r", b"\r\n"])
places = st.lists(st.integers(0, 10_000), max_size=20)
noise = st.sampled_from([b": comment", b"id: 1", b"event: response", b"retry: 10", b"other", b"data", b"data:"])
wire = st.lists(
    st.sampled_from(
        [b"\n", b"\r", b"\r\n", b"data", b"data:", b"data: ", b":", b" ", b"id: 1", BOM, b"a", "é".encode()]
    ),
    max_size=40,
).map(b"".join)
payload_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1)


@given(wire, places)
def test_chunking_does_not_matter(stream, places):
    """The payloads are the same, however the bytes are split."""
    whole = decode(stream)

    assert decode(*cut(stream, places)) == whole
    assert decode(*byte_by_byte(stream)) == whole


@given(st.binary(max_size=60), places)
def test_chunking_of_any_bytes_does_not_matter(stream, places):
    """The same for bytes that are not an event stream."""
    assert decode(*cut(stream, places)) == decode(stream)


@given(wire)
def test_payloads_match_the_specification(stream):
    """The decoder and a literal implementation of the WHATWG specification agree, except for events without data."""
    payloads, _ = decode(stream)

    assert payloads == reference_decoder(stream)


@given(st.lists(payload_texts, max_size=6), st.data(), places)
def test_payloads_survive_encoding(texts, data, places):
    """With any mixture of line ends, ignored lines in between, and any chunking."""
    lines = []
    for text in texts:
        lines += [b"data: " + line for line in text.encode().split(b"\n")]
        lines += [b": noise", b"id: 2", b""]
    stream, newline = b"", b""
    for line in lines:
        follows_cr = newline == b"\r" and not line
        # CR and then LF would be one line end.
        newline = data.draw(st.sampled_from([b"\r", b"\r\n"]) if follows_cr else newlines)
        stream += line + newline

    assert decode(*cut(stream, places)) == ([text.encode() for text in texts], b"")


@given(
    st.lists(payload_texts, min_size=1, max_size=4), st.lists(noise.filter(lambda line: line[:4] != b"data")), newlines
)
def test_other_fields_are_ignored(texts, lines, newline):
    """Comments, ids, names and reconnection times are ignored."""
    stream = b""
    for text in texts:
        between = [line + newline for line in lines]
        stream += b"".join(between)
        stream += b"".join(b"data:" + b" " + line + newline for line in text.encode().split(b"\n"))
        stream += b"".join(between) + newline

    assert decode(stream) == ([text.encode() for text in texts], b"")


# --- Limits ----------------------------------------------------------------------------------------------------------


def feed_for_ever(decoder, piece):
    """Feed the same chunk repeatedly; return the error and the number of bytes fed."""
    for fed in range(len(piece), 100_000, len(piece)):
        try:
            list(decoder.feed(piece))
        except ResponseTooLargeError as error:  # noqa: PERF203 - stops at the first error
            return error, fed
    raise AssertionError("it was taken without end")


@pytest.mark.parametrize("piece", [b"x", b"xyz", b"x" * 64, b"x" * 5000])
def test_endless_line_is_rejected(piece):
    """At the limit, with chunks of any size."""
    error, fed = feed_for_ever(EventDecoder(max_event_bytes=1000), piece)

    assert "longer than 1,000 bytes" in str(error)
    assert fed <= 1000 + len(piece)


@pytest.mark.parametrize("piece", [b"data: x\n", b"data: x\ndata: y\n", b"data:" + b"x" * 100 + b"\r\n", b"data\n"])
def test_endless_event_is_rejected(piece):
    """An event of many short lines."""
    error, _ = feed_for_ever(EventDecoder(max_event_bytes=1000), piece)

    assert "longer than 1,000 bytes" in str(error)
    assert len(error.body) <= 1000


def test_many_data_lines_in_one_chunk_are_limited():
    """The limit applies to the event, regardless of the chunks."""
    decoder = EventDecoder(max_event_bytes=1000)

    with pytest.raises(ResponseTooLargeError):
        list(decoder.feed(b"data: x\n" * 1000 + b"\n"))


def test_line_counts_together_with_the_data_before_it():
    """An event of data and an endless line is an endless event."""
    decoder = EventDecoder(max_event_bytes=1000)
    list(decoder.feed(b"data: " + b"a" * 600 + b"\n"))

    with pytest.raises(ResponseTooLargeError) as caught:
        list(decoder.feed(b"b" * 600))

    assert caught.value.body == b"a" * 600


def test_error_has_the_beginning_of_the_event():
    """At most 64 KiB of it."""
    decoder = EventDecoder(max_event_bytes=100_000)
    list(decoder.feed(b"data: " + b"a" * 90_000))

    with pytest.raises(ResponseTooLargeError) as caught:
        list(decoder.feed(b"a" * 90_000))

    assert caught.value.body == b"data: " + b"a" * (64 * 1024 - 6)
    assert caught.value.maybe_processed is True


def test_limit_applies_to_each_event():
    """The stream may be of any length."""
    decoder = EventDecoder(max_event_bytes=100)

    payloads = [payload for _ in range(1000) for payload in decoder.feed(b"data: " + b"a" * 50 + b"\n\n")]

    assert payloads == [b"a" * 50] * 1000


def test_comments_are_not_limited():
    """They keep a connection alive and are not stored."""
    decoder = EventDecoder(max_event_bytes=100)

    payloads = [payload for _ in range(1000) for payload in decoder.feed(b": still here\n\n")]

    assert payloads == []


def test_event_of_the_maximum_size_is_decoded():
    """In one chunk or in many."""
    line = b"data: " + b"a" * 94

    for chunks in ([line, b"\n\n"], [*byte_by_byte(line), b"\n\n"]):
        decoder = EventDecoder(max_event_bytes=100)
        assert [payload for chunk in chunks for payload in decoder.feed(chunk)] == [b"a" * 94]


def test_two_lines_of_data_may_have_the_maximum_size():
    """The line break between them counts once."""
    assert list(EventDecoder(max_event_bytes=9).feed(b"data:abcd\ndata:efgh\n\n")) == [b"abcd\nefgh"]


# --- The fast path for an event of one line --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([b"data: a\n\n", b"data: b\n\n"], [b"a", b"b"]),
        ([b"data: a\n", b"data: b\n\n"], [b"a\nb"]),
        ([b"foo", b"data: b\n\n"], []),
        ([b"data", b"data: b\n\n", b"data: c\n\n"], [b"c"]),
        ([b"data: a\n\n\r", b"data: b\n\n", b"\ndata: c\n\n"], [b"a", b"b", b"c"]),
        ([b"data: a\r", b"data: b\n\n"], [b"a\nb"]),
        ([b"data: a\rdata: b\n\n"], [b"a\nb"]),
        ([b"data: a\n\n", BOM + b"data: b\n\n"], [b"a"]),
        ([b": hello\n\n", BOM + b"data: b\n\n"], []),
        ([b"data: \n\n"], []),
        ([b"data: \n\n", b"data: b\n\n"], [b"b"]),
        ([b"data: a\n\n\n", b"data: b\n\n"], [b"a", b"b"]),
        ([b"data: a\n\n", b"", b"data: b\n\n"], [b"a", b"b"]),
        ([b"da", b"", b"data: b\n\n"], []),
        ([b"DATA: a\n\n", b"Data: b\n\n"], []),
        ([b"XXdata: XX\n\n"], []),
    ],
)
def test_fast_path_is_used_only_between_events(chunks, expected):
    """A chunk that looks like one complete event is one, unless an event has already begun."""
    payloads, _ = decode(*chunks)

    assert payloads == expected
    assert payloads == reference_decoder(b"".join(chunks))
