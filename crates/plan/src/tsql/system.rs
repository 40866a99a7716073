//! System views: what drivers and tools ask to find out what there is, made from the catalog view of the request.

use tidewater_kql::KqlType;

use super::query::{OutColumn, Relation};
use super::{name, quoted};
use crate::catalog::CatalogView;

use KqlType::{Bool, Int, String as Text};

type Columns = &'static [(&'static str, KqlType)];

const SYS_OBJECT: Columns = &[
    ("name", Text),
    ("object_id", Int),
    ("schema_id", Int),
    ("parent_object_id", Int),
    ("type", Text),
    ("type_desc", Text),
    ("is_ms_shipped", Bool),
];

const INDEXES: Columns = &[
    ("object_id", Int),
    ("name", Text),
    ("index_id", Int),
    ("type", Int),
    ("type_desc", Text),
    ("is_primary_key", Bool),
];
const KEYS: Columns =
    &[("name", Text), ("object_id", Int), ("schema_id", Int), ("parent_object_id", Int), ("type", Text)];
const FOREIGN_KEYS: Columns =
    &[("name", Text), ("object_id", Int), ("parent_object_id", Int), ("referenced_object_id", Int)];
const PROPERTIES: Columns = &[("class", Int), ("major_id", Int), ("minor_id", Int), ("name", Text), ("value", Text)];
const CONSTRAINTS: Columns = &[
    ("CONSTRAINT_CATALOG", Text),
    ("CONSTRAINT_SCHEMA", Text),
    ("CONSTRAINT_NAME", Text),
    ("TABLE_CATALOG", Text),
    ("TABLE_SCHEMA", Text),
    ("TABLE_NAME", Text),
    ("CONSTRAINT_TYPE", Text),
];
const KEY_USAGE: Columns = &[
    ("CONSTRAINT_CATALOG", Text),
    ("CONSTRAINT_SCHEMA", Text),
    ("CONSTRAINT_NAME", Text),
    ("TABLE_CATALOG", Text),
    ("TABLE_SCHEMA", Text),
    ("TABLE_NAME", Text),
    ("COLUMN_NAME", Text),
    ("ORDINAL_POSITION", Int),
];
const REFERENTIAL: Columns = &[
    ("CONSTRAINT_CATALOG", Text),
    ("CONSTRAINT_SCHEMA", Text),
    ("CONSTRAINT_NAME", Text),
    ("UNIQUE_CONSTRAINT_NAME", Text),
];

/// A cell of a view.
enum Cell {
    Text(String),
    Number(i64),
    Flag(bool),
    Null(KqlType),
}

impl Cell {
    fn literal(&self) -> String {
        match self {
            Cell::Text(text) => quoted(text),
            Cell::Number(number) => number.to_string(),
            Cell::Flag(flag) => flag.to_string(),
            Cell::Null(KqlType::String) => "\"\"".to_string(),
            Cell::Null(ty) => format!("{}(null)", ty.name()),
        }
    }
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_string())
}

/// A table or view of a database, as SQL lists it.
struct Object {
    name: String,
    id: i64,
    is_table: bool,
    columns: Vec<(String, KqlType)>,
}

/// The schema `dbo`, where everything is.
const SCHEMA_ID: i64 = 1;
const FIRST_OBJECT_ID: i64 = 1000;

fn objects(catalog: &dyn CatalogView, database: &str) -> Vec<Object> {
    let mut objects = Vec::new();
    for title in catalog.table_names(database) {
        let Some(handle) = catalog.table(database, &title) else { continue };
        let columns = handle.schema.columns.iter().map(|column| (column.name.clone(), column.ty)).collect();
        objects.push(Object { name: title, id: FIRST_OBJECT_ID + objects.len() as i64, is_table: true, columns });
    }
    for title in catalog.materialized_view_names(database) {
        let id = FIRST_OBJECT_ID + objects.len() as i64;
        objects.push(Object { name: title, id, is_table: false, columns: Vec::new() });
    }
    objects
}

/// T-SQL's name of a type, its number in `sys.types`, and its size in bytes.
fn sql_type(ty: KqlType) -> (&'static str, i64, i64) {
    match ty {
        KqlType::Bool => ("bit", 104, 1),
        KqlType::Int => ("int", 56, 4),
        KqlType::Long => ("bigint", 127, 8),
        KqlType::Real => ("float", 62, 8),
        KqlType::Decimal => ("decimal", 106, 17),
        KqlType::String | KqlType::Dynamic => ("nvarchar", 231, -1),
        KqlType::DateTime => ("datetime2", 42, 8),
        KqlType::TimeSpan => ("time", 41, 5),
        KqlType::Guid => ("uniqueidentifier", 36, 16),
    }
}

/// A system view by its lower-case schema and name.
pub(super) fn view(catalog: &dyn CatalogView, database: &str, schema: &str, wanted: &str) -> Option<Relation> {
    Some(match (schema, wanted) {
        ("sys", "databases") => databases(catalog),
        ("sys", "schemas") => table(
            &[("name", Text), ("schema_id", Int), ("principal_id", Int)],
            vec![
                vec![text("dbo"), Cell::Number(SCHEMA_ID), Cell::Number(1)],
                vec![text("INFORMATION_SCHEMA"), Cell::Number(3), Cell::Number(3)],
                vec![text("sys"), Cell::Number(4), Cell::Number(4)],
                vec![text("kusto"), Cell::Number(5), Cell::Number(1)],
            ],
        ),
        ("sys", "tables") => sys_objects(catalog, database, |object| object.is_table),
        ("sys", "views" | "all_views") => sys_objects(catalog, database, |object| !object.is_table),
        ("sys", "objects" | "all_objects") => sys_objects(catalog, database, |_| true),
        ("sys", "columns" | "all_columns") => sys_columns(catalog, database),
        ("sys", "types") => types(),
        ("sys", "procedures") => table(SYS_OBJECT, Vec::new()),
        ("sys", "indexes" | "index_columns") => table(INDEXES, Vec::new()),
        ("sys", "key_constraints") => table(KEYS, Vec::new()),
        ("sys", "foreign_keys") => table(FOREIGN_KEYS, Vec::new()),
        ("sys", "extended_properties") => table(PROPERTIES, Vec::new()),
        ("information_schema", "schemata") => table(
            &[("CATALOG_NAME", Text), ("SCHEMA_NAME", Text), ("SCHEMA_OWNER", Text)],
            ["dbo", "INFORMATION_SCHEMA", "sys", "kusto"]
                .iter()
                .map(|schema| vec![text(database), text(schema), text("dbo")])
                .collect(),
        ),
        ("information_schema", "tables") => table(
            &[("TABLE_CATALOG", Text), ("TABLE_SCHEMA", Text), ("TABLE_NAME", Text), ("TABLE_TYPE", Text)],
            objects(catalog, database)
                .into_iter()
                .map(|object| {
                    let kind = if object.is_table { "BASE TABLE" } else { "VIEW" };
                    vec![text(database), text("dbo"), Cell::Text(object.name), text(kind)]
                })
                .collect(),
        ),
        ("information_schema", "views") => table(
            &[("TABLE_CATALOG", Text), ("TABLE_SCHEMA", Text), ("TABLE_NAME", Text), ("IS_UPDATABLE", Text)],
            objects(catalog, database)
                .into_iter()
                .filter(|object| !object.is_table)
                .map(|object| vec![text(database), text("dbo"), Cell::Text(object.name), text("NO")])
                .collect(),
        ),
        ("information_schema", "columns") => information_columns(catalog, database),
        ("information_schema", "routines") => table(
            &[
                ("SPECIFIC_CATALOG", Text),
                ("SPECIFIC_SCHEMA", Text),
                ("SPECIFIC_NAME", Text),
                ("ROUTINE_CATALOG", Text),
                ("ROUTINE_SCHEMA", Text),
                ("ROUTINE_NAME", Text),
                ("ROUTINE_TYPE", Text),
            ],
            catalog
                .function_names(database)
                .iter()
                .map(|function| {
                    let place = || [text(database), text("kusto"), text(function)];
                    place().into_iter().chain(place()).chain([text("FUNCTION")]).collect()
                })
                .collect(),
        ),
        ("information_schema", "table_constraints") => table(CONSTRAINTS, Vec::new()),
        ("information_schema", "key_column_usage") => table(KEY_USAGE, Vec::new()),
        ("information_schema", "referential_constraints") => table(REFERENTIAL, Vec::new()),
        _ => return None,
    })
}

fn databases(catalog: &dyn CatalogView) -> Relation {
    let rows = catalog.database_names().into_iter().enumerate();
    table(
        &[
            ("name", Text),
            ("database_id", Int),
            ("state", Int),
            ("state_desc", Text),
            ("collation_name", Text),
            ("is_read_only", Bool),
        ],
        rows.map(|(at, title)| {
            vec![
                Cell::Text(title),
                Cell::Number(at as i64 + 5),
                Cell::Number(0),
                text("ONLINE"),
                text("Latin1_General_100_BIN2_UTF8"),
                Cell::Flag(false),
            ]
        })
        .collect(),
    )
}

fn sys_objects(catalog: &dyn CatalogView, database: &str, wanted: impl Fn(&Object) -> bool) -> Relation {
    let rows = objects(catalog, database).into_iter().filter(wanted).map(|object| {
        let (kind, description) = if object.is_table { ("U ", "USER_TABLE") } else { ("V ", "VIEW") };
        vec![
            Cell::Text(object.name),
            Cell::Number(object.id),
            Cell::Number(SCHEMA_ID),
            Cell::Number(0),
            text(kind),
            text(description),
            Cell::Flag(false),
        ]
    });
    table(SYS_OBJECT, rows.collect())
}

fn sys_columns(catalog: &dyn CatalogView, database: &str) -> Relation {
    let mut rows = Vec::new();
    for object in objects(catalog, database) {
        for (at, (title, ty)) in object.columns.iter().enumerate() {
            let (_, number, size) = sql_type(*ty);
            rows.push(vec![
                Cell::Number(object.id),
                text(title),
                Cell::Number(at as i64 + 1),
                Cell::Number(number),
                Cell::Number(number),
                Cell::Number(size),
                Cell::Number(if *ty == KqlType::Decimal { 34 } else { 0 }),
                Cell::Number(0),
                Cell::Flag(true),
                Cell::Flag(false),
                Cell::Flag(false),
            ]);
        }
    }
    table(
        &[
            ("object_id", Int),
            ("name", Text),
            ("column_id", Int),
            ("system_type_id", Int),
            ("user_type_id", Int),
            ("max_length", Int),
            ("precision", Int),
            ("scale", Int),
            ("is_nullable", Bool),
            ("is_identity", Bool),
            ("is_computed", Bool),
        ],
        rows,
    )
}

fn types() -> Relation {
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    let mut seen = Vec::new();
    for ty in KqlType::ALL {
        let (title, number, size) = sql_type(ty);
        if seen.contains(&number) {
            continue;
        }
        seen.push(number);
        rows.push(vec![
            text(title),
            Cell::Number(number),
            Cell::Number(number),
            Cell::Number(4),
            Cell::Number(size),
            Cell::Flag(true),
            Cell::Flag(false),
        ]);
    }
    table(
        &[
            ("name", Text),
            ("system_type_id", Int),
            ("user_type_id", Int),
            ("schema_id", Int),
            ("max_length", Int),
            ("is_nullable", Bool),
            ("is_user_defined", Bool),
        ],
        rows,
    )
}

fn information_columns(catalog: &dyn CatalogView, database: &str) -> Relation {
    let mut rows = Vec::new();
    for object in objects(catalog, database) {
        for (at, (title, ty)) in object.columns.iter().enumerate() {
            let (kind, _, size) = sql_type(*ty);
            let is_text = kind == "nvarchar";
            let number = |value: Option<i64>| value.map_or(Cell::Null(Int), Cell::Number);
            rows.push(vec![
                text(database),
                text("dbo"),
                text(&object.name),
                text(title),
                Cell::Number(at as i64 + 1),
                Cell::Null(Text),
                text("YES"),
                text(kind),
                number(is_text.then_some(size)),
                number(is_text.then_some(size)),
                number(match ty {
                    KqlType::Int => Some(10),
                    KqlType::Long => Some(19),
                    KqlType::Real => Some(53),
                    KqlType::Decimal => Some(34),
                    _ => None,
                }),
                number(matches!(ty, KqlType::Int | KqlType::Long).then_some(0)),
                number(matches!(ty, KqlType::DateTime | KqlType::TimeSpan).then_some(7)),
            ]);
        }
    }
    table(
        &[
            ("TABLE_CATALOG", Text),
            ("TABLE_SCHEMA", Text),
            ("TABLE_NAME", Text),
            ("COLUMN_NAME", Text),
            ("ORDINAL_POSITION", Int),
            ("COLUMN_DEFAULT", Text),
            ("IS_NULLABLE", Text),
            ("DATA_TYPE", Text),
            ("CHARACTER_MAXIMUM_LENGTH", Int),
            ("CHARACTER_OCTET_LENGTH", Int),
            ("NUMERIC_PRECISION", Int),
            ("NUMERIC_SCALE", Int),
            ("DATETIME_PRECISION", Int),
        ],
        rows,
    )
}

fn table(columns: Columns, rows: Vec<Vec<Cell>>) -> Relation {
    let header: Vec<String> = columns.iter().map(|(title, ty)| format!("{}: {}", name(title), ty.name())).collect();
    let cells: Vec<String> = rows.iter().flatten().map(Cell::literal).collect();
    let source = format!("datatable ({}) [{}]", header.join(", "), cells.join(", "));
    let columns = columns.iter().map(|(title, ty)| OutColumn { name: title.to_string(), ty: Some(*ty) }).collect();
    Relation { steps: vec![source], columns }
}
