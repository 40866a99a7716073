"""Readers that demand what the published decoders of clients demand that cannot run here; anything else is an error.

Each was written after its client's source: Go (azkustodata/query/v1 and v2), Java (KustoOperationResult and
KustoResultSetTable), Rust (models.rs and async_deserializer.rs) and Grafana's data source (pkg/azuredx/models).
They give the rows of the primary results, or raise `Refused` where the client would report an error.
"""
import datetime
import decimal
import json
import re
import uuid


class Refused(Exception):
    """The client reports an error of the service."""


KQL_TYPES = {"bool", "datetime", "decimal", "dynamic", "guid", "int", "long", "real", "string", "timespan"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z")
SPAN = re.compile(r"-?(\d+\.)?\d\d:\d\d:\d\d(\.\d{7})?")


class Pairs(list):
    """A JSON object with its members in order."""


def ordered(text):
    return json.loads(text, object_pairs_hook=Pairs, parse_float=decimal.Decimal, parse_constant=no_constant)


def no_constant(name):
    raise AssertionError(f"{name} is no JSON")


def plain(value):
    if isinstance(value, Pairs):
        return {name: plain(inner) for name, inner in value}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def names(pairs):
    return [name for name, _ in pairs]


def check_cell(value, kind):
    """What Go's values take: decimals as text only, whole numbers as numbers, nothing but null for null."""
    if value is None:
        assert kind != "string", "texts have no null"
        return
    if kind == "bool":
        assert isinstance(value, bool), value
    elif kind in ("int", "long"):
        assert isinstance(value, int) and not isinstance(value, bool), value
        assert kind == "long" or -2**31 <= value < 2**31, value
    elif kind == "real":
        assert isinstance(value, (int, decimal.Decimal)) or value in ("NaN", "Infinity", "-Infinity"), value
    elif kind == "decimal":
        assert isinstance(value, str) and decimal.Decimal(value).is_finite(), value
    elif kind == "string":
        assert isinstance(value, str), value
    elif kind == "datetime":
        assert TIME.fullmatch(value), value
    elif kind == "timespan":
        assert SPAN.fullmatch(value), value
    elif kind == "guid":
        assert str(uuid.UUID(value)) == value, value


def check_error(document):
    """Go's OneApiError: processId and threadId are numbers, everything else of the context is text."""
    error = document["error"]
    for name in ("code", "message", "@message", "@type"):
        assert isinstance(error[name], str) and error[name], name
    assert isinstance(error["@permanent"], bool)
    context = error["@context"]
    for name in ("timestamp", "serviceAlias", "machineName", "processName", "clientRequestId", "activityId",
                 "subActivityId", "activityType", "parentActivityId", "activityStack"):
        assert isinstance(context[name], str), name
    for name in ("processId", "threadId"):
        assert isinstance(context[name], int) and not isinstance(context[name], bool), name
    return f"{error['code']}: {error['@message']}"


def check_status(rows):
    """The completion rows as Go's structs take them."""
    for row in rows:
        assert len(row) == 12 and TIME.fullmatch(row[0])
        assert all(str(uuid.UUID(value)) == value for value in row[2:5])
        assert isinstance(row[5], int) and isinstance(row[7], int) and isinstance(row[9], int)
        assert all(isinstance(row[at], str) for at in (1, 6, 8, 10, 11))


def go_v2(body):
    """The fragmented answer: lines whose first byte is cut, members in one order only."""
    assert body[:1] == b"[", f"not JSON to Go: {body[:200]!r}"
    assert body.endswith(b"\n") and b"\r" not in body
    lines = body.split(b"\n")[:-1]
    assert lines[-1].startswith(b"]")
    frames = [ordered(line[1:]) for line in lines[:-1]]
    for frame in frames:
        assert frame[0][0] == "FrameType"
    head = frames.pop(0)
    assert head == Pairs([("FrameType", "DataSetHeader"), ("IsProgressive", False), ("Version", "v2.0"),
                          ("IsFragmented", True), ("ErrorReportingPlacement", "EndOfTable")]), head
    assert frames[0][0][1] == "DataTable", "the second frame is a table"
    results, open_table, seen = [], None, []
    for frame in frames:
        assert not seen or seen[-1] != "DataSetCompletion", "nothing follows the last frame"
        kind = frame[0][1]
        seen.append(kind)
        if kind == "DataTable":
            assert open_table is None
            assert names(frame) == ["FrameType", "TableId", "TableKind", "TableName", "Columns", "Rows"], names(frame)
            members = plain(frame)
            assert members["TableKind"] in ("QueryProperties", "QueryCompletionInformation"), members["TableKind"]
            go_rows(members["Rows"], members["Columns"], nested=False)
            if members["TableKind"] == "QueryCompletionInformation":
                check_status(members["Rows"])
        elif kind == "TableHeader":
            assert open_table is None
            assert names(frame) == ["FrameType", "TableId", "TableKind", "TableName", "Columns"]
            open_table = plain(frame)
            assert open_table["TableKind"] == "PrimaryResult" and isinstance(open_table["TableId"], int)
            results.append([])
        elif kind == "TableFragment":
            members = plain(frame)
            assert frame[-1][0] == "Rows" and members["TableFragmentType"] == "DataAppend"
            assert members["TableId"] == open_table["TableId"]
            results[-1] += go_rows(members["Rows"], open_table["Columns"])
        elif kind == "TableCompletion":
            members = plain(frame)
            assert members["TableId"] == open_table["TableId"] and members["RowCount"] == len(results[-1])
            open_table = None
            if members.get("OneApiErrors"):
                raise_errors(members["OneApiErrors"])
        elif kind == "DataSetCompletion":
            members = plain(frame)
            if members["HasErrors"]:
                raise_errors(members["OneApiErrors"])
        else:
            raise AssertionError(f"Go knows no frame {kind}")
    assert seen[-1] == "DataSetCompletion"
    return results


def go_rows(rows, columns, nested=True):
    for column in columns:
        assert set(column) == {"ColumnName", "ColumnType"} and column["ColumnType"] in KQL_TYPES, column
    for row in rows:
        assert isinstance(row, list) and len(row) == len(columns), "no errors among the rows"
        for value, column in zip(row, columns):
            if nested or column["ColumnType"] != "dynamic":
                check_cell(value, column["ColumnType"])
    return rows


def raise_errors(errors):
    raise Refused("; ".join(check_error(error) for error in errors))


def go_v1(body):
    """Go's version 1: one table, or the last one lists the others."""
    assert body[:1] == b"{", f"not JSON to Go: {body[:200]!r}"
    answer = plain(ordered(body))
    tables = answer["Tables"]
    assert tables
    if answer.get("Exceptions"):
        assert all(isinstance(text, str) for text in answer["Exceptions"])
        raise Refused("; ".join(answer["Exceptions"]))
    if len(tables) == 1:
        return [v1_rows(tables[0])]
    index = v1_rows(tables[-1])
    results = []
    for (ordinal, kind, name, ident, pretty), table in zip(index, tables):
        assert isinstance(ordinal, int) and all(isinstance(text, str) for text in (kind, name, ident, pretty))
        assert kind in ("QueryResult", "QueryProperties", "QueryStatus"), kind
        rows = v1_rows(table)
        if kind == "QueryStatus":
            for row in rows:
                assert len(row) == 10 and TIME.fullmatch(row[0]) and isinstance(row[1], int)
                assert all(str(uuid.UUID(value)) == value for value in row[6:9])
        elif kind == "QueryProperties":
            assert all(isinstance(row[0], str) for row in rows)
        else:
            results.append(rows)
    return results


def v1_rows(table):
    for column in table["Columns"]:
        assert column["ColumnType"] in KQL_TYPES, column
    for row in table["Rows"]:
        if isinstance(row, dict):
            raise Refused("; ".join(row["Exceptions"]))
        assert len(row) == len(table["Columns"])
        for value, column in zip(row, table["Columns"]):
            check_cell(value, column["ColumnType"])
    return table["Rows"]


JAVA_KINDS = {"QueryProperties", "QueryCompletionInformation", "QueryResult", "QueryStatus", "PrimaryResult", "QueryPerfLog",
              "TableOfContents", "QueryTraceLog"}


def java_v2(body):
    """Java reads the whole array; kinds it does not know are exceptions, and so is what stands among the rows."""
    frames = json.loads(body, parse_constant=no_constant)
    assert isinstance(frames, list)
    results = []
    for frame in frames:
        if frame.get("FrameType") == "DataSetCompletion" and frame.get("HasErrors"):
            raise_errors(frame["OneApiErrors"])
        if frame.get("FrameType") != "DataTable":
            continue
        assert frame["TableKind"] in JAVA_KINDS, frame["TableKind"]
        assert all("ColumnName" in column for column in frame["Columns"])
        for row in frame["Rows"]:
            if isinstance(row, dict):
                raise_errors(row["OneApiErrors"])
        if frame["TableKind"] == "PrimaryResult":
            results.append(frame["Rows"])
    assert results, "the first primary result is read without a look"
    return results


def java_v1(body):
    """Java's version 1: `Tables` is a list; three or more end in the table of contents, read by name."""
    tables = json.loads(body, parse_constant=no_constant)["Tables"]
    for table in tables:
        for row in table["Rows"]:
            if isinstance(row, dict):
                raise Refused("; ".join(map(str, row["Exceptions"])))
    if len(tables) <= 2:
        return [tables[0]["Rows"]]
    contents = tables[-1]
    at = {column["ColumnName"]: n for n, column in enumerate(contents["Columns"])}
    kinds = {"QueryResult", "QueryProperties", "QueryStatus", "PrimaryResult"}
    assert len(contents["Rows"]) == len(tables) - 1
    results = []
    for table, row in zip(tables, contents["Rows"]):
        assert row[at["Kind"]] in kinds and isinstance(row[at["Name"]], str) and isinstance(row[at["Id"]], str)
        if row[at["Kind"]] == "QueryResult":
            results.append(table["Rows"])
    return results


RUST_FRAMES = {
    "DataSetHeader": {"IsProgressive": bool, "Version": str},
    "DataTable": {"TableId": int, "TableName": str, "TableKind": str, "Columns": list, "Rows": list},
    "TableHeader": {"TableId": int, "TableName": str, "TableKind": str, "Columns": list},
    "TableFragment": {"TableId": int, "TableFragmentType": str, "Rows": list},
    "TableProgress": {"TableId": int, "TableProgress": (int, float)},
    "TableCompletion": {"TableId": int, "RowCount": int},
    "DataSetCompletion": {"HasErrors": bool, "Cancelled": bool},
}
RUST_TABLE_KINDS = {"PrimaryResult", "QueryCompletionInformation", "QueryTraceLog", "QueryPerfLog", "TableOfContents",
                    "QueryProperties", "QueryPlan", "Unknown"}


def rust_frames(frames):
    results, parts = [], {}
    for frame in frames:
        kind = frame["FrameType"]
        for name, ty in RUST_FRAMES[kind].items():
            assert isinstance(frame[name], ty), (kind, name)
        for column in frame.get("Columns", []):
            assert column["ColumnType"] in KQL_TYPES
        if "TableKind" in frame:
            assert frame["TableKind"] in RUST_TABLE_KINDS
        if kind == "DataTable" and frame["TableKind"] == "PrimaryResult":
            results.append(frame["Rows"])
        elif kind == "TableHeader":
            parts[frame["TableId"]] = []
            results.append(parts[frame["TableId"]])
        elif kind == "TableFragment":
            if frame["TableFragmentType"] == "DataReplace":
                parts[frame["TableId"]].clear()
            parts[frame["TableId"]] += frame["Rows"]
        elif kind == "DataSetCompletion" and frame["HasErrors"]:
            # Rust's model has no place for the errors; the rows tell them.
            raise Refused("HasErrors")
    for rows in results:
        assert all(isinstance(row, list) for row in rows)
    return results


def rust_v2(body):
    """Rust reads the whole array into its model."""
    return rust_frames(json.loads(body, parse_constant=no_constant))


def rust_stream(body):
    """Rust's stream of frames: `[` alone on its line, then a frame a line, each but the first after a comma."""
    assert body[:2] == b"[\n", body[:20]
    lines = body[2:].split(b"\n")
    frames = []
    for at, line in enumerate(lines):
        if line.startswith(b"]"):
            break
        assert at == 0 or line.startswith(b","), line[:20]
        frames.append(json.loads(line.removeprefix(b","), parse_constant=no_constant))
    else:
        raise AssertionError("the array does not end")
    return rust_frames(frames)


def rust_v1(body):
    answer = json.loads(body, parse_constant=no_constant)
    known = {"SByte", "DateTime", "Object", "Guid", "Int32", "Int64", "Double", "Real", "String", "TimeSpan", "Decimal"}
    for table in answer["Tables"]:
        assert isinstance(table["TableName"], str)
        for column in table["Columns"]:
            assert column["DataType"] in known, column
            assert column["ColumnType"] in KQL_TYPES, column
        assert all(isinstance(row, list) for row in table["Rows"])
    return [answer["Tables"][0]["Rows"]]


def grafana(body):
    """Grafana takes the first table of version 1, by ColumnType alone."""
    answer = json.loads(body, parse_constant=no_constant)
    assert all(isinstance(text, str) for text in answer.get("Exceptions") or [])
    table = answer["Tables"][0]
    for row in table["Rows"]:
        if not isinstance(row, list):
            raise Refused(f"unable to parse rows: {row}")
        for value, column in zip(row, table["Columns"]):
            kind = column["ColumnType"]
            if value is None:
                continue
            if kind in ("string", "guid", "timespan"):
                assert isinstance(value, str), (value, kind)
            elif kind == "datetime":
                datetime.datetime.fromisoformat(value[:19])
                assert TIME.fullmatch(value), value
            elif kind in ("int", "long"):
                assert isinstance(value, int), (value, kind)
            elif kind == "real":
                assert isinstance(value, (int, float)) or value in ("NaN", "Infinity", "-Infinity"), value
            elif kind == "bool":
                assert isinstance(value, (bool, int)), value
            elif kind == "decimal":
                float(value)
            else:
                assert kind == "dynamic", f"unsupported analytics column type {kind}"
    return [table["Rows"]]


def any_success(body):
    """Only the status counts."""
    return []


READERS = {reader.__name__: reader for reader in
           (go_v1, go_v2, java_v1, java_v2, rust_v1, rust_v2, rust_stream, grafana, any_success)}
