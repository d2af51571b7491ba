"""Parsing of timestamps, and texts that are not timestamps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wats_extract.errors import RecordError
from wats_extract.shred.instants import has_zone, instant, instants, microseconds
from wats_extract.tables import TIMESTAMP

FORMS = [
    ("2026-01-30T22:01:41.4707353+01:00", datetime(2026, 1, 30, 21, 1, 41, 470735, UTC)),
    ("2026-01-30T21:01:41.4707353Z", datetime(2026, 1, 30, 21, 1, 41, 470735, UTC)),
    ("2020-01-01T08:00:00.Z", datetime(2020, 1, 1, 8, tzinfo=UTC)),
    ("2024-04-15T02:49:36.93+00:00", datetime(2024, 4, 15, 2, 49, 36, 930000, UTC)),
    ("2018-04-01T13:40:40", datetime(2018, 4, 1, 13, 40, 40, tzinfo=UTC)),
    ("2020-08-05T07:03:58.7257865Z", datetime(2020, 8, 5, 7, 3, 58, 725786, UTC)),
    ("2018-04-01T13:40:40.472138+00:00", datetime(2018, 4, 1, 13, 40, 40, 472138, UTC)),
    ("2026-01-26T00:01:10.3366667", datetime(2026, 1, 26, 0, 1, 10, 336666, UTC)),
    ("2025-09-29 12:42:29.824638+02:00", datetime(2025, 9, 29, 10, 42, 29, 824638, UTC)),
    ("2017-10-19T10:43:00-0330", datetime(2017, 10, 19, 14, 13, tzinfo=UTC)),
    ("2017-10-19", datetime(2017, 10, 19, tzinfo=UTC)),
    ("0001-01-01T00:00:00", datetime(1, 1, 1, tzinfo=UTC)),
    ("9999-12-31T23:59:59.9999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)),
]


@pytest.mark.parametrize(("text", "moment"), FORMS, ids=[text for text, _ in FORMS])
def test_every_form_is_read(text: str, moment: datetime) -> None:
    assert instant(text) == moment
    column = instants([text, None])
    assert column.type == TIMESTAMP
    assert column.cast(pa.int64()).to_pylist() == [microseconds(moment), None]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "42",
        "1.1.2026",
        "2026-02-30T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-01T25:00:00Z",
        "2026-01-01T00:61:00",
        "2026-01-01T00:00:00+99:00",
        "2026-01-01T00:00:00Zebra",
    ],
)
def test_other_texts_are_refused_with_a_message(text: str) -> None:
    with pytest.raises(RecordError) as caught:
        instant(text)
    assert repr(text) in caught.value.message
    with pytest.raises(RecordError):
        instants(["2026-01-01T00:00:00Z", text])


@given(
    st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)),  # noqa: DTZ001
    st.integers(-14 * 60, 14 * 60),
    st.integers(0, 9),
)
def test_single_values_and_columns_agree_with_the_calendar(
    moment: datetime, offset: int, seventh: int
) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    text = f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + f".{moment.microsecond:06}{seventh}"
    text += f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02}:{abs(offset) % 60:02}"
    exact = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert microseconds(instant(text)) == exact
    found = instants([text]).cast(pa.int64())[0].as_py()
    assert found == exact or (exact < 0 and found == exact + (seventh > 0))


def test_offsets_are_detected() -> None:
    assert has_zone("2026-01-01T00:00:00Z")
    assert has_zone("2026-01-01T00:00:00-05:00")
    assert not has_zone("2026-01-01T00:00:00")
    assert not has_zone("nonsense")
