//! What each message of the protocol does.

use std::collections::HashMap;
use std::fmt::Debug;
use std::ops::DerefMut;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use arrow_pg::datatypes::df::deserialize_parameters_with_server_types;
use arrow_pg::datatypes::into_pg_type;
use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine;
use futures::{Sink, SinkExt, StreamExt};
use parking_lot::Mutex;
use pgwire::api::auth::{
    DefaultServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation,
    save_startup_parameters_to_metadata,
};
use pgwire::api::cancel::CancelHandler;
use pgwire::api::portal::{Format, Portal, PortalExecutionState};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler, send_describe_response};
use pgwire::api::results::{DescribePortalResponse, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::{Entry, PortalStore};
use pgwire::api::{
    ClientInfo, ClientPortalStore, DEFAULT_NAME, METADATA_DATABASE, METADATA_USER, PgWireConnectionState, Type,
};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Describe, Execute, PortalSuspended, TARGET_TYPE_BYTE_PORTAL,
};
use pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use pgwire::messages::startup::{Authentication, SecretKey};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use tidewater_service::jobs::{
    Asked, JobCaller, SERVER_VERSION, SessionOwner, SqlAnswer, SqlSession, StatementValues, Tenant,
};
use tidewater_service::{Identity, PrincipalKind};
use tokio_util::sync::CancellationToken;

use super::encode::{error, fatal, fields, refused, rows};
use crate::app::App;
use crate::config::SignIn;

const DEFAULT_SANDBOX: &str = "prod";
/// All databases of a sandbox.
const ALL: &str = "all";

/// What ends the statement that a connection runs.
type Running = Arc<Mutex<CancellationToken>>;

/// The statements under way, by the keys of their connections: what a cancel request names.
#[derive(Default)]
pub(super) struct Cancels {
    running: Mutex<HashMap<(i32, i32), Running>>,
}

impl Cancels {
    /// A key that no other connection has.
    fn register(self: &Arc<Self>, current: &Arc<Mutex<CancellationToken>>) -> (i32, i32) {
        let mut running = self.running.lock();
        loop {
            let bytes = uuid::Uuid::new_v4();
            let bytes = bytes.as_bytes();
            let number = |at: usize| i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            // The bytes in the middle hold the version; these do not. A process id is positive.
            let key = (number(0) & i32::MAX, number(10));
            if let std::collections::hash_map::Entry::Vacant(entry) = running.entry(key) {
                entry.insert(Arc::clone(current));
                return key;
            }
        }
    }
}

/// One connection's handler. Clones share it.
#[derive(Clone)]
pub(super) struct Door(Arc<Inner>);

struct Inner {
    app: App,
    cancels: Arc<Cancels>,
    session: Mutex<Option<Arc<SqlSession>>>,
    current: Arc<Mutex<CancellationToken>>,
    key: Mutex<Option<(i32, i32)>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // What nobody can read any longer is not computed.
        self.current.lock().cancel();
        if let Some(key) = self.key.lock().take() {
            self.cancels.running.lock().remove(&key);
        }
    }
}

/// A statement that was prepared by message.
pub(super) struct Prepared {
    asked: Asked,
    columns: Option<SchemaRef>,
    parameters: Vec<Option<DataType>>,
}

/// Where a client wants to go: sandbox and database; `None` is all of them.
fn place(name: &str, user: &str) -> (String, Option<String>) {
    let (sandbox, rest) = match name.split_once(':') {
        Some((sandbox, rest)) => (sandbox.trim(), rest),
        // Clients name the database after the user when they are told none.
        None if name == user => (DEFAULT_SANDBOX, ALL),
        None => (DEFAULT_SANDBOX, name),
    };
    let database = rest.split([':', '.']).next().unwrap_or("").trim();
    let sandbox = if sandbox.is_empty() { DEFAULT_SANDBOX } else { sandbox };
    (sandbox.to_string(), (!database.is_empty() && database != ALL).then(|| database.to_string()))
}

impl Door {
    pub(super) fn new(app: App, cancels: Arc<Cancels>) -> Door {
        let current = Arc::new(Mutex::new(CancellationToken::new()));
        Door(Arc::new(Inner { app, cancels, session: Mutex::new(None), current, key: Mutex::new(None) }))
    }

    fn session(&self) -> PgWireResult<Arc<SqlSession>> {
        self.0.session.lock().clone().ok_or_else(|| fatal("28000", "sign in first"))
    }

    /// What ends the statement that begins now.
    fn begin(&self) -> CancellationToken {
        let token = CancellationToken::new();
        *self.0.current.lock() = token.clone();
        token
    }

    /// Who a password says is calling: a token, an account's secret, or `id:secret`.
    async fn identity(&self, password: &str) -> PgWireResult<Identity> {
        let mut headers = HeaderMap::new();
        let is_pair = password.contains(':');
        let value = match is_pair {
            true => format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(password)),
            false => format!("Bearer {password}"),
        };
        if !password.is_empty() {
            let value = HeaderValue::from_str(&value)
                .map_err(|_| fatal("28P01", "the password must be a token or an account's secret"))?;
            headers.insert(axum::http::header::AUTHORIZATION, value);
        }
        self.0.app.auth().identify(&headers).await.map_err(|rejected| fatal("28P01", &rejected.to_string()))
    }

    /// Begins the session of a client that has shown who it is.
    async fn enter<C>(&self, client: &mut C, identity: Identity) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let about = |name: &str| client.metadata().get(name).map_or("", String::as_str).trim().to_string();
        let user = about(METADATA_USER);
        if user.is_empty() {
            return Err(fatal("28000", "the user name, which is the organisation, is missing"));
        }
        if user.contains('\n') {
            return Err(fatal("28000", "the user name holds a line break"));
        }
        let given = about(METADATA_DATABASE);
        let (sandbox, database) = place(&given, &user);
        let shown = if given.is_empty() || given == user { format!("{sandbox}:{ALL}") } else { given };
        let maker = match identity.kind {
            PrincipalKind::Anonymous => "anonymous".to_string(),
            _ => identity.principal(),
        };
        let identity = Arc::new(identity);
        let caller = Some(JobCaller { user: maker.clone(), identity: Arc::clone(&identity) });
        let owner = SessionOwner {
            tenant: Tenant { organisation: user, sandbox, caller },
            user: maker,
            identity,
            application: about("application_name"),
            database,
            shown_database: shown,
        };
        let session = self.0.app.service().begin_session(owner).await;
        let session = session.map_err(|fault| fatal(fault.code, &fault.message))?;
        *self.0.session.lock() = Some(Arc::new(session));
        let key = self.0.cancels.register(&self.0.current);
        *self.0.key.lock() = Some(key);
        client.set_pid_and_secret_key(key.0, SecretKey::I32(key.1));
        let mut parameters = DefaultServerParameterProvider::default();
        parameters.server_version = format!("{SERVER_VERSION} (Tidewater {})", env!("CARGO_PKG_VERSION"));
        parameters.is_superuser = false;
        finish_authentication(client, &parameters).await
    }

    /// Runs one statement; tells too whether a transaction was rolled back that had written something.
    async fn run(
        &self,
        asked: &Asked,
        values: Option<StatementValues>,
        format: &Format,
        status: TransactionStatus,
    ) -> PgWireResult<(Response, bool)> {
        let session = self.session()?;
        let token = self.begin();
        let answer = session.run(asked, values, token).await.map_err(error)?;
        let stays = matches!(&answer, SqlAnswer::Ended(_, true));
        let response = match answer {
            SqlAnswer::Rows(found) => {
                let fields = Arc::new(fields(&found.schema, format)?);
                let mut response = QueryResponse::new(Arc::clone(&fields), rows(found.rows, fields));
                response.set_command_tag(found.word);
                Response::Query(response)
            }
            SqlAnswer::Done(word, None) => Response::Execution(Tag::new(word)),
            SqlAnswer::Done(word, Some(count)) => Response::Execution(Tag::new(word).with_rows(count as usize)),
            SqlAnswer::Began => Response::TransactionStart(Tag::new("BEGIN")),
            // What follows a fault is rolled back, also when the client says commit.
            SqlAnswer::Ended("COMMIT", _) if status == TransactionStatus::Error => {
                Response::TransactionEnd(Tag::new("ROLLBACK"))
            }
            SqlAnswer::Ended(word, _) => Response::TransactionEnd(Tag::new(word)),
        };
        Ok((response, stays))
    }
}

/// Tells that a rolled-back transaction's writes stay.
async fn warn<C>(client: &mut C, message: &str) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let notice = ErrorInfo::new("WARNING".to_string(), "25000".to_string(), message.to_string());
    client.feed(PgWireBackendMessage::NoticeResponse(notice.into())).await?;
    Ok(())
}

#[async_trait]
impl StartupHandler for Door {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match message {
            PgWireFrontendMessage::Startup(startup) => {
                protocol_negotiation(client, &startup).await?;
                save_startup_parameters_to_metadata(client, &startup);
                if self.0.app.tls().is_some() && !client.is_secure() {
                    return Err(fatal(
                        "28000",
                        "connect with TLS (sslmode=require): passwords do not travel in the clear",
                    ));
                }
                if self.0.app.config().sign_in == SignIn::Off {
                    return self.enter(client, Identity::anonymous()).await;
                }
                client.set_state(PgWireConnectionState::AuthenticationInProgress);
                client.send(PgWireBackendMessage::Authentication(Authentication::CleartextPassword)).await?;
                Ok(())
            }
            PgWireFrontendMessage::PasswordMessageFamily(message) => {
                let password = message.into_password()?.password;
                let identity = self.identity(password.trim()).await?;
                self.enter(client, identity).await
            }
            _ => Err(fatal("08P01", "found another message, expected a startup message or a password")),
        }
    }
}

#[async_trait]
impl CancelHandler for Door {
    async fn on_cancel_request(&self, request: CancelRequest) {
        let secret = match &request.secret_key {
            SecretKey::I32(secret) => Some(*secret),
            SecretKey::Bytes(bytes) => bytes.as_ref().try_into().ok().map(i32::from_be_bytes),
        };
        let Some(secret) = secret else { return };
        let running = self.0.cancels.running.lock().get(&(request.pid, secret)).cloned();
        if let Some(running) = running {
            running.lock().cancel();
        }
    }
}

#[async_trait]
impl SimpleQueryHandler for Door {
    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let mut status = client.transaction_status();
        let statements = self.session()?.read(query).map_err(error)?;
        let mut responses = Vec::with_capacity(statements.len());
        for asked in &statements {
            let done = match may_run(asked, status) {
                Ok(()) => self.run(asked, None, &Format::UnifiedText, status).await,
                Err(refused) => Err(refused),
            };
            match done {
                Ok((response, stays)) => {
                    if stays {
                        warn(client, STAYS).await?;
                    }
                    match &response {
                        Response::TransactionStart(_) => status = status.to_in_transaction_state(),
                        Response::TransactionEnd(_) => status = status.to_idle_state(),
                        _ => {}
                    }
                    responses.push(response);
                }
                // What came before it has been done, and is told; nothing after it is.
                Err(fault) if !responses.is_empty() => {
                    responses.push(Response::Error(Box::new(fault.into())));
                    break;
                }
                Err(fault) => return Err(fault),
            }
        }
        if responses.is_empty() {
            responses.push(Response::EmptyQuery);
        }
        Ok(responses)
    }
}

const STAYS: &str = "each statement commits by itself: what the transaction wrote stays";

/// A transaction that has met a fault takes nothing but its end.
fn may_run(asked: &Asked, status: TransactionStatus) -> PgWireResult<()> {
    match status == TransactionStatus::Error && !asked.ends_transaction() {
        true => {
            Err(refused("25P02", "current transaction is aborted, commands ignored until end of transaction block"))
        }
        false => Ok(()),
    }
}

#[async_trait]
impl QueryParser for Door {
    type Statement = Arc<Prepared>;

    async fn parse_sql<C>(&self, client: &C, text: &str, types: &[Option<Type>]) -> PgWireResult<Option<Arc<Prepared>>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let session = self.session()?;
        let mut statements = session.read(text).map_err(error)?;
        let asked = match (statements.pop(), statements.len()) {
            (None, _) => return Ok(None),
            (Some(asked), 0) => asked,
            (Some(_), _) => {
                return Err(refused("42601", "cannot insert multiple commands into a prepared statement"));
            }
        };
        may_run(&asked, client.transaction_status())?;
        let named: Vec<Option<DataType>> = types.iter().map(|ty| ty.as_ref().and_then(engine_type)).collect();
        let described = session.describe(&asked, &named).await.map_err(error)?;
        Ok(Some(Arc::new(Prepared { asked, columns: described.columns, parameters: described.parameters })))
    }

    fn get_parameter_types(&self, prepared: &Arc<Prepared>) -> PgWireResult<Vec<Type>> {
        // What cannot be told is a text, as every driver can send one.
        let ty = |ty: &Option<DataType>| ty.as_ref().map_or(Ok(Type::TEXT), into_pg_type);
        prepared.parameters.iter().map(ty).collect()
    }

    fn get_result_schema(&self, prepared: &Arc<Prepared>, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        match &prepared.columns {
            Some(columns) => fields(columns, format.unwrap_or(&Format::UnifiedText)),
            None => Ok(Vec::new()),
        }
    }
}

/// The type that a client's values have.
fn engine_type(ty: &Type) -> Option<DataType> {
    Some(match *ty {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 => DataType::Int32,
        Type::INT8 => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::TEXT | Type::VARCHAR | Type::UUID | Type::JSON | Type::JSONB => DataType::Utf8,
        Type::BYTEA => DataType::Binary,
        Type::DATE => DataType::Date32,
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        _ => return None,
    })
}

#[async_trait]
impl ExtendedQueryHandler for Door {
    type Statement = Arc<Prepared>;
    type QueryParser = Door;

    fn query_parser(&self) -> Arc<Door> {
        Arc::new(self.clone())
    }

    async fn on_bind<C>(&self, client: &mut C, message: Bind) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Arc<Prepared>>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.statement_name.as_deref().unwrap_or(DEFAULT_NAME);
        let (formats, given) = (message.parameter_format_codes.len(), message.parameters.len());
        if formats > 1 && formats != given {
            return Err(refused("08P01", &format!("found {formats} parameter formats for {given} parameters")));
        }
        match client.portal_store().get_statement(name) {
            Some(Entry::Value(statement)) => {
                let wanted = statement.statement.parameters.len().max(statement.parameter_types.len());
                if given != wanted {
                    let message = format!("found {given} parameters, the statement needs {wanted}");
                    return Err(refused("08P01", &message));
                }
                let columns = statement.statement.columns.as_ref().map(|columns| columns.fields().len());
                let formats = message.result_column_format_codes.len();
                if formats > 1 && columns.is_some_and(|columns| columns != formats) {
                    return Err(refused(
                        "08P01",
                        &format!("found {formats} result formats for another number of columns"),
                    ));
                }
                client.portal_store().put_portal(Arc::new(Portal::try_new(&message, statement)?));
            }
            Some(Entry::Empty) => {
                client.portal_store().put_empty_portal(message.portal_name.as_deref().unwrap_or(DEFAULT_NAME));
            }
            None => return Err(refused("26000", &format!("the prepared statement '{name}' does not exist"))),
        }
        client.send(PgWireBackendMessage::BindComplete(BindComplete::new())).await?;
        Ok(())
    }

    // Drivers describe cursors that a statement declared as if they were portals of messages, as in PostgreSQL they are.
    async fn on_describe<C>(&self, client: &mut C, message: Describe) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Arc<Prepared>>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let cursor = match message.name.as_deref() {
            Some(name)
                if message.target_type == TARGET_TYPE_BYTE_PORTAL
                    && client.portal_store().get_portal(name).is_none() =>
            {
                self.session()?.cursor_columns(name).await
            }
            _ => None,
        };
        match cursor {
            Some(columns) => {
                let response = DescribePortalResponse::new(fields(&columns, &Format::UnifiedText)?);
                send_describe_response(client, &response).await
            }
            None => self._on_describe(client, message).await,
        }
    }

    // Rows go out as they come: the usual way of this message holds all of them in memory first.
    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Arc<Prepared>>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        let portal = match client.portal_store().get_portal(name) {
            Some(Entry::Value(portal)) => portal,
            Some(Entry::Empty) => {
                client.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
                return Ok(());
            }
            None => return Err(refused("34000", &format!("the portal '{name}' does not exist"))),
        };
        let state = portal.state();
        let mut state = state.lock().await;
        if matches!(*state, PortalExecutionState::Initial) {
            match ExtendedQueryHandler::do_query(self, client, portal.as_ref(), 0).await? {
                Response::Query(response) => *state = PortalExecutionState::Suspended(response),
                Response::Execution(tag) => {
                    *state = PortalExecutionState::Finished;
                    client.feed(PgWireBackendMessage::CommandComplete(tag.into())).await?;
                    return Ok(());
                }
                Response::TransactionStart(tag) => {
                    *state = PortalExecutionState::Finished;
                    client.feed(PgWireBackendMessage::CommandComplete(tag.into())).await?;
                    client.set_transaction_status(client.transaction_status().to_in_transaction_state());
                    return Ok(());
                }
                Response::TransactionEnd(tag) => {
                    *state = PortalExecutionState::Finished;
                    client.feed(PgWireBackendMessage::CommandComplete(tag.into())).await?;
                    client.set_transaction_status(client.transaction_status().to_idle_state());
                    return Ok(());
                }
                _ => return Err(refused("0A000", "this answer has no form here")),
            }
        }
        let PortalExecutionState::Suspended(response) = state.deref_mut() else {
            client.feed(PgWireBackendMessage::CommandComplete(Tag::new("SELECT").with_rows(0).into())).await?;
            return Ok(());
        };
        let most = usize::try_from(message.max_rows).ok().filter(|most| *most > 0).unwrap_or(usize::MAX);
        let word = response.command_tag().to_string();
        let mut count = 0;
        while count < most {
            match response.data_rows().next().await {
                Some(row) => {
                    client.feed(PgWireBackendMessage::DataRow(row?)).await?;
                    count += 1;
                }
                None => {
                    *state = PortalExecutionState::Finished;
                    client.feed(PgWireBackendMessage::CommandComplete(Tag::new(&word).with_rows(count).into())).await?;
                    return Ok(());
                }
            }
        }
        client.feed(PgWireBackendMessage::PortalSuspended(PortalSuspended::new())).await?;
        Ok(())
    }

    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<Arc<Prepared>>,
        _max_rows: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Arc<Prepared>>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let status = client.transaction_status();
        let prepared = &portal.statement.statement;
        may_run(&prepared.asked, status)?;
        let values = match portal.parameter_len() {
            0 => None,
            _ => {
                let types: Vec<Option<&DataType>> = prepared.parameters.iter().map(Option::as_ref).collect();
                let wire = QueryParser::get_parameter_types(self, prepared)?;
                let wire: Vec<Option<&Type>> = wire.iter().map(Some).collect();
                Some(deserialize_parameters_with_server_types(portal, &types, &wire)?)
            }
        };
        let (response, stays) = self.run(&prepared.asked, values, &portal.result_column_format, status).await?;
        if stays {
            warn(client, STAYS).await?;
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_with_and_without_its_sandbox() {
        assert_eq!(place("prod:all", "org"), ("prod".to_string(), None));
        assert_eq!(place("dev:Samples", "org"), ("dev".to_string(), Some("Samples".to_string())));
        assert_eq!(place("Samples", "org"), ("prod".to_string(), Some("Samples".to_string())));
        assert_eq!(place("org", "org"), ("prod".to_string(), None));
        assert_eq!(place("", "org"), ("prod".to_string(), None));
    }

    #[test]
    fn keys_of_connections_differ_and_are_given_back() {
        let cancels = Arc::new(Cancels::default());
        let current = Arc::new(Mutex::new(CancellationToken::new()));
        let keys: Vec<_> = (0..100).map(|_| cancels.register(&current)).collect();
        assert!(keys.iter().all(|key| key.0 >= 0));
        assert_eq!(cancels.running.lock().len(), 100);
    }
}
