// The JavaScript SDK, unmodified, against the server at TIDEWATER_URL. With TIDEWATER_SECRET it signs in as `ci`.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { gzipSync } from "node:zlib";
import { after, before, test } from "node:test";

import { Client, ClientRequestProperties, KustoConnectionStringBuilder } from "azure-kusto-data";

const url = process.env.TIDEWATER_URL;
const secret = process.env.TIDEWATER_SECRET;
const DB = "NetDefaultDB";
const TABLE = `Js_${randomUUID().replaceAll("-", "")}`;

const builder = secret ? KustoConnectionStringBuilder.withAadApplicationKeyAuthentication(url, "ci", secret, "adfs") : url;
const client = new Client(builder);

/** The first primary result. */
const rows = (answer) => [...answer.primaryResults[0].rows()].map((row) => row.toJSON());

const properties = (options = {}, parameters = {}) => {
    const found = new ClientRequestProperties();
    for (const [name, value] of Object.entries(options)) found.setOption(name, value);
    for (const [name, value] of Object.entries(parameters)) found.setParameter(name, value);
    return found;
};

before(async () => {
    await client.executeMgmt(DB, `.create table ${TABLE} (a: long, s: string)`);
    await client.executeMgmt(DB, `.ingest inline into table ${TABLE} <| 1,one\n2,two\n3,three`);
});

after(async () => {
    await client.executeMgmt(DB, `.drop table ${TABLE}`);
    client.close();
});

test("who is signed in", async () => {
    const found = rows(await client.execute(DB, "print p = current_principal()"));
    assert.match(found[0].p, secret ? /^aadapp=ci/ : /anonymous/i);
});

const TYPES = `print b = true, i = int(7), l = 123456789012, r = 1.5, d = decimal(12345.6789), s = "h\u00e9llo \\"q\\"",
    t = datetime(2020-01-02 03:04:05.1234567), n = 1.02:03:04.5, g = guid(74be27de-1e4e-49d9-b579-fe0b331d3642),
    j = dynamic({"a": [1, 2.5, null, "x"]}), z = long(null), nan = real(nan)`.replace("1.02:03:04.5", "time(1.02:03:04.5)");

const checkTypes = (row) => {
    assert.deepEqual([row.b, row.i, row.l, row.r, row.s, row.z], [true, 7, 123456789012, 1.5, 'h\u00e9llo "q"', null]);
    assert.equal(Number(row.d), 12345.6789);
    assert.equal(new Date(row.t).toISOString(), "2020-01-02T03:04:05.123Z");
    assert.equal(row.n, ((24 + 2) * 3600 + 3 * 60 + 4.5) * 1000);
    assert.equal(row.g, "74be27de-1e4e-49d9-b579-fe0b331d3642");
    assert.deepEqual(row.j, { a: [1, 2.5, null, "x"] });
};

test("every type comes back over version 2", async () => {
    checkTypes(rows(await client.executeQuery(DB, TYPES))[0]);
});

test("every type comes back over version 1", async () => {
    checkTypes(rows(await client.executeQueryV1(DB, TYPES))[0]);
});

test("commands go to the management endpoint", async () => {
    const found = rows(await client.execute(DB, `  .show tables | where TableName == "${TABLE}" | project TableName`));
    assert.deepEqual(found, [{ TableName: TABLE }]);
    const version = await client.executeMgmt(DB, ".show version");
    assert.equal(version.primaryResults[0].columns[0].name, "BuildVersion");
});

test("a database is there without being named", async () => {
    assert.deepEqual(rows(await client.execute(null, "print x = 1")), [{ x: 1 }]);
});

test("parameters are typed", async () => {
    const query = `declare query_parameters(n: long, name: string); ${TABLE} | where a == n and s == name`;
    assert.deepEqual(rows(await client.execute(DB, query, properties({}, { n: 2, name: "two" }))), [{ a: 2, s: "two" }]);
});

test("options are taken and the request id comes back", async () => {
    const options = properties({ query_take_max_records: 2 });
    options.setTimeout(60_000);
    options.clientRequestId = "KNC.execute;mine";
    assert.equal(rows(await client.execute(DB, `${TABLE}`, options)).length, 2);
});

test("several statements give several results", async () => {
    const answer = await client.execute(DB, "print a = 1; print b = 2 | render table");
    assert.deepEqual(answer.primaryResults.map((table) => [...table.rows()][0].getValueAt(0)), [1, 2]);
});

test("mistakes are bad requests with their document", async () => {
    await assert.rejects(client.execute(DB, "NoSuchTable | take 1"), (error) => {
        assert.equal(error.response.status, 400);
        assert.match(error.response.data.error["@message"], /NoSuchTable/);
        return true;
    });
    await assert.rejects(client.execute("NoSuchDatabase", "print 1"), (error) => error.response.status === 400);
});

test("a truncated result is noticed", async () => {
    for (const deferpartialqueryfailures of [false, true]) {
        const short = properties({ truncationmaxrecords: 10, deferpartialqueryfailures });
        await assert.rejects(client.executeQuery(DB, "range x from 1 to 100 step 1", short), /E_QUERY_RESULT_SET_TOO_LARGE|80DA0003/);
    }
});

test("rows are ingested by streaming", async () => {
    await client.executeStreamingIngest(DB, TABLE, gzipSync("10,ten\n11,eleven\n"), "csv", null);
    const found = rows(await client.execute(DB, `${TABLE} | where a >= 10 | sort by a asc`));
    assert.deepEqual(found.map((row) => row.s), ["ten", "eleven"]);
});

test("ninety connections at once are served", async () => {
    const answers = await Promise.all(Array.from({ length: 90 }, (_, n) => client.execute(DB, `print x = ${n}`)));
    assert.deepEqual(answers.map((answer) => rows(answer)[0].x), Array.from({ length: 90 }, (_, n) => n));
});

test("T-SQL is answered where it is asked for", async () => {
    const found = rows(await client.executeQuery(DB, `SELECT TOP 1 s FROM ${TABLE} WHERE a < 3 ORDER BY a DESC`, properties({ query_language: "sql" })));
    assert.deepEqual(found, [{ s: "two" }]);
});
