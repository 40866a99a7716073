// The ingestion SDK for JavaScript, unmodified: streaming, managed streaming with its fallback, queued with both ways of reporting.
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import test from "node:test";
import { Client, KustoConnectionStringBuilder } from "azure-kusto-data";
import {
    DataFormat, IngestClient, IngestionProperties, JsonColumnMapping, IngestStatusQueues, ManagedStreamingIngestClient, ReportLevel,
    ReportMethod, StreamDescriptor, StreamingIngestClient,
} from "azure-kusto-ingest";

const url = process.env.TIDEWATER_URL;
const database = "NetDefaultDB";
const connection = () => new KustoConnectionStringBuilder(url);
const client = new Client(connection());
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

async function until(look) {
    for (let attempt = 0; attempt < 300; attempt++) {
        const found = await look();
        if (found) return found;
        await pause(100);
    }
    throw new Error("it did not happen in time");
}

async function table() {
    const name = "J" + randomUUID().replaceAll("-", "").slice(0, 8);
    await client.execute(database, `.create table ${name} (a:long, s:string)`);
    return name;
}

const count = async (name) => (await client.execute(database, `${name} | count`)).primaryResults[0].toJSON().data[0].Count;

const properties = (name, more = {}) => new IngestionProperties({ database, table: name, format: DataFormat.CSV, flushImmediately: true, ...more });

test("small data is streamed", async () => {
    const name = await table();
    const streaming = new StreamingIngestClient(connection());
    await streaming.ingestFromStream(new StreamDescriptor(Readable.from([Buffer.from("1,a\n2,b\n")])), properties(name));
    assert.equal(await count(name), 2);
});

test("streams and buffers are queued, and what became of them is told by the queue", async () => {
    const name = await table();
    const queued = new IngestClient(connection());
    const wanted = properties(name, { reportLevel: ReportLevel.FailuresAndSuccesses, reportMethod: ReportMethod.Queue });
    const good = randomUUID();
    await queued.ingestFromStream(new StreamDescriptor(Readable.from([Buffer.from("1,a\n")]), good), wanted);
    await queued.ingestFromStream(new StreamDescriptor(Buffer.from("2,b\n")), wanted);
    await until(async () => (await count(name)) === 2);
    const status = new IngestStatusQueues(queued);
    const told = await until(async () => (await status.success.pop(1, { raw: false, remove: true }))[0]);
    assert.equal(told.Table, name);
    const bad = properties(name, {
        format: DataFormat.JSON, ingestionMappingColumns: [JsonColumnMapping.withPath("a", "$.a")],
        reportLevel: ReportLevel.FailuresOnly, reportMethod: ReportMethod.Queue,
    });
    await queued.ingestFromStream(new StreamDescriptor(Buffer.from('{"a":')), bad);
    const failure = await until(async () => (await status.failure.pop(1, { raw: false, remove: true }))[0]);
    assert.equal(failure.FailureStatus, "Permanent");
});

test("what became of a file is told by the table", { skip: !url.startsWith("https") }, async () => {
    const name = await table();
    const queued = new IngestClient(connection());
    const wanted = properties(name, { reportLevel: ReportLevel.FailuresAndSuccesses, reportMethod: ReportMethod.Table });
    const result = await queued.ingestFromStream(new StreamDescriptor(Buffer.from("1,a\n")), wanted);
    const entity = await until(async () => {
        const found = await result.getIngestionStatusCollection();
        return found.Status === "Succeeded" && found;
    });
    assert.equal(entity.Table, name);
});

test("managed streaming streams what is small and queues what is large", async () => {
    const name = await table();
    const managed = new ManagedStreamingIngestClient(connection(), connection());
    await managed.ingestFromStream(new StreamDescriptor(Readable.from([Buffer.from("1,a\n")])), properties(name));
    assert.equal(await count(name), 1);
    // In pieces: of a single large one this library misses the end.
    const rows = Array.from({ length: 60000 }, (_, n) => `${n},${randomBytes(60).toString("hex")}\n`);
    const pieces = Array.from({ length: 60 }, (_, at) => Buffer.from(rows.slice(at * 1000, (at + 1) * 1000).join("")));
    await managed.ingestFromStream(new StreamDescriptor(Readable.from(pieces)), properties(name));
    await until(async () => (await count(name)) === 60001);
    managed.close();
});
