//! Statements that make, change and remove tables and databases without a query. A schema of SQL is a database here.
//!
//! Source: the page on the SQL syntax of Query Service: CREATE and DROP DATABASE and SCHEMA, ALTER TABLE.

use datafusion::sql::sqlparser::ast::{
    AlterTableOperation, ColumnDef, ColumnOption, CreateTable, DataType, ObjectName, ObjectType, SchemaName,
    Statement as Ast,
};
use tidewater_kql::{Column, KqlType, TableSchema};

use super::{SYNTAX, SqlFault, TableName, check_options, table_name};

/// What is made, changed or removed.
#[derive(Clone, Debug)]
pub enum Definition {
    /// `CREATE TABLE [IF NOT EXISTS] name (columns)`.
    CreateTable {
        /// The new table.
        table: TableName,
        /// Its columns.
        schema: TableSchema,
        /// `IF NOT EXISTS`.
        if_not_exists: bool,
    },
    /// `ALTER TABLE [IF EXISTS] name ADD [COLUMN] column type, ...`.
    AddColumns {
        /// The table.
        table: TableName,
        /// The new columns, each with its `IF NOT EXISTS`.
        columns: Vec<(Column, bool)>,
        /// `IF EXISTS`.
        if_exists: bool,
    },
    /// `CREATE DATABASE` and `CREATE SCHEMA`.
    CreateDatabase {
        /// Its name.
        name: String,
        /// `IF NOT EXISTS`.
        if_not_exists: bool,
    },
    /// `DROP DATABASE` and `DROP SCHEMA`.
    DropDatabase {
        /// Its name.
        name: String,
        /// `IF EXISTS`.
        if_exists: bool,
        /// With all that is in it.
        with_tables: bool,
    },
}

impl Definition {
    /// The words of its end.
    pub fn words(&self) -> &'static str {
        match self {
            Definition::CreateTable { .. } => "CREATE TABLE",
            Definition::AddColumns { .. } => "ALTER TABLE",
            Definition::CreateDatabase { .. } => "CREATE DATABASE",
            Definition::DropDatabase { .. } => "DROP DATABASE",
        }
    }
}

/// What a statement defines, if that is what it does.
pub(super) fn definition(statement: &Ast) -> Result<Option<Definition>, SqlFault> {
    Ok(Some(match statement {
        Ast::CreateTable(create) if create.query.is_none() => return created(create).map(Some),
        Ast::AlterTable(alter) => {
            let mut columns = Vec::new();
            for operation in &alter.operations {
                let AlterTableOperation::AddColumn { column_def, if_not_exists, column_position: None, .. } = operation
                else {
                    let text = operation.to_string();
                    let words: Vec<&str> = text.split_whitespace().take(3).collect();
                    return Err(SqlFault::not_served(format!("ALTER TABLE ... {}", words.join(" "))));
                };
                columns.push((column(column_def)?, *if_not_exists));
            }
            Definition::AddColumns { table: table_name(&alter.name)?, columns, if_exists: alter.if_exists }
        }
        Ast::CreateDatabase { db_name, if_not_exists, location: None, managed_location: None, .. } => {
            Definition::CreateDatabase { name: last(db_name)?, if_not_exists: *if_not_exists }
        }
        Ast::CreateSchema { schema_name: SchemaName::Simple(name), if_not_exists, .. } => {
            Definition::CreateDatabase { name: last(name)?, if_not_exists: *if_not_exists }
        }
        Ast::Drop { object_type, if_exists, names, cascade, .. }
            if matches!(object_type, ObjectType::Database | ObjectType::Schema) =>
        {
            let [name] = names.as_slice() else {
                return Err(SqlFault::not_served(format!("DROP {object_type} of several")));
            };
            let with_tables = *cascade || *object_type == ObjectType::Database;
            Definition::DropDatabase { name: last(name)?, if_exists: *if_exists, with_tables }
        }
        _ => return Ok(None),
    }))
}

fn last(name: &ObjectName) -> Result<String, SqlFault> {
    let own = name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.clone());
    own.ok_or_else(|| SqlFault::new(SYNTAX, format!("found '{name}', expected a name")))
}

fn created(create: &CreateTable) -> Result<Definition, SqlFault> {
    if create.temporary || create.external || create.or_replace || create.like.is_some() || create.clone.is_some() {
        return Err(SqlFault::not_served("CREATE TABLE with TEMPORARY, EXTERNAL, OR REPLACE, LIKE or CLONE"));
    }
    if !create.constraints.is_empty() {
        return Err(SqlFault::not_served("CREATE TABLE with keys and constraints"));
    }
    if create.columns.is_empty() {
        return Err(SqlFault::new(SYNTAX, "CREATE TABLE needs columns or AS"));
    }
    check_options(&create.table_options)?;
    let columns = create.columns.iter().map(column).collect::<Result<Vec<Column>, SqlFault>>()?;
    for (at, column) in columns.iter().enumerate() {
        if columns[..at].iter().any(|other| other.name.eq_ignore_ascii_case(&column.name)) {
            return Err(SqlFault::new("42701", format!("the column '{}' is there twice", column.name)));
        }
    }
    let table = table_name(&create.name)?;
    Ok(Definition::CreateTable { table, schema: TableSchema::new(columns), if_not_exists: create.if_not_exists })
}

fn column(definition: &ColumnDef) -> Result<Column, SqlFault> {
    if let Some(option) = definition.options.iter().find(|option| !matches!(option.option, ColumnOption::Null)) {
        return Err(SqlFault::not_served(format!("a column with {}", option.option)));
    }
    Ok(Column::new(definition.name.value.clone(), kql_type(&definition.data_type)?))
}

/// The type of a stored column.
fn kql_type(ty: &DataType) -> Result<KqlType, SqlFault> {
    let written = ty.to_string().to_ascii_uppercase();
    let base = written.split(['(', '<']).next().unwrap_or_default().trim();
    Ok(match base {
        "BOOLEAN" | "BOOL" => KqlType::Bool,
        "TINYINT" | "SMALLINT" | "INT" | "INTEGER" | "INT2" | "INT4" | "BYTE" | "SHORT" => KqlType::Int,
        "BIGINT" | "LONG" | "INT8" => KqlType::Long,
        "FLOAT" | "REAL" | "DOUBLE" | "DOUBLE PRECISION" | "FLOAT4" | "FLOAT8" => KqlType::Real,
        "DECIMAL" | "NUMERIC" | "DEC" => KqlType::Decimal,
        "VARCHAR" | "CHAR" | "TEXT" | "STRING" | "CHARACTER VARYING" | "CHARACTER" | "NVARCHAR" => KqlType::String,
        "TIMESTAMP" | "DATE" | "DATETIME" | "TIMESTAMP WITHOUT TIME ZONE" => KqlType::DateTime,
        "UUID" => KqlType::Guid,
        "JSON" | "JSONB" => KqlType::Dynamic,
        _ => return Err(SqlFault::not_served(format!("a column of type {written}"))),
    })
}
