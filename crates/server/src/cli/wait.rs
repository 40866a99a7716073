//! `tidewater wait`: until a server is ready.

use std::time::{Duration, Instant};

use super::Target;
use super::client::{address, client};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Seconds to wait at most
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u64,
}

/// Asks `/healthz` until it answers 200.
pub async fn run(arguments: Arguments) -> Result<(), String> {
    let client = client(&arguments.target)?;
    let url = address(&arguments.target.url, "/healthz");
    let deadline = Instant::now() + Duration::from_secs(arguments.timeout);
    let mut pause = Duration::from_millis(50);
    loop {
        let answer = client.get(&url).timeout(Duration::from_secs(5)).send().await;
        let last = match answer {
            Ok(response) if response.status().is_success() => return Ok(()),
            Ok(response) => format!("it answered {}", response.status()),
            Err(error) if error.is_connect() => "nothing listens there".to_string(),
            Err(error) => error.to_string(),
        };
        if Instant::now() + pause > deadline {
            return Err(format!(
                "the server at {} was not ready within {} seconds: {last}",
                arguments.target.url, arguments.timeout
            ));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_secs(1));
    }
}
