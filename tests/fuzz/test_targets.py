"""The fuzzing targets with a few random inputs and known hard ones; ``make fuzz`` searches for more."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.search import INPUTS
from tests.fuzz.targets import FILTERS, TARGETS, moment, pipeline_file, seeds
from tests.shred.documents import documents

from wats_extract.errors import ConfigurationError
from wats_extract.fake.odata import collated, parse_filter
from wats_extract.fake.plant import clock
from wats_extract.fake.routes import reports as server
from wats_extract.fake.routes.reports import HEADER
from wats_extract.filters import odata


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_pass(name: str) -> None:
    for each in seeds(name):
        TARGETS[name](each)


@pytest.mark.parametrize("name", TARGETS)
def test_random_input_passes(name: str) -> None:
    @given(INPUTS[name])
    def passes(data: bytes) -> None:
        TARGETS[name](data)

    passes()


@given(documents(), st.data())
def test_damaged_documents_pass(made: dict[str, Any], data: st.DataObject) -> None:
    raw = json.dumps(made).encode()
    at = data.draw(st.integers(0, len(raw)))
    TARGETS["document"](
        raw[:at] + data.draw(st.binary(max_size=3)) + raw[at + data.draw(st.integers(0, 3)) :]
    )


# ── the pipeline file ───────────────────────────────────────────────────────────────────────────

_LAUGHS = "\n".join(
    ["a0: &a0 [lol, lol]", *(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
)


@pytest.mark.parametrize(
    "text",
    [
        _LAUGHS,
        _LAUGHS.replace("[", "{k: [").replace("]", "]}"),
        "\n".join(["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40))]),
        "a: &a [*a]",
        "a: &a {<<: *a}",
        "[" * 3000,
        "[" * 3000 + "]" * 3000,
        "- " * 3000,
        "a: " + "{a: " * 500 + "1" + "}" * 500,
        f"version: {'9' * 10_000}",
        f"version: 0x{'f' * 10_000}",
        "version: " + ":".join(["59"] * 5000),
        f"version: 1e{'9' * 100}",
        "version: 0b" + "1" * 50_000,
        "name: !!python/object/apply:os.system [ls]",
        "name: !!binary ////",
        "? [a, b]\n: c",
        "\0",
        "name: \ud83d\ude00".encode("utf-16", "surrogatepass").decode("latin-1"),
        "%YAML 9.9\n---\nname: a",
        "--- a\n--- b",
        "a: 2026-99-99T99:99:99Z",
        "x" * 1_000_000,
        "a: " * 10_000,
    ],
    ids=lambda text: repr(text[:30]),
)
def test_expensive_pipeline_files_are_refused_in_time(text: str) -> None:
    pipeline_file(text.encode("utf-8"))


# ── filters ─────────────────────────────────────────────────────────────────────────────────────

_TEXTS = st.text(max_size=12) | st.sampled_from(
    ["'", "''", "a'b", "1' or '1' eq '1", " ", "a ", "A", "ß", "SS"]
)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "part_number": _TEXTS,
    "serial_number": _TEXTS,
    "process_code": st.integers(-5, 5),
    "time_stamp": st.integers(-(2**63), 2**63 - 1),
    "execution_time": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-5, 5),
    "measures_deleted": st.booleans(),
    "uuid": st.uuids(),
    "start": st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
}


def _as_the_server_has_it(value: Any) -> Any:
    if isinstance(value, datetime):
        return clock.parse(odata.timestamp_text(value))
    return str(value) if isinstance(value, UUID) else value


@given(st.data())
def test_a_filter_selects_the_rows_with_its_values(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(_VALUES)), unique=True, max_size=3))
    wanted = {name: data.draw(st.lists(_VALUES[name] | st.none(), min_size=1, max_size=3)) for name in names}
    rows = [
        {name: data.draw(st.sampled_from(wanted[name]) | _VALUES[name] | st.none()) for name in names}
        for _ in range(3)
    ]
    try:
        text = odata.filter_text(wanted, FILTERS)
    except ConfigurationError as error:
        assert "control character" in error.message or "Unicode" in error.message  # noqa: PT017
        return
    matches = parse_filter(text, server.HEADER).matches if text else lambda row: True
    for row in rows:
        served = {FILTERS[name].source: _as_the_server_has_it(value) for name, value in row.items()}
        wanted_row = all(
            collated(row[name]) in [collated(value) for value in values] for name, values in wanted.items()
        )
        assert matches(served) == wanted_row, (text, row)
    assert set(served) <= set(HEADER.fields)


# ── timestamps ──────────────────────────────────────────────────────────────────────────────────


@given(
    st.from_regex(r"\A\s?\d{4}-\d\d?-\d\d?([T ]\d\d?(:\d\d(:\d\d([.,]\d{0,10})?)?)?(Z|[+-]\d\d:?\d\d)?)?\Z")
)
def test_texts_that_look_like_timestamps_pass(text: str) -> None:
    moment(text.encode("utf-8"))
