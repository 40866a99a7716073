//! What a session keeps between statements: settings, prepared statements, views of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::catalog::SchemaProvider;
use datafusion::common::ParamValues;
use datafusion::execution::context::SessionContext;
use datafusion::sql::sqlparser::ast::Expr;
use tidewater_plan::sql::{self, SessionStatement, SqlFault, SqlScope, SqlView, Statement, Variables, literal_values};
use tidewater_store::Snapshot;

use super::views::StoredViews;

/// Statements that a session keeps, views, settings: each at most so many.
const MAX_OBJECTS: usize = 1_000;
/// SQLSTATE of a prepared statement that there is not, and of one that there is.
const UNKNOWN_PREPARED: &str = "26000";
const PREPARED_EXISTS: &str = "42P05";
/// SQLSTATE of a setting that cannot be.
const SETTING_VALUE: &str = "22023";

/// The settings that clients ask for, with what holds here.
const SETTINGS: &[(&str, &str)] = &[
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, YMD"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("extra_float_digits", "1"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "off"),
    ("lock_timeout", "0"),
    ("max_identifier_length", "63"),
    ("search_path", "\"$user\", public"),
    ("server_encoding", "UTF8"),
    ("server_version", super::door::SERVER_VERSION),
    ("server_version_num", "160006"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("timezone", "Etc/UTC"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "off"),
];

/// What a session keeps.
#[derive(Default)]
pub(super) struct SessionObjects {
    settings: BTreeMap<String, String>,
    prepared: HashMap<String, Statement>,
    views: HashMap<String, SqlView>,
    variables: Variables,
}

/// What becomes of a statement.
pub(super) enum Applied {
    /// It was about the session, and is done.
    Nothing,
    /// It answers with rows.
    Rows(RecordBatch),
    /// It is to be run, with values for `$1`, `$2`, ...
    Statement(Box<Statement>, Option<ParamValues>),
}

/// The name of a statement that only a connection can serve.
pub(super) fn needs_connection(statement: &Statement) -> Option<&'static str> {
    let Statement::Session(statement) = statement else { return None };
    match statement {
        SessionStatement::Declare { .. } => Some("DECLARE"),
        SessionStatement::Fetch { .. } => Some("FETCH"),
        SessionStatement::Close { .. } => Some("CLOSE"),
        SessionStatement::Begin => Some("BEGIN"),
        SessionStatement::Commit => Some("COMMIT"),
        SessionStatement::Rollback => Some("ROLLBACK"),
        SessionStatement::Savepoint(what) => Some(what),
        _ => None,
    }
}

/// Whether a statement changes tables or views; what a prepared one does counts where it is prepared.
pub(super) fn writes(statement: &Statement) -> bool {
    match statement {
        Statement::Rows(_) | Statement::ShowTables => false,
        Statement::Session(SessionStatement::Prepare { statement, .. }) => writes(statement),
        Statement::Session(_) | Statement::SetVariable { .. } => false,
        Statement::Block { body, handler } => body.iter().chain(handler.iter().flatten()).any(writes),
        Statement::CreateView { temporary, .. } => !temporary,
        _ => true,
    }
}

impl SessionObjects {
    /// Does what a statement asks of the session.
    pub(super) fn apply(&mut self, statement: &Statement) -> Result<Applied, SqlFault> {
        let Statement::Session(session) = statement else {
            return Ok(Applied::Statement(Box::new(statement.clone()), None));
        };
        match session {
            SessionStatement::Set { name, value } => self.set(name, value.as_deref())?,
            SessionStatement::ResetAll => {
                self.settings.clear();
                self.prepared.clear();
                self.views.clear();
                self.variables.clear();
            }
            SessionStatement::Show { name } => return self.show(name).map(Applied::Rows),
            SessionStatement::Prepare { name, statement } => {
                if self.prepared.contains_key(name) {
                    return Err(SqlFault::new(
                        PREPARED_EXISTS,
                        format!("the prepared statement '{name}' exists already"),
                    ));
                }
                self.room(self.prepared.len())?;
                self.prepared.insert(name.clone(), statement.as_ref().clone());
            }
            SessionStatement::Execute { name, values } => {
                let statement = self.prepared.get(name).cloned().ok_or_else(|| unknown_prepared(name))?;
                let values = literal_values(values)?;
                let values = (!values.is_empty()).then(|| ParamValues::from(values));
                return Ok(Applied::Statement(Box::new(statement), values));
            }
            SessionStatement::Deallocate { name: None } => self.prepared.clear(),
            SessionStatement::Deallocate { name: Some(name) } => {
                self.prepared.remove(name).ok_or_else(|| unknown_prepared(name))?;
            }
            // What is left is the connection's business.
            _ => {}
        }
        Ok(Applied::Nothing)
    }

    /// The values of variables.
    pub(super) fn variables(&self) -> &Variables {
        &self.variables
    }

    /// Gives a variable a value.
    pub(super) fn set_variable(&mut self, name: &str, value: Expr) -> Result<(), SqlFault> {
        self.room(self.variables.len())?;
        self.variables.insert(name.to_string(), value);
        Ok(())
    }

    fn room(&self, used: usize) -> Result<(), SqlFault> {
        match used < MAX_OBJECTS {
            true => Ok(()),
            false => Err(SqlFault::new(sql::LIMIT_EXCEEDED, format!("a session keeps at most {MAX_OBJECTS} of these"))),
        }
    }

    /// Keeps a view of the session.
    pub(super) fn add_view(&mut self, name: &str, view: Option<SqlView>) -> Result<(), SqlFault> {
        if let Some(view) = view {
            self.room(self.views.len())?;
            self.views.insert(name.to_lowercase(), view);
        }
        Ok(())
    }

    /// Removes a view of the session; tells whether there was one.
    pub(super) fn drop_view(&mut self, name: &str) -> bool {
        self.views.remove(&name.to_lowercase()).is_some()
    }

    /// Sets a setting; no value is its default.
    pub(super) fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), SqlFault> {
        let Some(value) = value else {
            self.settings.remove(name);
            return Ok(());
        };
        let lower = value.trim().to_ascii_lowercase();
        let fits = match name {
            "client_encoding" => matches!(lower.as_str(), "utf8" | "utf-8" | "unicode"),
            "timezone" => matches!(lower.as_str(), "utc" | "etc/utc" | "gmt" | "etc/gmt" | "utc0" | "0" | "zulu" | "z"),
            "datestyle" => lower.starts_with("iso"),
            "bytea_output" => lower == "hex",
            "intervalstyle" => lower == "postgres",
            "standard_conforming_strings" => matches!(lower.as_str(), "on" | "true" | "1" | "yes"),
            "statement_timeout" => milliseconds(&lower).is_some(),
            _ => true,
        };
        if !fits {
            let served = SETTINGS.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
            let message = format!("SET {name}: found '{value}', only '{served}' is served");
            return Err(SqlFault::new(SETTING_VALUE, message));
        }
        self.room(self.settings.len())?;
        self.settings.insert(name.to_string(), value.to_string());
        Ok(())
    }

    fn value(&self, name: &str) -> Option<&str> {
        let known = SETTINGS.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        self.settings.get(name).map(String::as_str).or(known)
    }

    /// The rows of `SHOW`.
    fn show(&self, name: &str) -> Result<RecordBatch, SqlFault> {
        let name = match name {
            "time zone" => "timezone",
            "transaction isolation level" => "transaction_isolation",
            "names" => "client_encoding",
            name => name,
        };
        let texts = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
        let batch = if name == "all" {
            let mut names: Vec<&str> = SETTINGS.iter().map(|(name, _)| *name).collect();
            names.extend(self.settings.keys().map(String::as_str));
            names.sort_unstable();
            names.dedup();
            let values = names.iter().map(|name| self.value(name).unwrap_or("")).collect();
            let nothing = names.iter().map(|_| "").collect();
            RecordBatch::try_from_iter([
                ("name", texts(names)),
                ("setting", texts(values)),
                ("description", texts(nothing)),
            ])
        } else {
            let value = self.value(name).ok_or_else(|| {
                SqlFault::new("42704", format!("there is no setting '{name}', and no such SHOW is served"))
            })?;
            RecordBatch::try_from_iter([(name, texts(vec![value]))])
        };
        batch.map_err(|error| SqlFault::new(sql::SYSTEM, error.to_string()))
    }

    /// The time that a statement may take, if the session says.
    pub(super) fn statement_timeout(&self) -> Option<std::time::Duration> {
        let value = self.settings.get("statement_timeout")?;
        milliseconds(&value.to_ascii_lowercase()).filter(|ms| *ms > 0).map(std::time::Duration::from_millis)
    }

    /// What the names of a statement mean beside what the catalog says.
    pub(super) fn scope(&self, values: Option<ParamValues>) -> SessionScope {
        let path = self.settings.get("search_path").map_or("", String::as_str);
        let search = path.split(',').map(|name| name.trim().trim_matches(['"', '\'']).to_string());
        SessionScope {
            views: self.views.clone(),
            search: search.filter(|name| !name.is_empty()).collect(),
            values,
            schemas: HashMap::new(),
            engine: None,
        }
    }
}

fn unknown_prepared(name: &str) -> SqlFault {
    SqlFault::new(UNKNOWN_PREPARED, format!("the prepared statement '{name}' does not exist"))
}

/// `5000`, `5s`, `1min`; 0 is no limit.
fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// What a session adds to the names that a statement sees.
pub(super) struct SessionScope {
    pub(super) views: HashMap<String, SqlView>,
    /// Databases that come first.
    pub(super) search: Vec<String>,
    pub(super) values: Option<ParamValues>,
    pub(super) schemas: HashMap<String, Arc<dyn SchemaProvider>>,
    /// The engine's session of a connection.
    pub(super) engine: Option<SessionContext>,
}

impl SessionScope {
    /// Puts it into a scope.
    pub(super) fn apply(&self, scope: &mut SqlScope, snapshot: &Arc<Snapshot>) {
        scope.values = self.values.clone();
        scope.schemas = self.schemas.clone();
        scope.views = Arc::new(StoredViews { snapshot: Arc::clone(snapshot), temporary: self.views.clone() });
        let first = |wanted: &String| scope.search.iter().find(|own| own.eq_ignore_ascii_case(wanted)).cloned();
        let mut search: Vec<String> = self.search.iter().filter_map(first).collect();
        search.extend(scope.search.iter().filter(|own| !search.contains(own)).cloned().collect::<Vec<_>>());
        scope.search = search;
    }
}

#[cfg(test)]
mod tests {
    use tidewater_plan::sql::parse_statement;

    use super::*;

    fn apply(objects: &mut SessionObjects, text: &str) -> Result<Applied, SqlFault> {
        objects.apply(&parse_statement(text).unwrap())
    }

    #[test]
    fn settings_are_shown_as_they_were_set() {
        let mut objects = SessionObjects::default();
        apply(&mut objects, "SET application_name = 'x'").unwrap();
        let Applied::Rows(rows) = apply(&mut objects, "SHOW application_name").unwrap() else { panic!() };
        assert_eq!(rows.num_rows(), 1);
        assert_eq!(objects.value("application_name"), Some("x"));
        assert!(apply(&mut objects, "SET TIME ZONE 'Europe/Berlin'").is_err());
        apply(&mut objects, "SET TIME ZONE 'UTC'").unwrap();
        apply(&mut objects, "RESET ALL").unwrap();
        assert_eq!(objects.value("application_name"), Some(""));
        assert!(apply(&mut objects, "SHOW nonsense").is_err());
    }

    #[test]
    fn a_prepared_statement_runs_until_it_is_given_up() {
        let mut objects = SessionObjects::default();
        apply(&mut objects, "PREPARE p AS SELECT $1").unwrap();
        assert!(apply(&mut objects, "PREPARE p AS SELECT 1").is_err());
        assert!(matches!(apply(&mut objects, "EXECUTE p(-5)").unwrap(), Applied::Statement(_, Some(_))));
        apply(&mut objects, "DEALLOCATE p").unwrap();
        assert_eq!(apply(&mut objects, "EXECUTE p").err().unwrap().code, UNKNOWN_PREPARED);
    }

    #[test]
    fn times_have_units() {
        assert_eq!(milliseconds("5s"), Some(5_000));
        assert_eq!(milliseconds("0"), Some(0));
        assert_eq!(milliseconds("soon"), None);
    }
}
