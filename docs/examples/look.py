"""First-pass yield and failing steps from the tables of ``wats-extract run pipelines/reports.yaml``.

Run it in the folder that contains ``data/wats.duckdb``, or give a path to that file as argument.
"""

import sys

import duckdb

YIELD = """
    SELECT part_number, process_name, count(*) AS units,
           round(100 * avg((result = 'Passed')::int), 1) AS "first-pass yield, %"
    FROM report_headers
    WHERE report_type = 'UUT' AND run = 1          -- only the first test of a unit in an operation
    GROUP BY ALL HAVING units >= 100               -- small groups are not significant
    ORDER BY ALL
"""

FAILING_STEPS = """
    SELECT part_number, name AS step, count(*) AS "failed reports"
    FROM steps JOIN reports ON reports.uuid = steps.report_uuid
    WHERE steps.caused_uut_failure
    GROUP BY ALL ORDER BY "failed reports" DESC, part_number, step LIMIT 5
"""

with duckdb.connect(sys.argv[1] if len(sys.argv) > 1 else "data/wats.duckdb", read_only=True) as database:
    print("First-pass yield by product and operation, from the report headers:")
    database.sql(YIELD).show()
    print("The steps that fail most, from the full reports:")
    database.sql(FAILING_STEPS).show()
