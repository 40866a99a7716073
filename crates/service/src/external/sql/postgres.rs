//! PostgreSQL: the extended protocol with binary values.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, BytesMut};
use futures::TryStreamExt;
use rustls_platform_verifier::ConfigVerifierExt;
use serde_json::Value as Json;
use tidewater_kql::value::datetime::UNIX_EPOCH_TICKS;
use tidewater_kql::value::decimal::Decimal;
use tidewater_kql::value::guid;
use tidewater_kql::{Column, KqlType};
use tidewater_plan::{SqlCall, SqlKind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type};
use tokio_postgres::{Client, Config, NoTls};

use super::cells::{Cell, Rows, real_json};
use super::target::Target;
use super::{Asked, CONNECT_PATIENCE, agree, text};
use crate::error::{Error, Result};

/// Ticks of 2000-01-01, from which PostgreSQL counts.
const EPOCH_TICKS: i64 = UNIX_EPOCH_TICKS + 946_684_800 * 10_000_000;

fn failed(error: &tokio_postgres::Error) -> Error {
    let reason = match error.as_db_error() {
        Some(told) => format!("{} (SQLSTATE {})", told.message(), told.code().code()),
        None => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(inner) = source {
                text.push_str(&format!(": {inner}"));
                source = inner.source();
            }
            text
        }
    };
    Asked::failed(SqlKind::PostgreSql, reason)
}

/// Asks and sends the rows on.
pub(super) async fn ask(call: &SqlCall, target: &Target, rows: &mut Rows) -> Result<()> {
    let connected = connect(target).await?;
    let mut values: Vec<Param> = Vec::new();
    for (name, value) in &call.parameters {
        let wrong = || Asked::failed(call.kind, format!("the parameter '{name}' is no value that PostgreSQL takes"));
        values.push(Param::of(value).ok_or_else(wrong)?);
    }
    // A parameter that stands in several places is one.
    let mut used: Vec<usize> = Vec::new();
    let placeholder = |known: usize| {
        let at = used.iter().position(|at| *at == known).unwrap_or_else(|| {
            used.push(known);
            used.len() - 1
        });
        format!("${}", at + 1)
    };
    let (query, _) = text::with_placeholders(&call.query, &call.parameters, placeholder, true);
    let types: Vec<Type> = used.iter().map(|at| values[*at].ty()).collect();
    let statement = connected.client.prepare_typed(&query, &types).await.map_err(|error| failed(&error))?;
    let mut columns = Vec::with_capacity(statement.columns().len());
    for column in statement.columns() {
        let Some(ty) = type_of(column.type_()) else {
            let (name, ty) = (column.name(), column.type_().name());
            let reason = format!("the column '{name}' has the type {ty}, which is not read: cast it to text");
            return Err(Asked::failed(call.kind, reason));
        };
        columns.push(Column::new(column.name(), ty));
    }
    if !agree(call, &columns, rows).await? {
        return Ok(());
    }
    let params = used.iter().map(|at| &values[*at] as &(dyn ToSql + Sync));
    let mut cancel = Cancel { connected: Some(&connected) };
    let stream = connected.client.query_raw(&statement, params).await.map_err(|error| failed(&error))?;
    let mut stream = std::pin::pin!(stream);
    while let Some(row) = stream.try_next().await.map_err(|error| failed(&error))? {
        let mut cells = Vec::with_capacity(columns.len());
        for (at, column) in statement.columns().iter().enumerate() {
            let value: Option<Raw<'_>> = row.try_get(at).map_err(|error| failed(&error))?;
            let cell = match value {
                None => Cell::Null,
                Some(Raw(bytes)) => read(column.type_(), bytes).ok_or_else(|| {
                    let (name, ty) = (column.name(), column.type_().name());
                    Asked::failed(call.kind, format!("a value of column '{name}' of type {ty} cannot be read"))
                })?,
            };
            cells.push(cell);
        }
        rows.push(cells).await?;
    }
    cancel.connected = None;
    Ok(())
}

struct Connected {
    client: Client,
    driver: JoinHandle<()>,
    tls: Option<Tls>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Tells the server to stop when its rows are not read to the end.
struct Cancel<'a> {
    connected: Option<&'a Connected>,
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        let Some(connected) = self.connected else { return };
        let (token, tls) = (connected.client.cancel_token(), connected.tls.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // Best effort: the connection ends in any case.
                let _ = tokio::time::timeout(CONNECT_PATIENCE, async move {
                    match tls {
                        Some(tls) => token.cancel_query(tls).await,
                        None => token.cancel_query(NoTls).await,
                    }
                })
                .await;
            });
        }
    }
}

async fn connect(target: &Target) -> Result<Connected> {
    let mut config = Config::new();
    config.host(&target.host).port(target.port).application_name("tidewater").connect_timeout(CONNECT_PATIENCE);
    config.user(target.user.as_deref().unwrap_or_default());
    if let Some(password) = &target.password {
        config.password(password);
    }
    if let Some(database) = &target.database {
        config.dbname(database);
    }
    let late = || Asked::failed(SqlKind::PostgreSql, "the server does not answer in time");
    if !target.is_encrypted {
        config.ssl_mode(SslMode::Disable);
        let made = tokio::time::timeout(CONNECT_PATIENCE, config.connect(NoTls)).await.map_err(|_| late())?;
        let (client, connection) = made.map_err(|error| failed(&error))?;
        // Its faults come out of the requests.
        let driver = tokio::spawn(async move { drop(connection.await) });
        return Ok(Connected { client, driver, tls: None });
    }
    config.ssl_mode(SslMode::Require);
    let tls = Tls::new()?;
    let made = tokio::time::timeout(CONNECT_PATIENCE, config.connect(tls.clone())).await.map_err(|_| late())?;
    let (client, connection) = made.map_err(|error| failed(&error))?;
    let driver = tokio::spawn(async move { drop(connection.await) });
    Ok(Connected { client, driver, tls: Some(tls) })
}

/// Encryption by rustls; certificates are checked as this machine checks them.
#[derive(Clone)]
struct Tls(tokio_rustls::TlsConnector);

impl Tls {
    fn new() -> Result<Tls> {
        // Whoever comes first installs it; the server has done so before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = rustls::ClientConfig::with_platform_verifier()
            .map_err(|error| Error::internal(format!("encryption cannot start: {error}")))?;
        Ok(Tls(tokio_rustls::TlsConnector::from(Arc::new(config))))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Encrypted<S>;
    type TlsConnect = Handshake;
    type Error = rustls::pki_types::InvalidDnsNameError;

    fn make_tls_connect(&mut self, domain: &str) -> std::result::Result<Handshake, Self::Error> {
        let name = rustls::pki_types::ServerName::try_from(domain.to_string())?;
        Ok(Handshake { connector: self.0.clone(), name })
    }
}

struct Handshake {
    connector: tokio_rustls::TlsConnector,
    name: rustls::pki_types::ServerName<'static>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { Ok(Encrypted(self.connector.connect(self.name, stream).await?)) })
    }
}

struct Encrypted<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The KQL type of a column; `None` for types whose binary form is not read.
fn type_of(ty: &Type) -> Option<KqlType> {
    Some(match *ty {
        Type::BOOL => KqlType::Bool,
        Type::INT2 | Type::INT4 => KqlType::Int,
        Type::INT8 | Type::OID => KqlType::Long,
        Type::FLOAT4 | Type::FLOAT8 => KqlType::Real,
        Type::NUMERIC => KqlType::Decimal,
        Type::DATE | Type::TIMESTAMP | Type::TIMESTAMPTZ => KqlType::DateTime,
        Type::TIME | Type::INTERVAL => KqlType::TimeSpan,
        Type::UUID => KqlType::Guid,
        Type::JSON | Type::JSONB => KqlType::Dynamic,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::CHAR | Type::UNKNOWN | Type::XML => {
            KqlType::String
        }
        Type::BYTEA => KqlType::String,
        _ => match ty.kind() {
            Kind::Enum(_) => KqlType::String,
            Kind::Domain(inner) => type_of(inner)?,
            Kind::Array(inner) => type_of(inner).map(|_| KqlType::Dynamic)?,
            _ => return None,
        },
    })
}

/// A value's bytes.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Takes the bytes of a number from the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// A value; `None` when it has no counterpart.
fn read(ty: &Type, bytes: &[u8]) -> Option<Cell> {
    let mut rest = bytes;
    let moment = |microseconds: i64| -> Option<Cell> {
        // Infinity is no moment.
        if microseconds == i64::MAX || microseconds == i64::MIN {
            return Some(Cell::Null);
        }
        let ticks = microseconds.checked_mul(10)?.checked_add(EPOCH_TICKS)?;
        use tidewater_kql::value::datetime::{MAX_TICKS, MIN_TICKS};
        Some(if (MIN_TICKS..=MAX_TICKS).contains(&ticks) { Cell::Ticks(ticks) } else { Cell::Null })
    };
    Some(match *ty {
        Type::BOOL => Cell::Bool(*bytes.first()? != 0),
        Type::INT2 => Cell::Long(i64::from(i16::from_be_bytes(take(&mut rest)?))),
        Type::INT4 => Cell::Long(i64::from(i32::from_be_bytes(take(&mut rest)?))),
        Type::INT8 => Cell::Long(i64::from_be_bytes(take(&mut rest)?)),
        Type::OID => Cell::Long(i64::from(u32::from_be_bytes(take(&mut rest)?))),
        Type::FLOAT4 => {
            // Through its text, so that 0.1 stays 0.1.
            let value = f32::from_be_bytes(take(&mut rest)?);
            Cell::Real(value.to_string().parse().unwrap_or(f64::from(value)))
        }
        Type::FLOAT8 => Cell::Real(f64::from_be_bytes(take(&mut rest)?)),
        Type::NUMERIC => numeric(rest)?,
        Type::DATE => match i32::from_be_bytes(take(&mut rest)?) {
            i32::MAX | i32::MIN => Cell::Null,
            days => moment(i64::from(days) * 86_400_000_000)?,
        },
        Type::TIMESTAMP | Type::TIMESTAMPTZ => moment(i64::from_be_bytes(take(&mut rest)?))?,
        Type::TIME => Cell::Ticks(i64::from_be_bytes(take(&mut rest)?).checked_mul(10)?),
        Type::INTERVAL => {
            let (microseconds, days, months) = (
                i64::from_be_bytes(take(&mut rest)?),
                i32::from_be_bytes(take(&mut rest)?),
                i32::from_be_bytes(take(&mut rest)?),
            );
            // A month is no length of time.
            if months != 0 {
                return None;
            }
            Cell::Ticks(microseconds.checked_mul(10)?.checked_add(i64::from(days) * 864_000_000_000)?)
        }
        Type::UUID => Cell::Guid(bytes.try_into().ok()?),
        Type::JSONB => Cell::Text(std::str::from_utf8(bytes.get(1..)?).ok()?.to_string()),
        Type::BYTEA => {
            let mut text = String::with_capacity(2 + bytes.len() * 2);
            text.push_str("\\x");
            bytes.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
            Cell::Text(text)
        }
        _ => match ty.kind() {
            Kind::Array(inner) => Cell::Text(array(inner, rest)?),
            Kind::Domain(inner) => read(inner, bytes)?,
            _ => Cell::Text(std::str::from_utf8(bytes).ok()?.to_string()),
        },
    })
}

/// A number of groups of four digits; not a number is null.
fn numeric(mut bytes: &[u8]) -> Option<Cell> {
    let (count, weight, sign, scale) = (
        u16::from_be_bytes(take(&mut bytes)?),
        i16::from_be_bytes(take(&mut bytes)?),
        u16::from_be_bytes(take(&mut bytes)?),
        u16::from_be_bytes(take(&mut bytes)?),
    );
    let mut text = String::new();
    match sign {
        0x0000 => {}
        0x4000 => text.push('-'),
        _ => return Some(Cell::Null),
    }
    let mut groups = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        groups.push(u16::from_be_bytes(take(&mut bytes)?));
    }
    if weight < 0 {
        text.push('0');
    }
    for at in 0..=weight.max(-1) {
        let group = groups.get(usize::try_from(at).ok()?).copied().unwrap_or(0);
        text.push_str(&if at == 0 { group.to_string() } else { format!("{group:04}") });
    }
    if scale > 0 {
        text.push('.');
        let first = weight.checked_add(1)?;
        let mut digits = String::new();
        for at in i32::from(first)..i32::from(first) + i32::from(scale.div_ceil(4)) {
            let group = usize::try_from(at).ok().and_then(|at| groups.get(at)).copied().unwrap_or(0);
            digits.push_str(&format!("{group:04}"));
        }
        text.push_str(digits.get(..usize::from(scale)).unwrap_or(&digits));
    }
    Decimal::parse(&text).map(Cell::Decimal)
}

/// Elements with their dimensions, as JSON.
fn array(inner: &Type, mut bytes: &[u8]) -> Option<String> {
    let (dimensions, _has_nulls, _element) = (
        i32::from_be_bytes(take(&mut bytes)?),
        i32::from_be_bytes(take(&mut bytes)?),
        u32::from_be_bytes(take(&mut bytes)?),
    );
    let mut lengths = Vec::new();
    for _ in 0..dimensions {
        let (length, _first) = (i32::from_be_bytes(take(&mut bytes)?), i32::from_be_bytes(take(&mut bytes)?));
        lengths.push(usize::try_from(length).ok()?);
    }
    let mut out = String::new();
    if lengths.is_empty() {
        out.push_str("[]");
    } else {
        elements(inner, &lengths, &mut bytes, &mut out)?;
    }
    Some(out)
}

fn elements(inner: &Type, lengths: &[usize], bytes: &mut &[u8], out: &mut String) -> Option<()> {
    // PostgreSQL has six dimensions at most.
    let (length, rest) = lengths.split_first()?;
    out.push('[');
    for at in 0..*length {
        if at > 0 {
            out.push(',');
        }
        if !rest.is_empty() {
            elements(inner, rest, bytes, out)?;
            continue;
        }
        let mut left = *bytes;
        let size = i32::from_be_bytes(take(&mut left)?);
        if size < 0 {
            *bytes = left;
            out.push_str("null");
            continue;
        }
        let (value, left) = left.split_at_checked(usize::try_from(size).ok()?)?;
        *bytes = left;
        out.push_str(&json_of(inner, read(inner, value)?)?);
    }
    out.push(']');
    Some(())
}

fn json_of(ty: &Type, cell: Cell) -> Option<String> {
    let quoted = |text: &str| Json::from(text).to_string();
    Some(match cell {
        Cell::Null => "null".to_string(),
        Cell::Bool(value) => value.to_string(),
        Cell::Long(value) => value.to_string(),
        Cell::Real(value) => real_json(value),
        Cell::Decimal(value) => value.to_text(),
        Cell::Ticks(value) if type_of(ty) == Some(KqlType::TimeSpan) => {
            quoted(&tidewater_kql::value::timespan::to_text(value))
        }
        Cell::Ticks(value) => quoted(&tidewater_kql::value::datetime::to_text(value)),
        Cell::Guid(value) => quoted(&guid::to_text(&value)),
        Cell::Text(text) if type_of(ty) == Some(KqlType::Dynamic) => tidewater_kql::value::json::canonical(&text)?,
        Cell::Text(text) => quoted(&text),
    })
}

/// The value of a parameter.
#[derive(Debug)]
enum Param {
    Null,
    Bool(bool),
    Long(i64),
    Real(f64),
    /// Microseconds since 2000.
    Moment(i64),
    Text(String),
}

impl Param {
    fn of(value: &Json) -> Option<Param> {
        Some(match value {
            Json::Null => Param::Null,
            Json::Bool(value) => Param::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Param::Long(value),
                None => Param::Real(number.as_f64()?),
            },
            Json::String(text) => match text::moment(text) {
                Some(ticks) => Param::Moment((ticks - EPOCH_TICKS).div_euclid(10)),
                None => Param::Text(text.clone()),
            },
            Json::Array(_) | Json::Object(_) => return None,
        })
    }

    fn ty(&self) -> Type {
        match self {
            Param::Null | Param::Text(_) => Type::TEXT,
            Param::Bool(_) => Type::BOOL,
            Param::Long(_) => Type::INT8,
            Param::Real(_) => Type::FLOAT8,
            Param::Moment(_) => Type::TIMESTAMP,
        }
    }
}

impl ToSql for Param {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Param::Null => return Ok(IsNull::Yes),
            Param::Bool(value) => out.put_u8((*value).into()),
            Param::Long(value) | Param::Moment(value) => out.put_i64(*value),
            Param::Real(value) => out.put_f64(*value),
            Param::Text(text) => out.put_slice(text.as_bytes()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    tokio_postgres::types::to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(groups: &[u16], weight: i16, sign: u16, scale: u16) -> Option<String> {
        let mut bytes = Vec::new();
        for part in [groups.len() as u16, weight as u16, sign, scale] {
            bytes.extend(part.to_be_bytes());
        }
        groups.iter().for_each(|group| bytes.extend(group.to_be_bytes()));
        match numeric(&bytes)? {
            Cell::Decimal(value) => Some(value.to_text()),
            _ => None,
        }
    }

    #[test]
    fn numbers_in_groups_of_four_digits_are_read() {
        assert_eq!(decimal(&[1, 2345, 6700], 1, 0, 2).as_deref(), Some("12345.67"));
        assert_eq!(decimal(&[12], -1, 0x4000, 4).as_deref(), Some("-0.0012"));
        assert_eq!(decimal(&[1], 2, 0, 0).as_deref(), Some("100000000"));
        assert_eq!(decimal(&[5], -2, 0, 8).as_deref(), Some("0.00000005"));
        assert_eq!(decimal(&[], 0, 0, 0).as_deref(), Some("0"));
        assert_eq!(decimal(&[], 0, 0xC000, 0), None);
        assert!(numeric(&[0, 9]).is_none());
    }

    #[test]
    fn values_without_counterpart_are_told_from_null() {
        let mut month = 0i64.to_be_bytes().to_vec();
        month.extend(0i32.to_be_bytes());
        month.extend(1i32.to_be_bytes());
        assert_eq!(read(&Type::INTERVAL, &month), None);
        assert_eq!(read(&Type::TIMESTAMP, &i64::MAX.to_be_bytes()), Some(Cell::Null));
        assert_eq!(read(&Type::INT4, &[1, 2]), None);
        assert_eq!(read(&Type::DATE, &0i32.to_be_bytes()), Some(Cell::Ticks(EPOCH_TICKS)));
    }
}
