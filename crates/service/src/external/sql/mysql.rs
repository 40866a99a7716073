//! MySQL: a prepared statement with binary values.

use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Params, SslOpts, Value};
use serde_json::Value as Json;
use tidewater_kql::value::datetime::{self, Civil};
use tidewater_kql::value::decimal::Decimal;
use tidewater_kql::{Column, KqlType};
use tidewater_plan::{SqlCall, SqlKind};

use super::cells::{Cell, Rows};
use super::target::Target;
use super::{Asked, CONNECT_PATIENCE, agree, text};
use crate::error::{Error, Result};

/// The character set of bytes that are no text.
const BINARY: u16 = 63;

fn failed(error: &mysql_async::Error) -> Error {
    let reason = match error {
        mysql_async::Error::Server(told) => format!("{} (error {}, SQLSTATE {})", told.message, told.code, told.state),
        other => other.to_string(),
    };
    Asked::failed(SqlKind::MySql, reason)
}

/// Asks and sends the rows on.
pub(super) async fn ask(call: &SqlCall, target: &Target, rows: &mut Rows) -> Result<()> {
    // Whoever comes first installs it; the server has done so before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = OptsBuilder::default()
        .ip_or_hostname(target.host.clone())
        .tcp_port(target.port)
        .user(target.user.clone())
        .pass(target.password.clone())
        .db_name(target.database.clone())
        // The server's word must not lead anywhere else.
        .prefer_socket(false)
        .ssl_opts(target.is_encrypted.then(SslOpts::default));
    let made = tokio::time::timeout(CONNECT_PATIENCE, Conn::new(options)).await;
    let late = |_| Asked::failed(SqlKind::MySql, "the server does not answer in time");
    let mut connection = made.map_err(late)?.map_err(|error| failed(&error))?;

    let (query, order) = text::with_placeholders(&call.query, &call.parameters, |_| "?".to_string(), false);
    let mut values = Vec::with_capacity(order.len());
    for at in order {
        let (name, value) = &call.parameters[at];
        let wrong = || Asked::failed(call.kind, format!("the parameter '{name}' is no value that MySQL takes"));
        values.push(param(value).ok_or_else(wrong)?);
    }
    let params = if values.is_empty() { Params::Empty } else { Params::Positional(values) };
    let statement = connection.prep(query).await.map_err(|error| failed(&error))?;
    if call.schema.is_none() && matches!(params, Params::Empty) {
        // The columns of a prepared statement are known before it runs, but their types may hang on parameters.
        let columns = columns_of(statement.columns());
        agree(call, &columns, rows).await?;
        return Ok(());
    }
    let mut answer = connection.exec_iter(&statement, params).await.map_err(|error| failed(&error))?;
    let columns = answer.columns_ref().to_vec();
    let told = columns_of(&columns);
    if !agree(call, &told, rows).await? {
        return Ok(());
    }
    while let Some(row) = answer.next().await.map_err(|error| failed(&error))? {
        let mut cells = Vec::with_capacity(columns.len());
        for (value, (column, told)) in row.unwrap_raw().into_iter().zip(columns.iter().zip(&told)) {
            let cell = read(value.unwrap_or(Value::NULL), column, told.ty)
                .ok_or_else(|| Asked::failed(call.kind, format!("a value of column '{}' cannot be read", told.name)))?;
            cells.push(cell);
        }
        rows.push(cells).await?;
    }
    drop(answer);
    // The rows are there: how the other side takes leave does not matter.
    let _ = connection.disconnect().await;
    Ok(())
}

fn columns_of(columns: &[mysql_async::Column]) -> Vec<Column> {
    columns.iter().map(|column| Column::new(column.name_str(), type_of(column))).collect()
}

fn type_of(column: &mysql_async::Column) -> KqlType {
    use ColumnType as T;
    let is_unsigned = column.flags().contains(ColumnFlags::UNSIGNED_FLAG);
    match column.column_type() {
        // MySQL writes booleans so, and its connectors read them so.
        T::MYSQL_TYPE_TINY if column.column_length() == 1 && !is_unsigned => KqlType::Bool,
        T::MYSQL_TYPE_TINY | T::MYSQL_TYPE_SHORT | T::MYSQL_TYPE_INT24 | T::MYSQL_TYPE_YEAR => KqlType::Int,
        T::MYSQL_TYPE_LONG if !is_unsigned => KqlType::Int,
        T::MYSQL_TYPE_LONG => KqlType::Long,
        T::MYSQL_TYPE_LONGLONG if !is_unsigned => KqlType::Long,
        // Above the greatest long.
        T::MYSQL_TYPE_LONGLONG => KqlType::Decimal,
        T::MYSQL_TYPE_BIT if column.column_length() == 1 => KqlType::Bool,
        T::MYSQL_TYPE_BIT => KqlType::Long,
        T::MYSQL_TYPE_FLOAT | T::MYSQL_TYPE_DOUBLE => KqlType::Real,
        T::MYSQL_TYPE_DECIMAL | T::MYSQL_TYPE_NEWDECIMAL => KqlType::Decimal,
        T::MYSQL_TYPE_DATE
        | T::MYSQL_TYPE_NEWDATE
        | T::MYSQL_TYPE_DATETIME
        | T::MYSQL_TYPE_DATETIME2
        | T::MYSQL_TYPE_TIMESTAMP
        | T::MYSQL_TYPE_TIMESTAMP2 => KqlType::DateTime,
        T::MYSQL_TYPE_TIME | T::MYSQL_TYPE_TIME2 => KqlType::TimeSpan,
        T::MYSQL_TYPE_JSON => KqlType::Dynamic,
        _ => KqlType::String,
    }
}

fn read(value: Value, column: &mysql_async::Column, ty: KqlType) -> Option<Cell> {
    Some(match value {
        Value::NULL => Cell::Null,
        Value::Int(value) if ty == KqlType::Bool => Cell::Bool(value != 0),
        Value::Int(value) => Cell::Long(value),
        Value::UInt(value) => match i64::try_from(value) {
            Ok(value) => Cell::Long(value),
            Err(_) => Cell::Decimal(Decimal::parse(&value.to_string())?),
        },
        // Through its text, so that 0.1 stays 0.1.
        Value::Float(value) => Cell::Real(value.to_string().parse().unwrap_or(f64::from(value))),
        Value::Double(value) => Cell::Real(value),
        // MySQL's moment of zeros is no moment.
        Value::Date(_, 0, ..) | Value::Date(_, _, 0, ..) => Cell::Null,
        Value::Date(year, month, day, hour, minute, second, microsecond) => Cell::Ticks(datetime::from_civil(Civil {
            year: year.into(),
            month: month.into(),
            day: day.into(),
            hour: hour.into(),
            minute: minute.into(),
            second: second.into(),
            tick: i64::from(microsecond) * 10,
        })?),
        Value::Time(is_negative, days, hours, minutes, seconds, microseconds) => {
            let whole =
                i64::from(days) * 86_400 + i64::from(hours) * 3_600 + i64::from(minutes) * 60 + i64::from(seconds);
            let ticks = whole * 10_000_000 + i64::from(microseconds) * 10;
            Cell::Ticks(if is_negative { -ticks } else { ticks })
        }
        Value::Bytes(bytes) => match ty {
            KqlType::Decimal => Cell::Decimal(Decimal::parse(std::str::from_utf8(&bytes).ok()?)?),
            KqlType::Bool | KqlType::Long => {
                // Bits, the first one first.
                let bits = bytes.iter().try_fold(0u64, |bits, byte| Some(bits.checked_mul(256)? | u64::from(*byte)))?;
                if ty == KqlType::Bool {
                    Cell::Bool(bits != 0)
                } else {
                    Cell::Long(i64::from_ne_bytes(bits.to_ne_bytes()))
                }
            }
            _ if column.character_set() == BINARY && ty == KqlType::String => {
                let mut text = String::with_capacity(2 + bytes.len() * 2);
                text.push_str("0x");
                bytes.iter().for_each(|byte| text.push_str(&format!("{byte:02X}")));
                Cell::Text(text)
            }
            _ => Cell::Text(String::from_utf8(bytes).ok()?),
        },
    })
}

/// The value of a parameter.
fn param(value: &Json) -> Option<Value> {
    Some(match value {
        Json::Null => Value::NULL,
        Json::Bool(value) => Value::Int((*value).into()),
        Json::Number(number) => match number.as_i64() {
            Some(value) => Value::Int(value),
            None => Value::Double(number.as_f64()?),
        },
        Json::String(text) => match text::moment(text) {
            Some(ticks) => {
                let civil = datetime::civil(ticks);
                let small = |part: i32| u8::try_from(part).ok();
                Value::Date(
                    u16::try_from(civil.year).ok()?,
                    small(civil.month)?,
                    small(civil.day)?,
                    small(civil.hour)?,
                    small(civil.minute)?,
                    small(civil.second)?,
                    u32::try_from(civil.tick).ok()? / 10,
                )
            }
            None => Value::Bytes(text.clone().into_bytes()),
        },
        Json::Array(_) | Json::Object(_) => return None,
    })
}
