//! `tidewater load`: files into a table, over the server's streaming ingestion.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use futures::StreamExt;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio_util::io::ReaderStream;

use super::Target;
use super::client::{address, client, json, unreachable};

#[derive(clap::Args)]
pub struct Arguments {
    /// Files to load, in this order
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Database; must exist
    #[arg(long, short, env = "TIDEWATER_DB", default_value = "NetDefaultDB", value_name = "NAME")]
    db: String,
    /// Table; made from the first file's columns when absent
    #[arg(long, short, value_name = "NAME")]
    table: String,
    #[command(flatten)]
    target: Target,
    /// Format of the data, when the file's name does not tell: csv, tsv, psv, json, multijson, parquet, ...
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Whether the first line of delimited text names the columns
    #[arg(long, value_enum, default_value_t = Header::Auto)]
    header: Header,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Header {
    /// As the data looks
    Auto,
    /// It does
    Yes,
    /// It does not
    No,
}

/// Bytes that are read from a file at once.
const PART_BYTES: usize = 256 * 1024;

/// Runs the command.
pub async fn run(arguments: Arguments) -> Result<(), String> {
    let client = client(&arguments.target)?;
    let bars = MultiProgress::new();
    let mut rows = 0;
    for file in &arguments.files {
        let loaded = load(&client, &arguments, file, &bars).await;
        rows += loaded.map_err(|message| format!("{}: {message}", file.display()))?;
    }
    println!("{rows} rows loaded into {}.{}", arguments.db, arguments.table);
    Ok(())
}

async fn load(
    client: &reqwest::Client,
    arguments: &Arguments,
    path: &Path,
    bars: &MultiProgress,
) -> Result<u64, String> {
    let format = match &arguments.format {
        Some(format) => format.clone(),
        None => format_of(path)?.to_string(),
    };
    let header = match arguments.header {
        Header::Auto => "auto",
        Header::Yes => "true",
        Header::No => "false",
    };
    let file = tokio::fs::File::open(path).await.map_err(|error| error.to_string())?;
    let length = file.metadata().await.map_err(|error| error.to_string())?.len();
    let bar = bars.add(ProgressBar::new(length));
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.set_message(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    let counted = bar.clone();
    let parts = ReaderStream::with_capacity(file, PART_BYTES).inspect(move |part| {
        if let Ok(part) = part {
            counted.inc(part.len() as u64);
        }
    });
    let path_part =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let url = address(
        &arguments.target.url,
        &format!(
            "/v1/rest/ingest/{}/{}?streamFormat={}&createTable=true&ignoreFirstRecord={header}",
            path_part(&arguments.db),
            path_part(&arguments.table),
            path_part(&format)
        ),
    );
    let mut request = client.post(&url).header("x-ms-app", "tidewater load").header("content-length", length);
    if is_gzip(path) {
        request = request.header("content-encoding", "gzip");
    }
    let response = request.body(reqwest::Body::wrap_stream(parts)).send().await;
    let response = response.map_err(|error| unreachable(&arguments.target.url, &error));
    bar.finish_and_clear();
    let response = response?;
    let rejected = response.headers().get("x-tidewater-rejected-values").and_then(|value| value.to_str().ok());
    let rejected: u64 = rejected.and_then(|value| value.parse().ok()).unwrap_or(0);
    let answer = json(response, &arguments.target.url).await?;
    if rejected > 0 {
        eprintln!("{}: {rejected} values did not fit their column and are null", path.display());
    }
    Ok(answer["Tables"][0]["Rows"][0][0].as_u64().unwrap_or(0))
}

fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

fn format_of(path: &Path) -> Result<&'static str, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    Ok(match name.rsplit('.').next().unwrap_or("") {
        "csv" => "csv",
        "tsv" | "tab" => "tsv",
        "psv" => "psv",
        "json" | "jsonl" | "ndjson" => "multijson",
        "parquet" => "parquet",
        "txt" | "log" => "txt",
        "avro" => "avro",
        "orc" => "orc",
        _ => return Err("the name does not tell the format; name it by --format".to_string()),
    })
}
