//! The functions library: the plain functions of the documentation's library, as stored functions of a database of their own.
//!
//! Input: the texts under `library/`, each a comment that describes the function, its folder, its parameters and its body.
//! Output: the database `Library`, made and brought up to date when the service opens with the setting `library`, and
//! dropped when it opens without. Everybody may read it, nobody may change it, and `x_fl(...)` without a database means its
//! function wherever the current database has none of that name. Source: the functions-library pages (names, parameters,
//! results); the texts are this project's own.

use tidewater_kql::command::Command;
use tidewater_store::{CreateMode, Database, FunctionRow, FunctionSpec, PropertyKey, PropertyOwner, Snapshot, Store};

use crate::error::{Error, Fault, Result};
use crate::rights::needs::{DatabaseRight, Need, needs};

/// The database that holds the library.
pub const LIBRARY_DATABASE: &str = "Library";
/// How the names of the library's functions end.
const SUFFIX: &str = "_fl";
/// The kind of the property by which the library's database is known.
const MARK: &str = "functions library";

/// A function of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LibraryFunction {
    /// Its name.
    pub name: &'static str,
    /// What it gives.
    pub docstring: &'static str,
    /// Its theme.
    pub folder: &'static str,
    /// Parameter list with parentheses.
    pub parameters: &'static str,
    /// Body with braces.
    pub body: &'static str,
}

macro_rules! texts {
    ($($name:literal,)*) => { &[$(($name, include_str!(concat!("../library/", $name, ".kql"))),)*] };
}

const TEXTS: &[(&str, &str)] = texts![
    "bartlett_test_fl",
    "binomial_test_fl",
    "comb_fl",
    "entropy_fl",
    "factorial_fl",
    "geoip_fl",
    "graph_blast_radius_fl",
    "graph_exposure_perimeter_fl",
    "ks_test_fl",
    "levene_test_fl",
    "mann_whitney_u_test_fl",
    "normality_test_fl",
    "pair_probabilities_fl",
    "percentiles_linear_fl",
    "perm_fl",
    "series_clean_anomalies_fl",
    "series_cosine_similarity_fl",
    "series_dbl_exp_smoothing_fl",
    "series_dot_product_fl",
    "series_downsample_fl",
    "series_exp_smoothing_fl",
    "series_fit_poly_fl",
    "series_lag_fl",
    "series_metric_fl",
    "series_moving_avg_fl",
    "series_moving_var_fl",
    "series_rate_fl",
    "time_weighted_avg2_fl",
    "time_weighted_avg_fl",
    "time_weighted_val_fl",
    "time_window_rolling_avg_fl",
    "tokenize_fl",
    "two_sample_t_test_fl",
    "wilcoxon_test_fl",
];

/// Functions of the documentation's library that are not here, and why.
pub const ABSENT: &[(&[&str], &str)] = &[
    (
        &[
            "dbscan_dynamic_fl",
            "dbscan_fl",
            "get_packages_version_fl",
            "kmeans_dynamic_fl",
            "kmeans_fl",
            "log_reduce_fl",
            "log_reduce_full_fl",
            "log_reduce_predict_fl",
            "log_reduce_predict_full_fl",
            "log_reduce_train_fl",
            "plotly_graph_fl",
            "predict_fl",
            "predict_onnx_fl",
            "quantize_fl",
            "series_fbprophet_forecast_fl",
            "series_fit_lowess_fl",
            "series_mv_ee_anomalies_fl",
            "series_mv_if_anomalies_fl",
            "series_mv_oc_anomalies_fl",
            "series_rolling_fl",
            "slm_embeddings_fl",
        ],
        "needs the plugin `python`",
    ),
    (&["series_uv_anomalies_fl", "series_uv_change_points_fl"], "needs a service of Azure"),
    (
        &["plotly_anomaly_fl", "plotly_gauge_fl", "plotly_scatter3d_fl"],
        "needs a table of templates; runs as its page gives it",
    ),
    (
        &[
            "detect_anomalous_access_cf_fl",
            "detect_anomalous_new_entity_fl",
            "detect_anomalous_spike_fl",
            "graph_node_centrality_fl",
            "graph_path_discovery_fl",
            "pairwise_dist_fl",
            "series_monthly_decompose_anomalies_fl",
            "series_shapes_fl",
        ],
        "told by its code only; runs as its page gives it",
    ),
];

/// The functions, by name.
pub fn functions() -> impl Iterator<Item = LibraryFunction> {
    TEXTS.iter().filter_map(|(name, text)| read(name, text))
}

/// A text's parts: `// docstring`, `// folder: F`, the parameters on one line, the body.
fn read(name: &'static str, text: &'static str) -> Option<LibraryFunction> {
    let (docstring, rest) = text.strip_prefix("// ")?.split_once('\n')?;
    let (folder, rest) = rest.strip_prefix("// folder: ")?.split_once('\n')?;
    let (parameters, body) = rest.split_once('\n')?;
    Some(LibraryFunction { name, docstring, folder, parameters, body: body.trim_end() })
}

fn mark_of(database: &Database) -> PropertyKey {
    PropertyKey { owner: PropertyOwner::Database(database.id()), kind: MARK.to_string(), name: String::new() }
}

/// Whether a database is the library.
pub(crate) fn is_library(snapshot: &Snapshot, database: &Database) -> bool {
    database.name() == LIBRARY_DATABASE && snapshot.property(&mark_of(database)).is_some()
}

/// The library's function of a name that the current database has no function for.
pub(crate) fn function<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a FunctionRow> {
    if !name.ends_with(SUFFIX) {
        return None;
    }
    let database = snapshot.database(LIBRARY_DATABASE).filter(|database| is_library(snapshot, database))?;
    database.function(name).map(AsRef::as_ref)
}

/// Whether a database can be changed, as commands show it.
pub(crate) fn access_mode(snapshot: &Snapshot, database: &Database) -> &'static str {
    if is_library(snapshot, database) { "ReadOnly" } else { "ReadWrite" }
}

/// Makes the database and brings its functions up to date, or drops it.
///
/// *Errors*: a database of this name that is somebody's own.
pub(crate) async fn synchronize(store: &Store, is_wanted: bool) -> Result<()> {
    let snapshot = store.snapshot();
    let known = snapshot.database(LIBRARY_DATABASE);
    let database = match (known, is_wanted) {
        (None, false) => return Ok(()),
        (Some(known), false) => {
            if is_library(&snapshot, known) {
                store.drop_database(known.id()).await?;
            }
            return Ok(());
        }
        (Some(known), true) if is_library(&snapshot, known) => known.clone(),
        (Some(_), true) => {
            return Err(Error::bad_request(format!(
                "setting 'library': the database '{LIBRARY_DATABASE}' exists and is not the functions library; rename or drop it"
            )));
        }
        (None, true) => {
            let made = store.create_database(LIBRARY_DATABASE, CreateMode::New).await?;
            store.put_property(mark_of(&made), Some(serde_json::Value::Bool(true))).await?;
            made
        }
    };
    let is_stale = |row: &FunctionRow| !functions().any(|function| function.name == row.name);
    let stale: Vec<String> =
        database.functions().filter(|row| is_stale(row)).map(|function| function.name.clone()).collect();
    if !stale.is_empty() {
        store.drop_functions(database.id(), stale).await?;
    }
    for function in functions() {
        let is_same = database.function(function.name).is_some_and(|row| {
            row.parameters == function.parameters
                && row.body == function.body
                && row.folder.as_deref() == Some(function.folder)
                && row.docstring.as_deref() == Some(function.docstring)
        });
        if is_same {
            continue;
        }
        let spec = FunctionSpec {
            name: function.name.to_string(),
            parameters: function.parameters.to_string(),
            body: function.body.to_string(),
            folder: Some(function.folder.to_string()),
            docstring: Some(function.docstring.to_string()),
            ..FunctionSpec::default()
        };
        store.put_function(database.id(), spec, CreateMode::Merge).await?;
    }
    Ok(())
}

/// Refuses a command that would change the library.
pub(crate) fn guard(command: &Command, snapshot: &Snapshot, current: &str) -> Result<()> {
    let is_it = |name: &str| snapshot.database(name).is_some_and(|database| is_library(snapshot, database));
    let names_it = |path: &str| path.split_once('.').is_some_and(|(database, _)| is_it(database));
    let changes = match command {
        Command::DropDatabase { database, .. } => is_it(&database.text),
        command => needs(command).iter().any(|need| match need {
            Need::ClusterAdmin | Need::ClusterMonitor => false,
            Need::Database(DatabaseRight::See | DatabaseRight::Show | DatabaseRight::Monitor, _) => false,
            Need::Database(_, name) => is_it(name.as_deref().unwrap_or(current)),
            Need::TableAt(_, path) | Need::ColumnAt(_, path) | Need::NamedAt(_, path, _) => {
                is_it(current) || names_it(path)
            }
            Need::Table(..) | Need::TableOr(..) | Need::Named(..) | Need::NamedOr(..) => is_it(current),
        }),
    };
    if changes { Err(read_only()) } else { Ok(()) }
}

/// The refusal of what would change the library.
pub(crate) fn read_only() -> Error {
    let message = format!("database '{LIBRARY_DATABASE}' is the functions library, which nobody changes");
    Error::new(Fault::Forbidden, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages of the documentation's library, August 2026.
    const PAGES: usize = 68;

    #[test]
    fn every_text_of_the_library_has_all_its_parts() {
        assert_eq!(functions().count(), TEXTS.len());
        for function in functions() {
            assert!(function.name.ends_with(SUFFIX), "{}", function.name);
            let parsed = tidewater_kql::parse_function_body(function.parameters, function.body);
            assert!(parsed.diagnostics.is_empty(), "{}: {:?}", function.name, parsed.diagnostics);
        }
        let names: Vec<&str> = functions().map(|function| function.name).collect();
        assert!(names.is_sorted(), "{names:?}");
        let absent: Vec<&str> = ABSENT.iter().flat_map(|(names, _)| names.iter().copied()).collect();
        assert!(absent.iter().all(|name| !names.contains(name)));
        // So many has the documentation's library.
        assert_eq!(names.len() + absent.len(), PAGES);
    }
}
