"""Converts WSJF documents to WSXF, the XML format of WATS: members to attributes, status letters to words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from wats_extract.fake.plant.data import Json
from wats_extract.fake.plant.documents import WORDS

NAMESPACE = "http://wats.virinco.com/schemas/WATS/Report/wsxf"

_STATUSES = {**WORDS, "D": "Done", "S": "Skipped", "U": "Unknown"}
_REPORT = {
    "pn": "PN", "sn": "SN", "rev": "Rev", "productName": "ProductName", "machineName": "MachineName",
    "location": "Location", "purpose": "Purpose", "origin": "Origin", "start": "Start",
    "startUTC": "Start_utc",
}  # fmt: skip
_RUN = {
    "user": "UserLoginName", "batchSN": "BatchSN", "comment": "Comment", "fixtureId": "FixtureId",
    "testSocketIndex": "TestSocketIndex", "errorCode": "ErrorCode", "errorMessage": "ErrorMessage",
    "execTime": "ExecutionTime", "confirmDate": "ConfirmDate", "finalizeDate": "FinalizeDate",
    "stepIdCausedUUTFailure": "StepIdCausedUUTFailure",
}  # fmt: skip
_UNIT = {
    "partType": "PartType", "pn": "PN", "rev": "Rev", "sn": "SN", "idx": "Idx", "parentIdx": "ParentIdx",
    "replacedIdx": "ReplacedIdx", "position": "Position",
}  # fmt: skip
_FAILURE = {
    "category": "Category", "code": "Code", "comment": "Comment", "comRef": "ComponentReference",
    "funcBlock": "FunctionBlock", "artNumber": "ArticleNumber", "artVendor": "ArticleVendor",
    "refStepId": "RefStepId", "refStepName": "RefStepName",
}  # fmt: skip
_STEP = {
    "group": "Group", "name": "Name", "stepType": "StepType", "start": "Start", "totTime": "total_time",
    "errorCode": "StepErrorCode", "errorMessage": "StepErrorMessage", "reportText": "ReportText",
    "causedUUTFailure": "StepCausedUUTFailure",
}  # fmt: skip
_MEASURED = {
    "numericMeas": ("NumericLimit", {"value": "NumericValue", "lowLimit": "LowLimit", "unit": "Units",
                                     "highLimit": "HighLimit", "compOp": "CompOperator"}),
    "stringMeas": ("StringValue", {"value": "StringValue", "limit": "StringLimit", "compOp": "CompOperator"}),
    "booleanMeas": ("PassFail", {}),
}  # fmt: skip


def rendered(document: Json, *, indexes: bool) -> bytes:
    """A document as XML, without the chart data, additional data and formats of the vendor's format.

    Args:
        document: A WSJF document, already reduced to the requested detail.
        indexes: Add `StepIndex`, `MeasIndex` and `MeasOrderNumber`.
    """
    root = Element("Reports", xmlns=NAMESPACE)
    kind = "UUR" if document.get("type") == "R" else "UUT"
    report = SubElement(root, "Report", type=kind, ID=str(document.get("id", "")).upper())
    report.set("Result", WORDS.get(str(document.get("result")), "Unknown"))
    _set(report, document, _REPORT)
    SubElement(
        report, "Process", Code=_text(document.get("processCode")), Name=_text(document.get("processName"))
    )
    _set(SubElement(report, kind), document.get(kind.lower()) or {}, _RUN)
    _lists(report, document)
    if "root" in document:
        _Steps(indexes=indexes).add(report, document["root"], 0)
    text: bytes = tostring(root, "utf-8", xml_declaration=True)
    return text


def _lists(report: Element, document: Json) -> None:
    for info in document.get("miscInfos") or ():
        element = SubElement(report, "MiscInfo", Description=_text(info.get("description")))
        _set(element, info, {"numeric": "Numeric"})
        element.text = info.get("text")
    for unit in document.get("subUnits") or ():
        element = SubElement(report, "ReportUnitHierarchy")
        _set(element, unit, _UNIT)
        for failure in unit.get("failures") or ():
            _set(SubElement(element, "Failure"), failure, _FAILURE)
    for asset in document.get("assets") or ():
        _set(SubElement(report, "Asset"), asset, {"assetSN": "AssetSN", "usageCount": "UsageCount"})


class _Steps:
    """Adds the tree of steps, and numbers the measurements of the whole report."""

    def __init__(self, *, indexes: bool) -> None:
        self._indexes, self._order = indexes, count()

    def add(self, above: Element, step: Json, index: int) -> None:
        """Add a step and its descendants. `index` is its position among its siblings."""
        element = SubElement(above, "Step", Status=_STATUSES.get(str(step.get("status")), "Unknown"))
        element.set("StepOrderNumber", _text(step.get("id")))
        if self._indexes:
            element.set("StepIndex", str(index))
        _set(element, step, _STEP)
        self._blocks(element, step)
        for place, each in enumerate(step.get("steps") or ()):
            self.add(element, each, place)

    def _blocks(self, element: Element, step: Json) -> None:
        if "seqCall" in step:
            _set(
                SubElement(element, "SequenceCall"),
                step["seqCall"],
                {"name": "Name", "path": "Filepath", "version": "Version"},
            )
        if "loop" in step:
            _set(SubElement(element, "Loop"), step["loop"], {each: each for each in step["loop"]})
        if "attachment" in step:
            attached = SubElement(element, "Attachment")
            _set(attached, step["attachment"], {"name": "Name", "contentType": "ContentType"})
            attached.text = step["attachment"].get("data")
        for place, (tag, names, measured) in enumerate(_measurements(step)):
            self._measurement(SubElement(element, tag), place, names, measured)

    def _measurement(self, element: Element, place: int, names: Mapping[str, str], measured: Json) -> None:
        element.set("Status", _STATUSES.get(str(measured.get("status")), "Unknown"))
        _set(element, measured, {"name": "Name", **names})
        if self._indexes:
            element.set("MeasIndex", str(place))
            element.set("MeasOrderNumber", str(next(self._order)))


def _measurements(step: Json) -> Iterator[tuple[str, Mapping[str, str], Json]]:
    for block, (tag, names) in _MEASURED.items():
        for measured in step.get(block) or ():
            yield tag, names, measured


def _set(element: Element, values: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Set the attributes that have a value."""
    for key, name in names.items():
        if values.get(key) is not None:
            element.set(name, _text(values[key]))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
