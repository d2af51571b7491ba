"""plan, verify, backfill and state, as users and schedulers see them."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import duckdb

from wats_extract.fake.app import App
from wats_extract.fake.faults import Faults

from .conftest import Desk, Serving


def last_object(out: str) -> dict[str, Any]:
    assert out.count("\n") == 1
    result: dict[str, Any] = json.loads(out)
    return result


def rows(desk: Desk, query: str) -> list[Any]:
    with duckdb.connect(desk.folder / "data/wats.duckdb") as tables:
        return tables.execute(query).fetchall()


# ── plan ────────────────────────────────────────────────────────────────────────────────────────


def test_plan_predicts_the_requests_of_the_run(desk: Desk, serving: Serving) -> None:
    serving(20)
    file = desk.pipeline(
        source=", requests_per_minute: 6000", resources="[{name: products}, {name: reports}]"
    )
    said = desk.wats("plan", file)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("A run of pipeline p would read:\n")
    assert "reports    the beginning          20" in said.out
    assert "at 6,000 requests per minute" in said.out
    assert not (desk.folder / "data").exists()
    result = last_object(desk.wats("plan", file, "--json").out)
    assert result["resources"]["reports"]["new"] == 20
    run = last_object(desk.wats("run", file, "--json").out)
    assert run["resources"]["reports"]["requests"] == result["resources"]["reports"]["requests"]
    assert last_object(desk.wats("plan", file, "--json").out)["resources"]["reports"]["new"] == 0


# ── verify ──────────────────────────────────────────────────────────────────────────────────────


def test_verify_finds_a_missing_report_and_repairs_it(desk: Desk, serving: Serving) -> None:
    app = serving(20)
    file = desk.pipeline()
    desk.wats("run", file, "-q")
    equal = desk.wats("verify", file)
    assert equal.code == 0
    assert equal.out.startswith("✓ The server and the destination are equal.\n")

    lost = app.plant.uuids()[4]
    rows(desk, f"delete from reports where uuid = '{lost}'")
    different = desk.wats("verify", file)
    assert different.code == 3
    assert different.out.startswith("✗ The server and the destination differ.\n")
    assert f"missing      {lost}" in different.out
    assert f"wats-extract verify {file} --repair" in different.out
    quiet = desk.wats("verify", file, "-q", "--only", "reports")
    assert (quiet.code, quiet.out) == (3, "")
    assert quiet.err.startswith("Different: ")

    repaired = desk.wats("verify", file, "--repair")
    assert repaired.code == 0
    assert repaired.out.startswith("✓ The server and the destination are equal now.\n")
    assert "Repaired: 1 item loaded (run " in repaired.out
    result = last_object(desk.wats("verify", file, "--json").out)
    assert (result["status"], result["resources"]["reports"]["missing"]) == ("equal", 0)
    assert rows(desk, "select count(*), count(distinct uuid) from reports") == [(20, 20)]


def test_verify_reports_what_was_deleted_on_the_server_as_extra(desk: Desk, serving: Serving) -> None:
    app = serving(20)
    file = desk.pipeline()
    desk.wats("run", file, "-q")
    gone = app.plant.uuids()[4]
    app.plant.delete(gone)
    app.plant.grow(2)
    said = desk.wats("verify", file, "--repair", "--json")
    assert said.code == 3, "extra reports stay"
    result = last_object(said.out)
    assert result["resources"]["reports"]["keys"]["extra"] == [gone]
    assert result["repair"]["resources"]["reports"]["items"] == result["resources"]["reports"]["new"] == 2


def test_verify_mentions_open_failures(desk: Desk, serving: Serving) -> None:
    serving(20, faults=Faults(broken=1, broken_kinds=["404"]))
    file = desk.pipeline()
    assert desk.wats("run", file, "-q").code == 3
    said = desk.wats("verify", file)
    assert said.code == 3
    assert said.out.startswith("✗ The server and the destination are equal, apart from 1 open failure.\n")
    assert f"wats-extract retry {file}" in said.out
    result = last_object(desk.wats("verify", file, "--json").out)
    assert (result["status"], result["open_failures"]) == ("failures", 1)
    assert result["resources"]["reports"]["failed"] == 1


def test_verify_names_lost_rows_and_differing_values(desk: Desk, serving: Serving) -> None:
    app = serving(20)
    file = desk.pipeline()
    desk.wats("run", file, "-q")
    hurt, changed = app.plant.uuids()[4:6]
    [(lost,)] = rows(desk, f"delete from steps where report_uuid = '{hurt}'")
    rows(desk, f"update reports set comment = 'by hand' where uuid = '{changed}'")
    said = desk.wats("verify", file)
    assert said.code == 3
    assert f"incomplete   {hurt}" in said.out
    assert said.out.split("Rows that are gone")[1].split()[3:6] == ["reports", "steps", str(lost)]
    result = last_object(desk.wats("verify", file, "--json").out)["resources"]["reports"]
    assert (result["incomplete"], result["rows_missing"], result["changed"]) == (1, {"steps": lost}, 0)

    deep = desk.wats("verify", file, "--deep")
    assert deep.code == 3
    assert f"changed      {changed}" in deep.out
    assert deep.out.split("The first differing values")[1].split()[4:8] == [
        "reports",
        "reports",
        changed,
        "comment",
    ]
    result = last_object(desk.wats("verify", file, "--deep", "--json").out)["resources"]["reports"]
    assert result["values"] == [{"table": "reports", "item": changed, "column": "comment"}]
    assert desk.wats("verify", file, "--deep", "--repair", "-q").code == 0
    assert desk.wats("verify", file, "--deep", "-q").code == 0


def test_verify_stops_early_with_exit_4_and_leaves_out_other_resources(desk: Desk, serving: Serving) -> None:
    serving(20)
    spent = desk.wats("verify", desk.pipeline(source=", max_requests: 1"))
    assert spent.code == 4
    assert "Stopped: max_requests (1)" in spent.err
    nothing = desk.wats("verify", desk.pipeline(resources="[{name: products}]"))
    assert nothing.code == 0
    assert nothing.out.startswith("Nothing to compare")


# ── backfill ────────────────────────────────────────────────────────────────────────────────────


def middle(app: App) -> tuple[str, list[str]]:
    """A time with half of the reports before it, and the uuids of those reports."""
    headers = sorted(app.plant.headers(), key=lambda header: header["start"])
    moment = headers[len(headers) // 2]["start"]
    return moment, [header["uuid"] for header in headers if header["start"] < moment]


def test_backfill_has_its_own_cursor_and_resumes(desk: Desk, serving: Serving) -> None:
    app = serving(40)
    moment, older = middle(app)
    new = f"[{{name: reports, since: '{moment}', chunk_size: 5}}]"
    file = desk.pipeline(resources=new)
    desk.wats("run", file, "-q")
    assert rows(desk, "select count(*) from reports") == [(40 - len(older),)]
    forward = rows(desk, "select cursor from _wats_state")

    few = desk.pipeline(resources=new, source=", max_requests: 12")
    words = ("backfill", file, "--from", "2000-01-01", "--to", moment)
    stopped = desk.wats(*words)
    assert few == file
    assert stopped.code == 4
    [(before,)] = rows(desk, "select count(*) from reports")
    assert 40 - len(older) < before < 40

    desk.pipeline(resources=new)
    done = last_object(desk.wats(*words, "--json").out)
    assert (done["status"], done["resources"]["reports"]["items"]) == ("succeeded", 40 - before)
    assert rows(desk, "select count(*), count(distinct uuid) from reports") == [(40, 40)]
    assert rows(desk, "select cursor from _wats_state where selection not like '%backfill%'") == forward
    again = desk.wats(*words)
    assert (again.code, again.out.splitlines()[0]) == (0, "Done: nothing new.")
    assert last_object(desk.wats(*words, "--json").out)["requests"] <= 2
    commands = rows(desk, "select distinct command from _wats_runs order by 1")
    assert commands == [("backfill",), ("run",)]


def test_backfill_does_not_fetch_loaded_reports_again(desk: Desk, serving: Serving) -> None:
    serving(20)
    file = desk.pipeline()
    desk.wats("run", file, "-q")
    result = last_object(desk.wats("backfill", file, "--from", "2000-01-01", "--to", "now", "--json").out)
    assert [each["items"] for each in result["resources"].values()] == [0, 0]


def test_backfill_refuses_a_wrong_range(desk: Desk, serving: Serving) -> None:
    serving(20)
    file = desk.pipeline(resources="[{name: products}, {name: reports}]")
    for words, complaint in (
        (["--from", "2026-01-01", "--to", "2025-01-01"], "--to (2025-01-01)"),
        (["--from", "2025-01-01", "--to", "soon"], "soon"),
        (
            ["--from", "2025-01-01", "--to", "now", "--only", "products"],
            "products cannot be selected by time",
        ),
        (["--from", "2025-01-01"], "--to"),
    ):
        said = desk.wats("backfill", file, *words)
        assert (said.code, said.out) == (2, "")
        assert complaint in said.err


# ── state ───────────────────────────────────────────────────────────────────────────────────────


def test_state_shows_sets_clears_exports_and_imports(desk: Desk, serving: Serving) -> None:
    serving(20)
    file = desk.pipeline()
    assert "has no cursors yet" in desk.wats("state", file).out
    desk.wats("run", file, "-q")
    [(cursor,)] = rows(desk, "select max(time_stamp) from reports")
    assert desk.wats("state", file, "show").out.count(f"time_stamp {cursor},") == 2
    exported = desk.wats("state", file, "export").out
    assert [each["resource"] for each in json.loads(exported)["cursors"]] == ["report_headers", "reports"]
    (desk.folder / "cursors.json").write_text(exported, encoding="utf-8")

    said = desk.wats("state", file, "set", "reports", '{"time_stamp": 1000100}', "--yes")
    assert said.code == 0
    assert "→   time_stamp 1000100" in said.out
    assert last_object(desk.wats("run", file, "--json").out)["resources"]["reports"]["items"] == 0

    assert "1 cursor" in desk.wats("state", file, "clear", "reports", "-y").out
    assert "reports" not in desk.wats("state", file).out.replace("report_headers", "")
    assert last_object(desk.wats("plan", file, "--json").out)["resources"]["reports"]["cursor"] is None
    assert "the beginning" in desk.wats("status", file).out

    assert "Changed 1 cursor" in desk.wats("state", file, "import", "cursors.json", "--yes").out
    assert desk.wats("state", file, "export").out == exported
    assert desk.wats("state", file, "import", "cursors.json").out == "Nothing to change.\n"
    assert desk.wats("state", file, "clear", "--yes").code == 0
    assert "has no cursors yet" in desk.wats("state", file).out


def test_state_asks_before_it_changes(desk: Desk, serving: Serving) -> None:
    serving(20)
    file = desk.pipeline()
    desk.wats("run", file, "-q")
    before = desk.wats("state", file, "export").out
    for answer, code in (("n\n", 0), ("", 2)):
        process = desk.start("state", file, "clear", stdin=subprocess.PIPE)
        out, err = process.communicate(answer, timeout=60)
        assert process.returncode == code
        assert "Change this? [y/N]" in err
        assert "→   the beginning" in out
        assert desk.wats("state", file, "export").out == before
    process = desk.start("state", file, "clear", stdin=subprocess.PIPE)
    process.communicate("y\n", timeout=60)
    assert desk.wats("state", file, "export").out != before


def test_state_refuses_what_is_not_a_cursor(desk: Desk, serving: Serving) -> None:
    serving(20)
    file = desk.pipeline()
    (desk.folder / "odd.json").write_text('{"cursors": [{"resource": "reports"}]}', encoding="utf-8")
    for words, complaint in (
        (["set", "reports"], "set takes RESOURCE and JSON"),
        (["set", "reports", "12"], "a cursor is a JSON object"),
        (["set", "reports", "{"], "the cursor is not JSON"),
        (["set", "reports", '{"time_stamp": "x"}'], "time_stamp is a whole number"),
        (["set", "products", '{"time_stamp": 1}'], "the pipeline has no such resource"),
        (["import", "odd.json"], "not an export of wats-extract state FILE export"),
        (["import", "nowhere.json"], "nowhere.json cannot be read"),
        (["shwo"], "'show'"),
    ):
        said = desk.wats("state", file, *words, "--yes")
        assert said.code == 2, said
        [message] = [line for line in said.err.splitlines() if line.startswith("Error: ")]
        assert complaint in message
