"""Reads the table that the test `delta::a_table_of_every_type` wrote, with delta-rs, DuckDB and chDB (Delta kernel).

    pip install deltalake duckdb pyarrow pytz chdb
    TIDEWATER_TEST_DELTA=DIR cargo test ... delta::a_table_of_every_type
    python read_delta.py DIR
"""

import json
import sys

import duckdb
import pyarrow.compute as pc
from deltalake import DeltaTable

expected = json.load(open(sys.argv[1] + "/expected.json"))
path = expected["path"]


def check(engine, rows, guids, spans, times, null_strings):
    found = {"rows": rows, "guids": guids, "spans": str(spans), "times": str(times)}
    for name, value in found.items():
        assert value == expected[name], (engine, name, value, expected[name])
    assert null_strings == 0, (engine, null_strings)
    print(engine, "ok:", rows, "rows")


# delta-rs: schema, statistics, rows
table = DeltaTable(path)
assert [field.name for field in table.schema().fields] == expected["columns"], table.schema()
arrow = table.to_pyarrow_table()
assert str(arrow.schema.field("t").type) == "timestamp[us, tz=UTC]", arrow.schema
micros = pc.sum(arrow["t"].cast("int64")).as_py() + 0
check("delta-rs", arrow.num_rows, len(arrow) - arrow["g"].null_count, pc.sum(arrow["span"]).as_py(), micros,
      arrow["s"].null_count)
half = table.to_pyarrow_table(filters=[("n", ">=", 5000)]).num_rows
assert half == pc.sum(pc.greater_equal(arrow["n"], 5000)).as_py(), half

# DuckDB: its delta extension where it can be installed, else the files that the log names
connection = duckdb.connect()
try:
    connection.execute("install delta; load delta")
    source = f"delta_scan('{path}')"
except duckdb.IOException:
    source = f"read_parquet({[uri.removeprefix('file://') for uri in table.file_uris()]})"
sql = "count(*), count(g), sum(span), sum(epoch_us(t)), count(*) filter (where s is null)"
check("duckdb " + source.split("(")[0], *connection.execute(f"select {sql} from {source}").fetchone())
times = connection.execute(f"select min(t), max(t) from {source}").fetchone()
some = connection.execute(f"select t from {source} where t is not null limit 1").fetchone()[0]
found = connection.execute(f"select count(*) from {source} where t = ?", [some]).fetchone()[0]
again = connection.execute(f"select count(*) from {source} where epoch_us(t) = epoch_us(?::timestamptz)", [some])
assert found == again.fetchone()[0] > 0
print("duckdb times", *times)

# chDB reads Delta through the Delta kernel
try:
    import chdb
except ImportError:
    sys.exit()
answer = chdb.query(
    f"select count(), count(g), sum(span), sum(toUnixTimestamp64Micro(t)), countIf(s is null) from deltaLakeLocal('{path}')",
    "JSONCompact",
)
rows, guids, spans, micros, nulls = json.loads(str(answer))["data"][0]
check("chdb deltaLakeLocal", int(rows), int(guids), spans, micros, int(nulls))
