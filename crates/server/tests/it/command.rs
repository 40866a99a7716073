//! Management commands over HTTP: the columns that clients read, and what they do.

use serde_json::{Value, json};

use crate::support::{names, start};

#[tokio::test(flavor = "multi_thread")]
async fn the_default_database_exists_and_has_the_columns_clients_read_by_position() {
    let server = start().await;
    let table = server.command(".show databases").await;
    assert_eq!(
        names(&table),
        [
            "DatabaseName",
            "PersistentStorage",
            "Version",
            "IsCurrent",
            "DatabaseAccessMode",
            "PrettyName",
            "DatabaseId",
            "InTransitionTo",
            "SuspensionState"
        ]
    );
    assert_eq!(table["Columns"][3]["DataType"], "SByte");
    assert_eq!(table["Rows"][0][0], "NetDefaultDB");
    assert_eq!(table["Rows"][0][3], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn show_version_names_the_engine() {
    let server = start().await;
    let table = server.command(".show version").await;
    assert_eq!(names(&table), ["BuildVersion", "BuildTime", "ServiceType", "ProductVersion"]);
    assert_eq!(table["Rows"][0][2], "Engine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_lives_from_create_to_drop() {
    let server = start().await;
    let created = server.command(".create table T (a: long, ['b c']: string) with (folder='f', docstring='d')").await;
    assert_eq!(names(&created), ["TableName", "Schema", "DatabaseName", "Folder", "DocString"]);
    let schema: Value = serde_json::from_str(created["Rows"][0][1].as_str().unwrap()).unwrap();
    assert_eq!(
        schema["OrderedColumns"],
        json!([
            {"Name": "a", "Type": "System.Int64", "CslType": "long"},
            {"Name": "b c", "Type": "System.String", "CslType": "string"}
        ])
    );
    assert_eq!(server.rows(".show tables").await, [json!(["T", "NetDefaultDB", "f", "d"])]);
    assert_eq!(server.rows(".show table T cslschema").await[0][1], "a:long,['b c']:string");
    let merged = server.rows(".create-merge table T (c: real, a: long)").await;
    assert!(merged[0][1].as_str().unwrap().contains("\"Name\":\"c\""));
    let attributes = server.command(".show table T").await;
    assert_eq!(attributes["Rows"][1][1], "StringBuffer");
    assert_eq!(attributes["Rows"][2][1], "R64");
    assert!(server.refusal(".create-merge table T (a: string)").await["@message"].as_str().unwrap().contains("long"));
    assert_eq!(server.refusal(".create table T (x: int)").await["code"], "BadRequest_EntityNameAlreadyExists");
    server.command(".create table T (x: int) ifnotexists").await;
    assert_eq!(server.rows(".rename table T to U").await, [json!(["U", "NetDefaultDB", "f", "d"])]);
    assert_eq!(server.refusal(".drop table T").await["code"], "BadRequest_EntityNotFound");
    server.command(".drop table T ifexists").await;
    assert!(server.rows(".drop table U").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_are_made_and_dropped_but_the_default_stays() {
    let server = start().await;
    server.command(".create database Samples").await;
    assert_eq!(server.refusal(".create database samples").await["code"], "BadRequest_EntityNameAlreadyExists");
    let body = json!({"db": "SAMPLES", "csl": ".create table T (a: long)"});
    assert_eq!(server.post("/v1/rest/mgmt", &body).await.0, 200);
    let rows = server.rows(".show database Samples schema").await;
    assert_eq!(rows.len(), 3, "the database, the table, the column: {rows:?}");
    assert_eq!(rows[2][3], "System.Int64");
    server.command(".drop database Samples").await;
    assert_eq!(server.refusal(".show database Samples schema").await["code"], "BadRequest_DatabaseNotExist");
    server.refusal(".drop database NetDefaultDB").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_as_json_is_what_editors_read() {
    let server = start().await;
    server.command(".create table T (a: long, d: dynamic) with (docstring='x')").await;
    server.command(".create function with (folder='f') F (n: long, t: string = 'x') { T | where a == n }").await;
    for command in
        [".show schema as json", ".show databases schema as json", ".show database NetDefaultDB schema as json"]
    {
        let table = server.command(command).await;
        assert_eq!(names(&table), ["DatabaseSchema"]);
        let schema: Value = serde_json::from_str(table["Rows"][0][0].as_str().unwrap()).unwrap();
        let database = &schema["Databases"]["NetDefaultDB"];
        assert_eq!(database["Tables"]["T"]["OrderedColumns"][1]["Type"], "System.Object");
        assert_eq!(database["Tables"]["T"]["DocString"], "x");
        let function = &database["Functions"]["F"];
        assert_eq!(function["InputParameters"][0]["CslType"], "long");
        assert_eq!(function["InputParameters"][1]["CslDefaultValue"], "\"x\"");
        assert_eq!(function["Folder"], "f");
    }
    let script = server.rows(".show database schema as csl script").await;
    assert_eq!(script[0][0], ".create-merge table T (a:long, d:dynamic) with (docstring = \"x\")");
    let entities = server.rows(".show databases entities").await;
    assert_eq!((entities[0][1].as_str(), entities[1][1].as_str()), (Some("Table"), Some("Function")));
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_are_stored_changed_and_dropped() {
    let server = start().await;
    let made = server.command(".create function with (docstring='one') F () { print 1 }").await;
    assert_eq!(names(&made), ["Name", "Parameters", "Body", "Folder", "DocString"]);
    assert_eq!(server.refusal(".create function F () { print 2 }").await["code"], "BadRequest_EntityNameAlreadyExists");
    server.command(".create function ifnotexists F () { print 2 }").await;
    let altered = server.rows(".create-or-alter function F () { print 3 }").await;
    assert!(altered[0][2].as_str().unwrap().contains("print 3"));
    assert_eq!(altered[0][4], "one", "a docstring that is not named stays");
    assert_eq!(server.rows(".show functions").await.len(), 1);
    assert_eq!(server.rows(".drop function F").await, [json!(["F"])]);
    assert_eq!(server.refusal(".show function F").await["code"], "BadRequest_EntityNotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_and_unserved_commands_are_told_apart() {
    let server = start().await;
    let syntax = server.refusal(".creat table T (a: long)").await;
    assert_eq!(syntax["innererror"]["@errorCode"], "SYN0002");
    assert!(syntax["@message"].as_str().unwrap().contains("Syntax error: SYN0002"));
    assert!(syntax["@message"].as_str().unwrap().contains("[line:position=1:"));
    let unserved = server.refusal(".export to sql T h'x' <| print 1").await;
    assert!(unserved["@message"].as_str().unwrap().contains("is not served yet"), "{unserved}");
}

#[tokio::test(flavor = "multi_thread")]
async fn journals_show_what_ran() {
    let server = start().await;
    server.command(".create table T (a: long)").await;
    let commands = server.command(".show commands").await;
    let rows = commands["Rows"].as_array().unwrap();
    assert!(rows.iter().any(|row| row[1] == "TableCreate" && row[7] == "Completed"), "{rows:?}");
    let operations = server.rows(".show operations").await;
    assert!(operations.iter().any(|row| row[1] == "TableCreate"));
    assert!(server.rows(".show running queries").await.is_empty());
    let cancelled = server.rows(".cancel query \"nobody\"").await;
    assert_eq!(cancelled[0][1], false);
}
