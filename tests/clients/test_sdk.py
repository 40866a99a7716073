"""The official Python SDK, unmodified, against a started server."""
import datetime
import decimal
import uuid

import pandas
import pytest
from azure.kusto.data import ClientRequestProperties, KustoClient, KustoConnectionStringBuilder
from azure.kusto.data.aio import KustoClient as AsyncKustoClient
from azure.kusto.data.exceptions import KustoApiError, KustoServiceError
from azure.kusto.data.helpers import dataframe_from_result_table

DB = "NetDefaultDB"
TYPES = """print b = true, i = int(7), l = long(9223372036854775807), r = 1.5, d = decimal(12345.6789), s = "héllo \\"q\\"",
 t = datetime(2020-01-02 03:04:05.1234567), n = 1.02:03:04.5, g = guid(74be27de-1e4e-49d9-b579-fe0b331d3642),
 j = dynamic({"a": [1, 2.5, null, "x"]})""".replace("1.02:03:04.5", "time(1.02:03:04.5)")


@pytest.fixture
def client(server):
    with KustoClient(KustoConnectionStringBuilder.with_no_authentication(server.url)) as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def table(server):
    with KustoClient(KustoConnectionStringBuilder.with_no_authentication(server.url)) as client:
        client.execute_mgmt(DB, ".create table SdkT (a: long, s: string)")
        client.execute_mgmt(DB, ".ingest inline into table SdkT <| 1,one\n2,two\n3,three")
        yield
        client.execute_mgmt(DB, ".drop table SdkT")


def check_types(row):
    assert row["b"] is True and row["i"] == 7 and row["l"] == 9223372036854775807 and row["r"] == 1.5
    assert decimal.Decimal(row["d"]) == decimal.Decimal("12345.6789")
    assert row["s"] == 'héllo "q"'
    assert row["t"].replace(tzinfo=None) == datetime.datetime(2020, 1, 2, 3, 4, 5, 123456)
    assert row["n"] == datetime.timedelta(days=1, hours=2, minutes=3, seconds=4.5)
    assert uuid.UUID(row["g"]) == uuid.UUID("74be27de-1e4e-49d9-b579-fe0b331d3642")
    assert row["j"] == {"a": [1, 2.5, None, "x"]}


def test_every_type_comes_back_over_version_2(client):
    check_types(client.execute_query(DB, TYPES).primary_results[0][0])


def test_every_type_comes_back_over_version_1(client):
    check_types(client.execute_query_v1(DB, TYPES).primary_results[0][0]) if hasattr(client, "execute_query_v1") else None
    answer = client.execute_mgmt(DB, ".show version")
    assert answer.primary_results[0].columns[0].column_name == "BuildVersion"


def test_commands_go_to_the_management_endpoint(client):
    names = [row["TableName"] for row in client.execute(DB, "  .show tables").primary_results[0]]
    assert "SdkT" in names
    piped = client.execute(DB, ".show tables | where TableName == 'SdkT' | project TableName").primary_results[0]
    assert [row["TableName"] for row in piped] == ["SdkT"]


def test_a_database_is_there_without_being_named(client):
    assert client.execute(None, "print x = 1").primary_results[0][0]["x"] == 1


def test_parameters_are_typed(client):
    properties = ClientRequestProperties()
    properties.set_parameter("n", 2)
    properties.set_parameter("name", "two")
    query = "declare query_parameters(n: long, name: string); SdkT | where a == n and s == name"
    assert [row["a"] for row in client.execute_query(DB, query, properties).primary_results[0]] == [2]


def test_the_request_id_comes_back_and_options_are_taken(client):
    properties = ClientRequestProperties()
    properties.client_request_id = "KPC.execute;my-id"
    properties.set_option("servertimeout", datetime.timedelta(minutes=1))
    properties.set_option("query_take_max_records", 2)
    assert client.execute_query(DB, "SdkT", properties).primary_results[0].rows_count == 2


def test_a_semantic_error_says_what_is_wrong(client):
    with pytest.raises(KustoApiError) as caught:
        client.execute_query(DB, "NoSuchTable | count")
    assert caught.value.error.permanent
    assert "NoSuchTable" in str(caught.value.error.description)
    assert caught.value.http_response.status_code == 400


def test_a_syntax_error_is_a_bad_request(client):
    with pytest.raises(KustoServiceError) as caught:
        client.execute_query(DB, "print 1 |")
    assert "SYN0002" in str(caught.value)


def test_an_unknown_database_is_a_bad_request_not_404(client):
    with pytest.raises(KustoApiError) as caught:
        client.execute_query("NoSuchDb", "print 1")
    assert caught.value.http_response.status_code == 400


def test_truncation_is_noticed(client):
    properties = ClientRequestProperties()
    properties.set_option("truncationmaxrecords", 10)
    with pytest.raises(KustoServiceError) as caught:
        client.execute_query(DB, "range x from 1 to 100 step 1", properties)
    assert "E_QUERY_RESULT_SET_TOO_LARGE" in str(caught.value) or "80DA0003" in str(caught.value)


def test_truncation_is_noticed_when_deferred(client):
    properties = ClientRequestProperties()
    properties.set_option("truncationmaxrecords", 10)
    properties.set_option(ClientRequestProperties.results_defer_partial_query_failures_option_name, True)
    answer = client.execute_query(DB, "range x from 1 to 100 step 1", properties)
    assert answer.errors_count > 0 and answer.get_exceptions()


def test_several_statements_give_several_results(client):
    answer = client.execute_query(DB, "print a = 1; print b = 2")
    assert [table[0][0] for table in answer.primary_results] == [1, 2]


def test_results_become_data_frames(client):
    frame = dataframe_from_result_table(client.execute_query(DB, "SdkT | sort by a asc").primary_results[0])
    assert list(frame.columns) == ["a", "s"] and frame["a"].tolist() == [1, 2, 3]
    types = dataframe_from_result_table(client.execute_query(DB, TYPES).primary_results[0])
    assert str(types["r"].dtype).lower() == "float64" and isinstance(types["t"][0], pandas.Timestamp)
    empty = dataframe_from_result_table(client.execute_query(DB, "SdkT | where a > 99").primary_results[0])
    assert len(empty) == 0 and list(empty.columns) == ["a", "s"]


def test_special_reals_come_back(client):
    row = client.execute_query(DB, "print n = real(nan), p = real(+inf), m = real(-inf), z = int(null), e = ''").primary_results[0][0]
    frame = dataframe_from_result_table(client.execute_query(DB, "print n = real(nan), p = real(+inf)").primary_results[0])
    assert row["z"] is None and row["e"] == ""
    assert pandas.isna(frame["n"][0]) and frame["p"][0] == float("inf")


def test_rows_are_streamed(client):
    answer = client.execute_streaming_query(DB, "range x from 1 to 100000 step 1")
    count = 0
    for table in answer.iter_primary_results():
        count += sum(1 for _ in table)
    assert count == 100000


def test_rows_are_ingested_by_streaming(client):
    import gzip
    import io
    client.execute_streaming_ingest(DB, "SdkT", io.BytesIO(gzip.compress(b"10,ten\n11,eleven\n")), None, "csv")
    rows = client.execute_query(DB, "SdkT | where a >= 10 | sort by a asc").primary_results[0]
    assert [row["s"] for row in rows] == ["ten", "eleven"]


@pytest.mark.asyncio
async def test_the_asynchronous_client_works(server):
    async with AsyncKustoClient(KustoConnectionStringBuilder.with_no_authentication(server.url)) as client:
        answer = await client.execute_query(DB, TYPES)
        check_types(answer.primary_results[0][0])
        answer = await client.execute_mgmt(DB, ".show databases")
        assert DB in [row["DatabaseName"] for row in answer.primary_results[0]]
        with pytest.raises(KustoServiceError):
            await client.execute_query(DB, "nope")
        frames = await client.execute_streaming_query(DB, "range x from 1 to 1000 step 1")
        count = 0
        async for table in frames.iter_primary_results():
            async for _ in table:
                count += 1
        assert count == 1000


def test_version_1_answers_a_query(server):
    import requests
    answer = requests.post(server.url + "/v1/rest/query", json={"db": DB, "csl": "print x = 1 | render table"}).json()
    assert [table["TableName"] for table in answer["Tables"]] == ["Table_0", "Table_1", "Table_2", "Table_3"]
    from azure.kusto.data.response import KustoResponseDataSetV1
    assert KustoResponseDataSetV1(answer).primary_results[0][0]["x"] == 1
