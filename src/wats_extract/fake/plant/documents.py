"""Generated reports as JSON text: header rows and WSJF documents, with keys in the order of real exports."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache

from wats_extract.fake.plant import clock
from wats_extract.fake.plant.programs import FUNCTION, ICT, REPAIR_CODES, Process
from wats_extract.fake.plant.scenario import Report, Scenario, measures_deleted, outcome, trouble
from wats_extract.fake.plant.steps import number, quoted

WORDS = {"P": "Passed", "F": "Failed", "E": "Error", "T": "Terminated"}
EXPANSIONS = ("subUnits", "miscInfo", "assets", "attachments", "uurSubUnits", "uurMiscInfo", "uurAttachments")
"""The collections that `$expand` adds to a header row, in the order of the row."""

OPERATORS = ("kari", "ola", "bjørn", "agnieszka", "operator-2", "åse")
REPAIRERS = ("tor", "ewa")
_COMMENTS = (
    "Målt på nytt etter bytte av kabel",
    "golden unit ✓",
    'Kunden sa: "haster" 🚚',
    "see NCR-4411; retest\nline 2",
)
_ORIGIN = ("4C5F70D62FF4", "8C16455B0A21", "8033657d-c2c1-40f8-832b-a48113cf869a")

_text = lru_cache(8192)(quoted)


# ------------------------------------------------------------ facts of one report


def start(report: Report) -> int:
    """The tick at which a report starts, before its arrival. A few reports arrive hours or days late."""
    entropy, event = report.entropy, report.event
    tick = clock.arrival(report.number) - int(execution_time(report) * clock.SECOND)
    tick -= int.from_bytes(entropy[9:13], "big") % (170 * clock.SECOND)
    if entropy[13] < 4 and event.run == 1 and event.result == "P":
        tick -= (1 + entropy[14] * 69 // 255) * clock.HOUR
    return tick - tick % clock.SECOND if _has_malformed_utc(report) else tick


def execution_time(report: Report) -> float:
    """The execution time in seconds."""
    base = {10: 41.0, 20: 118.5, 30: 540.0, 500: 0.0}[report.event.process.code]
    return round(base * (0.9 + (report.entropy[16] << 8 | report.entropy[17]) / 400_000), 3)


def size(report: Report) -> int:
    """The approximate size of the document in bytes, without rendering it for each header row."""
    if report.is_repair:
        return 1300 + _picture_count(report) * 4 * len(_picture(0)) // 3
    attached = _log_file(report)
    return report.program.size(outcome(report)) + 1100 + (len(attached[2]) * 4 // 3 if attached else 0)


def _has_malformed_utc(report: Report) -> bool:
    return report.entropy[25] < 3


def _user(report: Report) -> str:
    names = REPAIRERS if report.is_repair else OPERATORS
    return names[report.entropy[15] % len(names)]


def _comment(report: Report) -> str | None:
    if report.is_repair:
        return f"Repaired after {report.tested.process.name}"
    return _COMMENTS[report.entropy[18] % len(_COMMENTS)] if report.entropy[18] < 24 else None


def _socket(report: Report) -> int | None:
    return report.entropy[24] % 4 if report.event.process == ICT else None


def _fixture(report: Report) -> str | None:
    return None if report.event.process != ICT else f"FIX-{report.entropy[23] % 3 + 1:02d}"


def _sub_units(report: Report) -> list[tuple[str, str, str, str]]:
    """Type, part number, revision and serial number of the sub units."""
    lot, unit = report.lot, report.event.unit
    if not lot.product.has_sub_units:
        return []
    serial = f"{lot.number:05d}{unit:02d}"
    return [("Module", "MODULE-310", "02", f"SN2{serial}"), ("PCBA", "PCBA-100", "B", f"SN1{serial}")]


def _misc(report: Report) -> list[tuple[str, str | None, int | None]]:
    """Description, text and number of the misc infos."""
    if report.is_repair:
        return [("Ticket", f"T-{report.number % 9000 + 1000}", None)] if report.entropy[19] < 128 else []
    infos: list[tuple[str, str | None, int | None]] = [("Humidity", None, 30 + report.entropy[19] % 25)]
    if report.event.process == FUNCTION:
        infos.append(("Firmware", f"FW-{report.lot.software}", None))
    return [*infos, ("Merknad", "æøå < & >", None)] if report.entropy[19] < 20 else infos


def _instruments(report: Report) -> list[tuple[str, int]]:
    """Serial number and usage count of the assets used."""
    if report.is_repair or report.event.process != FUNCTION:
        return []
    return [
        (f"DMM-{report.lot.line + 1}042", report.number % 5000),
        (f"PSU-{report.lot.line + 1}007", report.number),
    ]


def _log_file(report: Report) -> tuple[str, str, bytes] | None:
    """Name, content type and bytes of a test's attachment; None if it has none."""
    if report.is_repair or report.entropy[22] >= 12 or report.event.result == "T":
        return None
    serial = report.lot.serial(report.event.unit)
    if report.entropy[22] < 3:
        return f"{serial}.png", "image/png", _picture(report.number)
    lines = (f"{n};{report.entropy[n % 40]};ok" for n in range(20 + 4 * report.entropy[22]))
    return f"log-{serial}.csv", "text/csv", "\r\n".join(("n;value;note", *lines)).encode()


def _pictures(report: Report) -> list[tuple[str, str, str, bytes]]:
    """Id, name, content type and bytes of a repair's files: first the failure's, then the unit's."""
    names = ("before.png", "rework.png")[: _picture_count(report)]
    return [
        (_file_id(report, n), name, "image/png", _picture(report.number + n)) for n, name in enumerate(names)
    ]


def _picture_count(report: Report) -> int:
    return (report.entropy[22] < 64) + (report.entropy[22] < 24)


def _file_id(report: Report, ordinal: int) -> str:
    drawn = report.entropy[24:39].hex()
    return f"{drawn[:8]}-{drawn[8:12]}-4{drawn[12:15]}-8{drawn[15:18]}-{drawn[18:30]}"[:-1] + str(ordinal)


@lru_cache(64)
def _picture(salt: int) -> bytes:
    """A valid PNG image of 24 by 24 grey pixels."""
    rows = b"".join(b"\0" + bytes((x * y * (salt % 7 + 1)) % 256 for x in range(24)) for y in range(24))
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", 24, 24, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))
        for tag, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


# ------------------------------------------------------------ the header row


def header(scenario: Scenario, report: Report, time_stamp: int) -> str:
    """The header row without its closing brace, so that expansions can follow."""
    lot, event, process = report.lot, report.event, report.event.process
    uuid = scenario.uuid(report.number, report.entropy)
    return (
        f'{{"uuid":"{uuid}","serialNumber":"{lot.serial(event.unit)}",'
        f'"partNumber":{_text(lot.part_number)},"reportType":"{"R" if report.is_repair else "T"}",'
        f'"start":"{clock.local(start(report))}","revision":{_text(lot.revision)},"result":"{WORDS[event.result]}",'
        f'"batchNumber":{"null" if report.is_repair else _text(lot.batch)},"userName":{_text(_user(report))},'
        f'"stationName":"{event.station}","location":{_text(lot.place)},"purpose":"{_purpose(process)}",'
        f'"measuresDeleted":{"true" if measures_deleted(report) else "false"},"timeStamp":{time_stamp},'
        f'"processCode":{process.code},"processName":"{process.name}","comment":{_text(_comment(report))},'
        f'"executionTime":{execution_time(report)},{_header_tail(scenario, report)}'
    )


def _header_tail(scenario: Scenario, report: Report) -> str:
    """The fields that differ by type. Rows of repairs leave out null fields, rows of tests include them."""
    size_kb = size(report) // 1024 + 1
    if report.is_repair:
        reference = scenario.uuid(scenario.repaired(report))
        return f'"receiveCount":1,"reportSize":{size_kb},"referencedUut":"{reference}"'
    lot, event, process = report.lot, report.event, report.event.process
    code, message = trouble(report) if event.result == "E" else (None, None)
    cause = event.cause
    return (
        f'"swFilename":"{process.name}.seq","swVersion":"{lot.software}","testSocketIndex":{_text(_socket(report))},'
        f'"fixtureId":{_text(_fixture(report))},"errorCode":{_text(code)},"errorMessage":{_text(message)},'
        f'"run":{event.run},"receiveCount":1,"reportSize":{size_kb},'
        f'"causedUutFailure":{_text(cause and cause.name)},'
        f'"causedUutFailurePath":{_text(cause and cause.path)},'
        f'"passedInRun":{event.run if event.result == "P" else "null"},"referencedUut":null'
    )


def expansions(report: Report, names: Collection[str]) -> str:
    """The expanded collections of a header row, each with a comma before it."""
    return "".join(f',"{name}":{quoted(_EXPANDED[name](report))}' for name in EXPANSIONS if name in names)


def _units_row(report: Report) -> list[dict[str, str]]:
    keys = ("partType", "partNumber", "revision", "serialNumber")
    return [] if report.is_repair else [dict(zip(keys, unit, strict=True)) for unit in _sub_units(report)]


def _repair_units_row(report: Report) -> list[dict[str, str]]:
    keys = ("partNumber", "revision", "serialNumber")
    return [dict(zip(keys, unit[1:], strict=True)) for unit in _sub_units(report)] if report.is_repair else []


def _misc_row(report: Report) -> list[dict[str, str]]:
    return [] if report.is_repair else _all_misc(report)


def _repair_misc_row(report: Report) -> list[dict[str, str]]:
    return _all_misc(report) if report.is_repair else []


def _all_misc(report: Report) -> list[dict[str, str]]:
    infos = ((name, text if value is None else str(value)) for name, text, value in _misc(report))
    return [{"description": name, "value": value or ""} for name, value in infos]


def _assets_row(report: Report) -> list[dict[str, object]]:
    return [{"serialNumber": serial, **_asset_counts(used)} for serial, used in _instruments(report)]


def _log_row(report: Report) -> list[dict[str, object]]:
    attached = _log_file(report)
    return [{"stepId": report.program.leaves[-1].id, "filename": attached[0]}] if attached else []


def _pictures_row(report: Report) -> list[dict[str, str]]:
    return (
        [{"id": key, "filename": name} for key, name, _, _ in _pictures(report)] if report.is_repair else []
    )


_EXPANDED: Mapping[str, Callable[[Report], Sequence[Mapping[str, object]]]] = {
    "subUnits": _units_row,
    "miscInfo": _misc_row,
    "assets": _assets_row,
    "attachments": _log_row,
    "uurSubUnits": _repair_units_row,
    "uurMiscInfo": _repair_misc_row,
    "uurAttachments": _pictures_row,
}


# ------------------------------------------------------------ the WSJF document


def document(scenario: Scenario, report: Report) -> bytes:
    """The WSJF document, as `GET /api/Report/Wsjf/{id}` returns it."""
    body = _repair(scenario, report) if report.is_repair else _test(report)
    return f"{_top(scenario, report)}{body}{_shared(report)}}}".encode()


def _top(scenario: Scenario, report: Report) -> str:
    lot, event, process = report.lot, report.event, report.event.process
    tick = start(report)
    utc = clock.malformed_utc(tick) if _has_malformed_utc(report) else clock.utc(tick)
    product_name = (
        ""
        if report.entropy[25] in (7, 8, 9) and lot.product.name is None
        else f'"productName":{_text(lot.product.name)},'
    )
    uuid = scenario.uuid(report.number, report.entropy)
    return (
        f'{{"type":"{"R" if report.is_repair else "T"}","id":"{uuid}",'
        f'"pn":{_text(lot.part_number)},"sn":"{lot.serial(event.unit)}","rev":{_text(lot.revision)},{product_name}'
        f'"processCode":{process.code},"processCodeFormat":null,"processName":"{process.name}",'
        f'"result":"{event.result}","machineName":"{event.station}","location":{_text(lot.place)},'
        f'"purpose":"{_purpose(process)}","origin":"{_ORIGIN[lot.line]}","start":"{clock.local(tick)}","startUTC":"{utc}",'
    )


def _purpose(process: Process) -> str:
    return {30: "Burn in", 500: "Repair"}.get(process.code, "Production")


def _test(report: Report) -> str:
    lot, event = report.lot, report.event
    socket = (
        f"{_socket(report)}.0"
        if report.entropy[25] in (3, 4, 5) and _socket(report) is not None
        else _text(_socket(report))
    )
    code, message = trouble(report) if event.result == "E" else (None, None)
    return (
        f'"root":{_root(report)},"uut":{{"execTime":{number(execution_time(report))},"testSocketIndex":{socket},'
        f'"batchSN":{_text(lot.batch)},"comment":{_text(_comment(report))},"errorCode":{_text(code)},'
        f'"errorMessage":{_text(message)},"fixtureId":{_text(_fixture(report))},"user":{_text(_user(report))},'
        f'"batchFailCount":null,"batchLoopIndex":null,'
        f'"stepIdCausedUUTFailure":{_text(event.cause and event.cause.id)}}},'
    )


def _root(report: Report) -> str:
    attached = _log_file(report)
    block = ""
    if attached:
        name, kind, data = attached
        block = quoted({"name": name, "contentType": kind, "data": base64.b64encode(data).decode()})
    drift = report.lot.drift if report.lot.product.drift else 0.0
    noise, odd = int.from_bytes(report.entropy[26:30], "big"), report.entropy[25] == 11
    return report.program.render(outcome(report), noise=noise, drift=drift, odd=odd, attached=block)


def _repair(scenario: Scenario, report: Report) -> str:
    tested, referenced = report.tested, scenario.repaired(report)
    confirmed = start(report) - 7 * 60 * clock.SECOND
    facts = {
        "comment": _comment(report),
        "user": _user(report),
        "processCode": tested.process.code,
        "processName": tested.process.name,
        "refUUT": scenario.uuid(referenced),
        "confirmDate": clock.utc(confirmed)[:19] if report.entropy[19] < 60 else clock.utc(confirmed),
        "finalizeDate": clock.utc(start(report))[:-1] + "+00:00",
        "execTime": 0.0,
        "parent": None,
        "children": None,
    }
    return f'"uur":{quoted(facts)},'


def _shared(report: Report) -> str:
    """The lists that tests and repairs share."""
    infos = [{"description": name, "text": text, "numeric": value} for name, text, value in _misc(report)]
    assets = [{"assetSN": serial, "usageCount": 1} for serial, _ in _instruments(report)]
    stats = [
        {"assetSN": serial, **_asset_counts(used), **_asset_extras()} for serial, used in _instruments(report)
    ]
    units = _repaired_units(report) if report.is_repair else _built_in(report)
    lists = {"miscInfos": infos, "subUnits": units, "assets": assets, "assetStats": stats}
    text = quoted(lists)[1:-1]
    if report.is_repair and len(_pictures(report)) > 1:
        text += f',"binaryData":{quoted([_binary(report, 1)])}'
    return f'{text},"additionalData":{_additional(report)}'


def _built_in(report: Report) -> list[dict[str, object]]:
    keys = ("partType", "pn", "rev", "sn")
    return [dict(zip(keys, unit, strict=True)) | {"position": 0} for unit in _sub_units(report)]


def _asset_counts(used: int) -> dict[str, object]:
    return {
        "runningCount": used % 2500,
        "runningCountExceeded": max(0, used % 2500 - 2400),
        "totalCount": used,
        "totalCountExceeded": 0,
        "daysSinceCalibration": used % 360 + 0.25,
        "calibrationDaysOverdue": 0.0,
        "daysSinceMaintenance": None,
        "maintenanceDaysOverdue": None,
    }


def _asset_extras() -> dict[str, object]:
    return {"isDaysSinceCalibrationUnknown": False, "isDaysSinceMaintenanceUnknown": True, "message": None}


def _additional(report: Report) -> str:
    if report.entropy[19] < 240:
        return "[]"
    speed = {"name": "Speed", "type": "Number", "flags": 0, "value": "1200", "numFormat": "%.2f"}
    feeder = {"name": "Feeder", "type": "Obj", "flags": 0, "props": [speed]}
    return quoted([{"name": "Line data", "props": [feeder]}])


def _repaired_units(report: Report) -> list[dict[str, object]]:
    """The unit and its replaced sub units. Index 2 is missing, because real reports have gaps too."""
    lot = report.lot
    main: dict[str, object] = {
        "partType": "Main",
        "pn": lot.part_number,
        "rev": lot.revision,
        "sn": lot.serial(report.event.unit),
        "idx": 0,
        "parentIdx": None,
        "failures": [_failure(report)],
    }
    units = [main]
    for index, (kind, part, revision, serial) in zip((1, 3), _sub_units(report), strict=False):
        units.append(
            {"partType": kind, "pn": part, "rev": revision, "sn": serial, "idx": index, "parentIdx": 0}
        )
    if len(units) > 1 and report.entropy[20] < 128:
        units[1]["replacedIdx"] = 3
    return units


def _failure(report: Report) -> dict[str, object]:
    cause, entropy = report.event.cause, report.entropy
    assert cause is not None
    category, codes = list(REPAIR_CODES.items())[min(entropy[30] % 6, len(REPAIR_CODES) - 1)]
    component = {"Component": "U", "Solder process": "R", "Assembly process": "J"}.get(category)
    root = entropy[31] < 16
    failure: dict[str, object] = {
        "artNumber": f"ART-{entropy[32]:04d}" if category == "Component" else None,
        "artRev": None,
        "artVendor": "Nordic Parts" if category == "Component" else None,
        "artDescription": None,
        "category": category,
        "code": codes[entropy[33] % len(codes)],
        "comment": _comment(report),
        "comRef": f"{component}{cause.id % 40 + 1}" if component else None,
        "funcBlock": cause.path.split("¶")[-2] if entropy[34] < 128 else None,
        "refStepId": 0 if root else cause.id,
        "refStepName": "MainSequence Callback" if root else cause.name,
    }
    return failure | ({"attachments": [_binary(report, 0)]} if _pictures(report) else {})


def _binary(report: Report, ordinal: int) -> dict[str, str]:
    key, name, kind, data = _pictures(report)[ordinal]
    return {"contentType": kind, "data": base64.b64encode(data).decode(), "name": name, "id": key}
