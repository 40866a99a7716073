"""The benchmark's queries: name, class, KQL, DuckDB SQL, ClickHouse SQL (None: the same as DuckDB's).

Each gives few rows, and the same rows in all three engines (reals within a relative 1e-6; `approximate`
queries are timed but only their row counts are compared).
"""
from dataclasses import dataclass


@dataclass
class Query:
    name: str
    kind: str
    kql: str
    duckdb: str
    clickhouse: str | None = None
    approximate: bool = False


T0, T1 = "2026-01-03 06:00:00", "2026-01-03 12:00:00"
K_RANGE = f"Timestamp >= datetime({T0}) and Timestamp < datetime({T1})"
S_RANGE = f"Timestamp >= TIMESTAMP '{T0}' AND Timestamp < TIMESTAMP '{T1}'"
C_RANGE = f"Timestamp >= toDateTime64('{T0}', 6, 'UTC') AND Timestamp < toDateTime64('{T1}', 6, 'UTC')"

QUERIES = [
    Query("count all", "aggregate", "Logs | count", "SELECT count(*) FROM Logs"),
    Query("count in a time range", "time range", f"Logs | where {K_RANGE} | count",
          f"SELECT count(*) FROM Logs WHERE {S_RANGE}", f"SELECT count(*) FROM Logs WHERE {C_RANGE}"),
    Query("errors per hour", "time range",
          "Logs | where Level == 'Error' | summarize n = count() by t = bin(Timestamp, 1h) | sort by t asc",
          "SELECT date_trunc('hour', Timestamp) t, count(*) n FROM Logs WHERE Level = 'Error' GROUP BY t ORDER BY t",
          "SELECT toStartOfHour(Timestamp) t, count(*) n FROM Logs WHERE Level = 'Error' GROUP BY t ORDER BY t"),
    Query("count per hour", "time series",
          "Logs | summarize n = count() by t = bin(Timestamp, 1h) | sort by t asc",
          "SELECT date_trunc('hour', Timestamp) t, count(*) n FROM Logs GROUP BY t ORDER BY t",
          "SELECT toStartOfHour(Timestamp) t, count(*) n FROM Logs GROUP BY t ORDER BY t"),
    Query("per service: count, average, maximum", "group by",
          "Logs | summarize n = count(), a = avg(DurationMs), m = max(DurationMs) by Service | sort by Service asc",
          "SELECT Service, count(*) n, avg(DurationMs) a, max(DurationMs) m FROM Logs GROUP BY Service ORDER BY Service"),
    Query("per host and status", "group by",
          "Logs | summarize n = count() by Host, Status | top 10 by n desc | project n",
          "SELECT n FROM (SELECT Host, Status, count(*) n FROM Logs GROUP BY Host, Status ORDER BY n DESC LIMIT 10)"),
    Query("top trace ids by count", "many groups",
          "Logs | summarize n = count() by TraceId | top 10 by n desc | project n",
          "SELECT n FROM (SELECT TraceId, count(*) n FROM Logs GROUP BY TraceId ORDER BY n DESC LIMIT 10)"),
    Query("latest 100 rows", "top by time",
          "Logs | top 100 by Timestamp desc | project Timestamp",
          "SELECT Timestamp FROM Logs ORDER BY Timestamp DESC LIMIT 100"),
    Query("slowest 20 requests, all columns", "top",
          "Logs | top 20 by DurationMs desc | project DurationMs",
          "SELECT DurationMs FROM (SELECT * FROM Logs ORDER BY DurationMs DESC LIMIT 20)"),
    Query("distinct hosts, exact", "distinct",
          "Logs | summarize n = count_distinct(Host) by Service | sort by Service asc",
          "SELECT Service, count(DISTINCT Host) n FROM Logs GROUP BY Service ORDER BY Service",
          "SELECT Service, uniqExact(Host) n FROM Logs GROUP BY Service ORDER BY Service"),
    Query("distinct trace ids, estimated", "distinct",
          "Logs | summarize n = dcount(TraceId)",
          "SELECT approx_count_distinct(TraceId) n FROM Logs", "SELECT uniqCombined(TraceId) n FROM Logs",
          approximate=True),
    Query("percentiles per service", "percentile",
          "Logs | summarize percentiles(DurationMs, 50, 95, 99) by Service | sort by Service asc",
          "SELECT Service, approx_quantile(DurationMs, 0.5), approx_quantile(DurationMs, 0.95),"
          " approx_quantile(DurationMs, 0.99) FROM Logs GROUP BY Service ORDER BY Service",
          "SELECT Service, quantileTDigest(0.5)(DurationMs), quantileTDigest(0.95)(DurationMs),"
          " quantileTDigest(0.99)(DurationMs) FROM Logs GROUP BY Service ORDER BY Service", approximate=True),
    Query("has a common word", "text",
          "Logs | where Message has 'timeout' | count",
          "SELECT count(*) FROM Logs WHERE regexp_matches(Message, '(?i)(^|[^\\p{L}\\p{N}])timeout($|[^\\p{L}\\p{N}])')",
          "SELECT count(*) FROM Logs WHERE hasTokenCaseInsensitive(Message, 'timeout')"),
    Query("has a rare id", "text",
          "Logs | where Message has 'req4242424' | count",
          "SELECT count(*) FROM Logs WHERE regexp_matches(Message, '(?i)(^|[^\\p{L}\\p{N}])req4242424($|[^\\p{L}\\p{N}])')",
          "SELECT count(*) FROM Logs WHERE hasTokenCaseInsensitive(Message, 'req4242424')"),
    Query("contains, any case", "text",
          "Logs | where Message contains 'CONNECTION re' | count",
          "SELECT count(*) FROM Logs WHERE Message ILIKE '%CONNECTION re%'",
          "SELECT count(*) FROM Logs WHERE Message ILIKE '%CONNECTION re%'"),
    Query("starts with and another filter", "text",
          "Logs | where Message startswith_cs 'GET ' and Status >= 500 | count",
          "SELECT count(*) FROM Logs WHERE starts_with(Message, 'GET ') AND Status >= 500",
          "SELECT count(*) FROM Logs WHERE startsWith(Message, 'GET ') AND Status >= 500"),
    Query("a dynamic field as a group", "dynamic",
          "Logs | summarize n = count() by r = tostring(Properties.region) | sort by r asc",
          "SELECT json_extract_string(Properties, '$.region') r, count(*) n FROM Logs GROUP BY r ORDER BY r",
          "SELECT JSONExtractString(Properties, 'region') r, count(*) n FROM Logs GROUP BY r ORDER BY r"),
    Query("a dynamic number as a filter", "dynamic",
          "Logs | where tolong(Properties.user.id) == 4242 | count",
          "SELECT count(*) FROM Logs WHERE CAST(json_extract(Properties, '$.user.id') AS BIGINT) = 4242",
          "SELECT count(*) FROM Logs WHERE JSONExtractInt(Properties, 'user', 'id') = 4242"),
    Query("join with a small table", "join",
          "Logs | lookup Teams on Service | summarize n = count() by Team | sort by Team asc",
          "SELECT Team, count(*) n FROM Logs JOIN Teams USING (Service) GROUP BY Team ORDER BY Team",
          "SELECT Team, count(*) n FROM Logs JOIN Teams USING (Service) GROUP BY Team ORDER BY Team"),
    Query("point look-up by trace id", "point look-up",
          "Logs | where TraceId == '{trace}' | count",
          "SELECT count(*) FROM Logs WHERE TraceId = '{trace}'"),
    Query("time range, level, latest 100 with all columns", "top by time",
          f"Logs | where {K_RANGE} and Level == 'Warning' | top 100 by Timestamp desc | project Timestamp",
          f"SELECT Timestamp FROM (SELECT * FROM Logs WHERE {S_RANGE} AND Level = 'Warning' ORDER BY Timestamp DESC LIMIT 100)",
          f"SELECT Timestamp FROM (SELECT * FROM Logs WHERE {C_RANGE} AND Level = 'Warning' ORDER BY Timestamp DESC LIMIT 100)"),
]
