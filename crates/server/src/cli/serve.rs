//! `tidewater serve`.

use std::net::{SocketAddr, ToSocketAddrs};

use tidewater_service::{Rights, Service, ServiceOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::{Config, SignIn, Sources, is_loopback};
use crate::{http, logs, metrics, postgres};

/// A bound server that does not serve yet.
pub struct Server {
    /// Its app.
    pub app: App,
    /// Its listener.
    pub listener: TcpListener,
    /// Where it listens.
    pub address: SocketAddr,
    /// The listener of the PostgreSQL protocol.
    pub postgres: Option<TcpListener>,
}

/// Opens the store and binds the listener. `queries` is where queries run.
pub async fn start(config: Config, queries: tokio::runtime::Handle) -> Result<Server, String> {
    let (listener, address) = bound(&config, "listen", &config.listen)?;
    let postgres = match config.postgres_listen.as_str() {
        "" => None,
        text => Some(bound(&config, "postgres_listen", text)?),
    };
    metrics::install();
    let options = ServiceOptions {
        memory_bytes: config.query_memory_bytes,
        max_concurrent: config.max_concurrent_requests,
        ingest_directories: config.ingest_directories.clone(),
        export_directories: config.export_directories.clone(),
        external_directories: config.external_directories.clone(),
        external_urls: config.external_urls.clone(),
        storage_endpoints: config.storage_endpoints.clone(),
        managed_identities: config.managed_identities.clone(),
        min_free_disk_bytes: config.min_free_disk_bytes,
        database_roots: config.database_roots.clone(),
        ip_database_file: config.ip_database_file.clone(),
        cluster_names: cluster_names(&config, &address),
        threads: config.query_threads,
        job_result_seconds: config.job_result_seconds,
        job_result_bytes: config.job_result_bytes,
        job_results_bytes: config.job_results_bytes,
        job_results_url: config.job_results_url.clone(),
        alerts_file: config.alerts_file.clone(),
        runtime: Some(queries),
        version: env!("CARGO_PKG_VERSION").to_string(),
        rights: rights(&config)?,
        library: config.library,
        ..ServiceOptions::default()
    };
    let service = Service::open(&config.data_dir, options).map_err(|error| error.to_string())?;
    service.make_rooted_databases().await;
    service.check_job_results().map_err(|error| error.to_string())?;
    let unfinished = service.recover_jobs().await.map_err(|error| error.to_string())?;
    if unfinished > 0 {
        tracing::warn!(jobs = unfinished, "SQL jobs that a former run left unfinished are marked as failed");
    }
    if let Some(samples) = &config.samples_dir {
        let loaded = service.load_samples(samples).await.map_err(|error| error.to_string())?;
        if !loaded.is_empty() {
            tracing::info!(tables = loaded.join(", "), "loaded the sample tables");
        }
    }
    let postgres_address = postgres.as_ref().map(|(_, address)| *address);
    let app = App::new(service.clone(), config.clone(), address, postgres_address)?;
    check_administrators(&service, &app, &config)?;
    service.start_scheduler();
    service.start_alerts();
    Ok(Server { app, listener, address, postgres: postgres.map(|(listener, _)| listener) })
}

/// Listens where a setting says.
fn bound(config: &Config, setting: &str, text: &str) -> Result<(TcpListener, SocketAddr), String> {
    let address = text
        .to_socket_addrs()
        .map_err(|error| format!("setting '{setting}': '{text}' is no address: {error}"))?
        .next()
        .ok_or_else(|| format!("setting '{setting}': '{text}' has no address"))?;
    if !is_loopback(&address) && config.sign_in != SignIn::Required && !config.insecure {
        return Err(format!(
            "refusing to listen on {address}: other machines could connect, and nobody has to sign in; listen on \
             127.0.0.1, set sign_in=required, or give --insecure to let anybody in"
        ));
    }
    let listener = http::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    Ok((listener, address))
}

/// Rights count as soon as callers sign in.
fn rights(config: &Config) -> Result<Rights, String> {
    if config.sign_in == SignIn::Off {
        return Ok(Rights::default());
    }
    Rights::with_administrators(&config.administrators)
        .map_err(|error| format!("setting 'administrators': {}", error.message()))
}

/// Refuses a server on which nobody could do anything.
fn check_administrators(service: &Service, app: &App, config: &Config) -> Result<(), String> {
    let nobody = config.sign_in != SignIn::Off
        && config.administrators.is_empty()
        && !app.auth().accounts().have_admin()
        && !service.has_administrator();
    match nobody {
        true => {
            Err("callers sign in, but nobody could administer the server: set 'administrators', or add an account \
                     with 'tidewater account add ID --role admin'"
                .to_string())
        }
        false => Ok(()),
    }
}

/// The names that clients know this server by: its address first.
fn cluster_names(config: &Config, address: &SocketAddr) -> Vec<String> {
    let address = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    std::iter::once(address).chain(config.cluster_names.iter().cloned()).collect()
}

impl Server {
    /// Serves until `stop` is done.
    pub async fn run(self, stop: impl Future<Output = ()>) -> std::io::Result<()> {
        let ended = CancellationToken::new();
        if let Some(listener) = self.postgres {
            tokio::spawn(postgres::serve(listener, self.app.clone(), ended.clone()));
        }
        let served = http::serve(self.listener, self.app, stop).await;
        ended.cancel();
        served
    }
}

/// Runs the command.
pub fn run(sources: &Sources) -> Result<(), String> {
    let (config, _) = Config::of(sources)?;
    logs::install(&config.log_format, &config.log_level)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if config.query_threads == 0 { cores } else { config.query_threads };
    // Two runtimes: a heavy query never keeps the server from accepting, answering health checks and cancelling.
    // More threads than cores: a step of a heavy kernel keeps its thread, and a small query must find another one.
    let queries = runtime("query", threads * 2 + 2)?;
    // Few threads in front: what they do is short, and each that sleeps is woken for nothing now and then.
    let front = runtime("http", (cores / 2).clamp(1, 4))?;
    let handle = queries.handle().clone();
    let outcome = front.block_on(async move {
        let server = start(config, handle).await?;
        let url = server.app.public_url();
        let data_dir = server.app.config().data_dir.display().to_string();
        tracing::info!(version = env!("CARGO_PKG_VERSION"), address = %server.address, data_dir, "listening");
        println!("Tidewater {} listens on {url}", env!("CARGO_PKG_VERSION"));
        if let Some(address) = server.app.postgres_address() {
            println!("PostgreSQL's protocol is served on {address}");
        }
        if let Some(authority) = server.app.tls().and_then(|tls| tls.authority.as_deref()) {
            println!("Its certificate is made for development; clients must trust {}", authority.display());
            if let Ok(pem) = std::fs::read_to_string(authority) {
                println!("{}", pem.trim_end());
            }
        }
        server.run(http::stop_signal()).await.map_err(|error| error.to_string())
    });
    front.shutdown_timeout(std::time::Duration::from_secs(1));
    queries.shutdown_timeout(std::time::Duration::from_secs(5));
    tracing::info!("stopped");
    outcome
}

fn runtime(name: &str, threads: usize) -> Result<tokio::runtime::Runtime, String> {
    /// Expression trees and plans of deep queries recurse on these threads.
    const STACK_BYTES: usize = 8 * 1024 * 1024;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start threads: {error}"))
}
