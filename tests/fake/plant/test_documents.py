"""WSJF documents: the schema, consistency within a document, and agreement with header rows."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.plant.documents import EXPANSIONS, WORDS

Json = dict[str, Any]
SCHEMA = Path(__file__).resolve().parents[3].parent / "shared" / "wats" / "wsjf-schema.json"
OPERATORS = {
    "LOG": lambda v, low, high: True,
    "EQ": lambda v, low, high: v == low,
    "NE": lambda v, low, high: v != low,
    "GT": lambda v, low, high: v > low,
    "GE": lambda v, low, high: v >= low,
    "LT": lambda v, low, high: v < low,
    "LE": lambda v, low, high: v <= low,
    "GTLT": lambda v, low, high: low < v < high,
    "GTLE": lambda v, low, high: low < v <= high,
    "GELT": lambda v, low, high: low <= v < high,
    "GELE": lambda v, low, high: low <= v <= high,
    "LTGT": lambda v, low, high: v < low or v > high,
    "LTGE": lambda v, low, high: v < low or v >= high,
    "LEGT": lambda v, low, high: v <= low or v > high,
    "LEGE": lambda v, low, high: v <= low or v >= high,
}


@pytest.fixture(scope="module")
def reports() -> list[tuple[Json, Json]]:
    """The header rows and documents of enough reports to include every unusual value."""
    plant = Plant(1600)
    return [(row.fields, json.loads(row.document())) for row in plant.arrived()]


@pytest.fixture(scope="module")
def tests(reports: list[tuple[Json, Json]]) -> list[tuple[Json, Json]]:
    return [(row, document) for row, document in reports if document["type"] == "T"]


@pytest.fixture(scope="module")
def repairs(reports: list[tuple[Json, Json]]) -> list[tuple[Json, Json]]:
    return [(row, document) for row, document in reports if document["type"] == "R"]


def steps(step: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    here = f"{path}¶{step['name']}" if path else step["name"]
    yield here, step
    for child in step.get("steps", ()):
        yield from steps(child, here)


def measurements(document: Json) -> Iterator[tuple[str, Json]]:
    for _, step in steps(document["root"]):
        for block in ("numericMeas", "stringMeas", "booleanMeas"):
            yield from ((block, each) for each in step.get(block, ()))


# ------------------------------------------------------------ against the schema


def mismatches(value: Any, schema: Json, schemas: Json, where: str = "$") -> Iterator[str]:
    """Yields each key that the schema lacks and each value of another type. Null matches every type."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    kind = schema["type"]
    if value is None:
        return
    if kind == "object":
        for key, each in value.items():
            if key in schema["properties"]:
                yield from mismatches(each, schema["properties"][key], schemas, f"{where}.{key}")
            else:
                yield f"{where}.{key} is unknown"
    elif kind == "array":
        for each in value:
            yield from mismatches(each, schema["items"], schemas, f"{where}[]")
    elif not has_type(value, kind):
        yield f"{where} is {value!r}, not {kind}"


def has_type(value: Any, kind: str) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "number": number or value == "NaN",
        "integer": number and value == int(value),
    }[kind]


@pytest.mark.skipif(not SCHEMA.exists(), reason="the WSJF schema isn't part of the project")
def test_documents_match_the_schema(reports: list[tuple[Json, Json]]) -> None:
    schemas = json.loads(SCHEMA.read_text(encoding="utf-8"))["components"]["schemas"]
    report = {"$ref": "Virinco.WATS.Schemas.WSJF.Report"}
    schemas = {name.rpartition("/")[2]: schema for name, schema in schemas.items()}
    found = {mismatch for _, document in reports[::2] for mismatch in mismatches(document, report, schemas)}
    assert not found


# ------------------------------------------------------------ header and document agree


def test_header_rows_agree_with_documents(reports: list[tuple[Json, Json]]) -> None:
    for row, document in reports:
        own = document.get("uut") or document["uur"]
        assert row["uuid"] == document["id"]
        assert (row["serialNumber"], row["partNumber"], row["revision"]) == (
            document["sn"], document["pn"], document["rev"],
        )  # fmt: skip
        assert (row["start"], row["reportType"]) == (document["start"], document["type"])
        assert row["result"] == WORDS[document["result"]]
        assert (row["processCode"], row["processName"]) == (document["processCode"], document["processName"])
        assert (row["stationName"], row["location"], row["purpose"]) == (
            document["machineName"], document["location"], document["purpose"],
        )  # fmt: skip
        assert (row["userName"], row["comment"], row["executionTime"]) == (
            own["user"], own["comment"], own["execTime"],
        )  # fmt: skip
        assert abs(row["reportSize"] - len(json.dumps(document, separators=(",", ":"))) / 1024) < 3


def test_header_rows_of_tests_agree_with_documents(tests: list[tuple[Json, Json]]) -> None:
    for row, document in tests:
        uut = document["uut"]
        pairs = {
            "batchNumber": "batchSN", "testSocketIndex": "testSocketIndex", "fixtureId": "fixtureId",
            "errorCode": "errorCode", "errorMessage": "errorMessage",
        }  # fmt: skip
        assert {name: row[name] for name in pairs} == {name: uut[key] for name, key in pairs.items()}
        assert row["passedInRun"] == (row["run"] if row["result"] == "Passed" else None)


def test_expansions_agree_with_documents(client: httpx2.Client) -> None:
    params = {"$expand": ",".join(EXPANSIONS), "$top": "600"}
    for row in client.get("/api/Report/Query/Header", params=params).json():
        document = client.get(f"/api/Report/Wsjf/{row['uuid']}").json()
        repair = document["type"] == "R"
        units = row["uurSubUnits"] if repair else row["subUnits"]
        infos = row["uurMiscInfo"] if repair else row["miscInfo"]
        assert [unit["serialNumber"] for unit in units] == [
            unit["sn"] for unit in document["subUnits"] if unit.get("idx") != 0
        ]
        assert [(info["description"], info["value"]) for info in infos] == [
            (info["description"], info["text"] or str(info["numeric"])) for info in document["miscInfos"]
        ]
        assert [each["serialNumber"] for each in row["assets"]] == [
            each["assetSN"] for each in document["assets"]
        ]
        assert not (row["subUnits"] if repair else row["uurSubUnits"])


def test_failed_step_agrees_in_step_document_and_header(tests: list[tuple[Json, Json]]) -> None:
    for row, document in tests:
        causes = [(path, step) for path, step in steps(document["root"]) if step["causedUUTFailure"]]
        assert len(causes) == (row["result"] != "Passed")
        assert document["root"]["status"] == document["result"]
        if causes:
            path, step = causes[0]
            assert document["uut"]["stepIdCausedUUTFailure"] == step["id"]
            assert (row["causedUutFailure"], row["causedUutFailurePath"]) == (step["name"], path)
            assert step["status"] == document["result"]


# ------------------------------------------------------------ the tree


def test_step_ids_are_in_pre_order(tests: list[tuple[Json, Json]]) -> None:
    for row, document in tests:
        ids = [step["id"] for _, step in steps(document["root"])]
        assert ids[0] == 1
        assert ids == sorted(set(ids))
        if row["result"] != "Terminated":
            assert ids == list(range(1, len(ids) + 1))


def test_single_measurement_has_no_name(tests: list[tuple[Json, Json]]) -> None:
    for _, document in tests:
        for _, step in steps(document["root"]):
            blocks = [step[key] for key in ("numericMeas", "stringMeas", "booleanMeas") if key in step]
            assert len(blocks) <= 1
            for block in blocks:
                names = [each["name"] for each in block]
                assert names == [None] if len(names) == 1 else len(set(names)) == len(names)
            if step["status"] == "S":
                assert not blocks


def test_status_agrees_with_value_and_limits(tests: list[tuple[Json, Json]]) -> None:
    seen: Counter[str] = Counter()
    for _, document in tests:
        for block, each in measurements(document):
            if block != "numericMeas" or each["value"] == "NaN":
                continue
            op, low, high = each["compOp"], each["lowLimit"], each["highLimit"]
            assert (low is None, high is None) == (op == "LOG", len(op) < 4)
            assert OPERATORS[op](each["value"], low, high) == (each["status"] == "P"), each
            seen[op] += 1
    assert seen.keys() == OPERATORS.keys()


def test_every_step_type_occurs(tests: list[tuple[Json, Json]]) -> None:
    kinds = {step["stepType"] for _, document in tests for _, step in steps(document["root"])}
    assert kinds >= {
        "SequenceCall", "ET_NLT", "ET_MNLT", "ET_SVT", "ET_MSVT", "ET_PFT", "ET_MPFT", "ET_A", "Action",
        "NI_Wait", "MessagePopup", "CallExecutable", "WATS_XYGMNLT", "WATS_AttachFile",
    }  # fmt: skip
    groups = {step["group"] for _, document in tests for _, step in steps(document["root"])}
    assert groups == {"S", "M", "C"}
    assert max(path.count("¶") for _, document in tests for path, _ in steps(document["root"])) >= 4


def test_loops_have_a_header_and_iterations(tests: list[tuple[Json, Json]]) -> None:
    loops = [step for _, document in tests for _, step in steps(document["root"]) if "loop" in step]
    headers = [step["loop"] for step in loops if step["loop"]["idx"] is None]
    assert headers
    assert all(loop["num"] == loop["endingIndex"] for loop in headers)
    assert {step["loop"]["idx"] for step in loops} == {None, 0, 1, 2}
    assert {"numericMeas" in step for step in loops if step["loop"]["idx"] is None} == {True, False}


def test_chart_series_have_equal_lengths(tests: list[tuple[Json, Json]]) -> None:
    charts = [
        step["chart"] for _, document in tests for _, step in steps(document["root"]) if "chart" in step
    ]
    assert charts
    for series in charts[0]["series"]:
        assert len(series["xdata"].split(";")) == len(series["ydata"].split(";")) == 40
    assert len(charts[0]["series"]) == 2


# ------------------------------------------------------------ repairs


def test_repairs_refer_to_a_failed_test(
    reports: list[tuple[Json, Json]], repairs: list[tuple[Json, Json]]
) -> None:
    known = {row["uuid"]: (row, document) for row, document in reports}
    assert 0.01 < len(repairs) / len(reports) < 0.08
    for row, document in repairs:
        tested, test = known[document["uur"]["refUUT"]]
        assert row["referencedUut"] == tested["uuid"]
        assert tested["result"] == "Failed"
        assert tested["timeStamp"] < row["timeStamp"]
        assert clock.parse(tested["start"]) < clock.parse(row["start"])
        assert (test["sn"], test["processCode"]) == (document["sn"], document["uur"]["processCode"])
        (failure,) = document["subUnits"][0]["failures"]
        names = {step["id"]: step["name"] for _, step in steps(test["root"])} | {0: "MainSequence Callback"}
        assert failure["refStepName"] == names[failure["refStepId"]]


def test_repairs_use_the_codes_of_the_process(
    client: httpx2.Client, repairs: list[tuple[Json, Json]]
) -> None:
    processes = client.get("/api/App/Processes").json()
    (repair,) = [each for each in processes if each["isRepairOperation"]]
    codes = {
        (category["description"], code["description"])
        for category in repair["repairOperation"]["repairCategories"]
        for code in category["repairCodes"]
    }
    used = {
        (failure["category"], failure["code"])
        for _, document in repairs
        for unit in document["subUnits"]
        for failure in unit.get("failures", ())
    }
    assert used <= codes
    assert {unit["idx"] for _, document in repairs for unit in document["subUnits"]} == {0, 1, 3}


# ------------------------------------------------------------ unusual values and patterns


def test_unusual_real_world_values_occur(
    reports: list[tuple[Json, Json]], tests: list[tuple[Json, Json]]
) -> None:
    texts = [json.dumps(document, ensure_ascii=False) for _, document in reports]
    assert any(
        document["startUTC"].endswith(":00.Z") or ".Z" in document["startUTC"] for _, document in reports
    )
    assert any(row["revision"].endswith("  ") for row, _ in reports)
    assert any(set("/'¶%") & set(row["partNumber"]) for row, _ in reports)
    assert any(isinstance(document["uut"]["testSocketIndex"], float) for _, document in tests)
    assert any('"NaN"' in text for text in texts)
    assert any("🚚" in text for text in texts)
    assert any("productName" not in document for _, document in reports)
    assert any(row["measuresDeleted"] for row, _ in tests)
    assert {row["result"] for row, _ in tests} == {"Passed", "Failed", "Error", "Terminated"}
    assert any(row["run"] == 2 and row["result"] == "Passed" for row, _ in tests)
    assert any("additionalResults" in text for text in texts)
    assert any(document["additionalData"] for _, document in tests)
    offsets = {document["start"][-6:] for _, document in reports}
    assert offsets == {"+01:00"}
    for row, document in tests:
        if row["measuresDeleted"]:
            assert not list(measurements(document))


def test_exponents_have_a_capital_e() -> None:
    plant = Plant(10)
    row = next(row for row in plant.arrived() if row.fields["partNumber"] == "PCBA-100")
    assert b"E-05" in row.document()


def test_some_reports_arrive_late(reports: list[tuple[Json, Json]]) -> None:
    starts = [clock.parse(row["start"]) for row, _ in reports]
    late = [number for number, start in enumerate(starts) if start < clock.arrival(number) - clock.HOUR]
    assert 5 < len(late) < 60
    assert all(
        start >= clock.arrival(number) - clock.MAX_ARRIVAL_DELAY for number, start in enumerate(starts)
    )
    assert all(start < clock.arrival(number) for number, start in enumerate(starts))


def test_failure_patterns_show_in_the_data() -> None:
    rows = [row for row in Plant(6000).headers() if row["reportType"] == "T" and row["run"] == 1]

    def failing(**wanted: str) -> float:
        chosen = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
        return sum(row["result"] != "Passed" for row in chosen) / len(chosen)

    assert failing(partNumber="PCBA-100") < failing(partNumber="UNIT-400") < failing(partNumber="MODULE-320")
    assert failing(stationName="HORTEN-ICT-2") > 2 * failing(stationName="HORTEN-ICT-1")
    causes = Counter(row["causedUutFailure"] for row in rows if row["partNumber"] == "MODULE-320")
    assert causes.most_common(2)[1][0] == "Output power"


def test_gain_drifts_and_is_recalibrated() -> None:
    plant = Plant(3200)
    gains = [
        (number, step["numericMeas"][0]["value"])
        for number, row in enumerate(plant.arrived())
        if (row.fields["partNumber"], row.fields["processCode"], row.fields["result"])
        == ("MODULE-310", 20, "Passed")
        for _, step in steps(json.loads(row.document())["root"])
        if step["name"] == "Gain" and "numericMeas" in step
    ]
    by_phase: dict[int, list[float]] = {}
    for number, gain in gains:
        by_phase.setdefault(number // 400, []).append(gain)
    means = [sum(values) / len(values) for values in by_phase.values()]
    assert means[0] < means[1] < means[2] < means[3] > means[4] < means[5]


# ------------------------------------------------------------ detail and attachments


def test_detail_levels_are_cumulative(client: httpx2.Client, plant: Plant) -> None:
    uuid = next(
        row["uuid"]
        for row in plant.headers()
        if row["partNumber"] == "MODULE-320" and row["processCode"] == 20
    )
    address = f"/api/Report/Wsjf/{uuid}"
    levels = [client.get(address, params={"detailLevel": level}) for level in range(8)]
    sizes = [len(level.content) for level in levels]
    assert sizes == sorted(sizes)
    assert {"id", "pn", "sn"} <= levels[0].json().keys()
    assert not {"root", "uut", "miscInfos"} & levels[0].json().keys()
    assert not list(measurements(levels[4].json()))
    assert list(measurements(levels[5].json()))
    assert levels[7].json() == client.get(address).json() == plant.document(uuid)
    assert b'"chart"' not in client.get(address, params={"includeChartdata": "false"}).content
    assert client.get(address, params={"detailLevel": 8}).status_code == 400
    assert client.get(address, params={"detailLevel": "all"}).status_code == 400
    assert client.get(address, params={"includeAttachments": "perhaps"}).status_code == 400


def test_attachments_of_tests_by_step(client: httpx2.Client) -> None:
    params = {"$filter": "attachments/any()", "$expand": "attachments", "$top": "100"}
    rows = client.get("/api/Report/Query/Header", params=params).json()
    assert rows
    for row in rows:
        (entry,) = row["attachments"]
        response = client.get(
            "/api/Report/Attachment", params={"reportId": row["uuid"], "stepId": entry["stepId"]}
        )
        assert response.status_code == 200
        assert entry["filename"] in response.headers["Content-Disposition"]
        document = client.get(f"/api/report/wsjf/{row['uuid']}").json()
        step = next(step for _, step in steps(document["root"]) if step["id"] == entry["stepId"])
        assert base64.b64decode(step["attachment"]["data"]) == response.content
        assert step["attachment"]["contentType"] == response.headers["Content-Type"]
    slim = client.get(f"/api/report/wsjf/{rows[0]['uuid']}", params={"includeAttachments": "false"})
    assert b'"attachment"' not in slim.content


def test_attachments_of_repairs_by_id(client: httpx2.Client) -> None:
    params = {"$filter": "uurAttachments/any()", "$expand": "uurAttachments", "$top": "100"}
    rows = client.get("/api/Report/Query/Header", params=params).json()
    assert rows
    for row in rows:
        for entry in row["uurAttachments"]:
            query = {"reportId": row["uuid"], "attachmentId": entry["id"]}
            assert client.get("/api/Report/Attachment", params=query).content.startswith(b"\x89PNG")
        archive = client.get(f"/api/Report/Attachments/{row['uuid']}").content
        assert len(zipfile.ZipFile(io.BytesIO(archive)).namelist()) == len(row["uurAttachments"])


def test_missing_items_and_invalid_requests(client: httpx2.Client, plant: Plant) -> None:
    uuid = plant.uuids()[0]
    nobody = "00000000-0000-4000-8000-000000000000"
    assert client.get(f"/api/Report/Wsjf/{nobody}").status_code == 404
    assert "not found" in client.get(f"/api/Report/Wsjf/{nobody}").json()["Message"]
    assert client.get("/api/Report/Wsjf/5").status_code == 400
    assert client.get("/api/Report/Attachment", params={"reportId": uuid, "stepId": 9999}).status_code == 404
    assert client.get("/api/Report/Attachment", params={"stepId": 1}).status_code == 400
    assert client.get("/api/Report/Attachment", params={"reportId": uuid}).status_code == 400
    assert client.get(f"/api/Report/Attachments/{nobody}").status_code == 404
