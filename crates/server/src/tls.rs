//! TLS: certificates from files, read again when they change, or made here for development.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tidewater_kql::value::{datetime, timespan};
use tokio_rustls::TlsAcceptor;

use crate::config::Config;
use crate::files::{modified, replace_private};

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Days that a made certificate is good for; it is made anew at every start.
const DAYS: i64 = 365;
const DIRECTORY: &str = "tls";

/// The server's certificate.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    /// The authority to be trusted by clients of a server with a made certificate.
    pub authority: Option<PathBuf>,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    modified: (Option<SystemTime>, Option<SystemTime>),
    looked_at: Instant,
}

impl Tls {
    /// From the settings; `None` when the server speaks plain HTTP.
    ///
    /// Errors: one file without the other, files that hold no certificate or key.
    pub fn new(config: &Config) -> Result<Option<Tls>, String> {
        let (certificate, key, authority) = match (&config.tls_certificate, &config.tls_key) {
            (Some(certificate), Some(key)) if !config.tls_self_signed => (certificate.clone(), key.clone(), None),
            (Some(_), Some(_)) => return Err("'tls_self_signed' and 'tls_certificate' exclude each other".to_string()),
            (None, None) if config.tls_self_signed => made(config)?,
            (None, None) => return Ok(None),
            _ => return Err("settings 'tls_certificate' and 'tls_key' belong together".to_string()),
        };
        let modified = (modified(&certificate), modified(&key));
        let loaded = load(&certificate, &key)?;
        let current = Current { config: loaded, modified, looked_at: Instant::now() };
        Ok(Some(Tls { certificate, key, authority, current: Mutex::new(current) }))
    }

    /// What accepts the next connection: with the files' present contents; faulty ones change nothing.
    pub fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock();
        if current.looked_at.elapsed() >= LOOK_INTERVAL {
            current.looked_at = Instant::now();
            let found = (modified(&self.certificate), modified(&self.key));
            if found != current.modified {
                match load(&self.certificate, &self.key) {
                    Ok(config) => {
                        tracing::info!(certificate = %self.certificate.display(), "the certificate was read again");
                        current.config = config;
                        current.modified = found;
                    }
                    // Certificate and key are written one after the other: the next look may find them fit.
                    Err(error) => tracing::warn!(error, "the certificate stays as it was"),
                }
            }
        }
        TlsAcceptor::from(Arc::clone(&current.config))
    }
}

fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| format!("tls_certificate {}: {error}", certificate.display()))?;
    if chain.is_empty() {
        return Err(format!("tls_certificate {} holds no certificate", certificate.display()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("tls_key {}: {error}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| format!("certificate {} and key {}: {error}", certificate.display(), key.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A certificate by an authority of this data directory: the authority stays, so that clients trust it once.
fn made(config: &Config) -> Result<(PathBuf, PathBuf, Option<PathBuf>), String> {
    let wrong = |error: rcgen::Error| format!("the development certificate cannot be made: {error}");
    let directory = config.data_dir.join(DIRECTORY);
    let file = |name: &str| directory.join(name);
    let date = |(year, month, day)| rcgen::date_time_ymd(year, month, day);
    let mut authority = CertificateParams::new(Vec::new()).map_err(wrong)?;
    authority.distinguished_name.push(DnType::CommonName, "Tidewater development authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let (ca_file, ca_key_file) = (file("ca.pem"), file("ca.key"));
    let ca_key = match (std::fs::read_to_string(&ca_key_file), ca_file.exists()) {
        (Ok(text), true) => KeyPair::from_pem(&text).map_err(wrong)?,
        _ => {
            let key = KeyPair::generate().map_err(wrong)?;
            authority.not_before = date(day(0));
            authority.not_after = date(day(DAYS * 10));
            let certificate = authority.self_signed(&key).map_err(wrong)?;
            replace_private(&ca_key_file, key.serialize_pem().as_bytes())?;
            replace_private(&ca_file, certificate.pem().as_bytes())?;
            key
        }
    };
    let mut names = vec!["localhost".to_string(), "127.0.0.1".to_string(), "::1".to_string()];
    if let Some(host) = config.public_url.as_deref().and_then(host) {
        names.push(host);
    }
    if let Some((host, _)) = config.listen.rsplit_once(':') {
        names.push(host.trim_matches(['[', ']']).to_string());
    }
    names.sort();
    names.dedup();
    let mut leaf = CertificateParams::new(names).map_err(wrong)?;
    leaf.distinguished_name.push(DnType::CommonName, "Tidewater");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.use_authority_key_identifier_extension = true;
    // A day of grace for clocks that are slow.
    leaf.not_before = date(day(-1));
    leaf.not_after = date(day(DAYS));
    let leaf_key = KeyPair::generate().map_err(wrong)?;
    let certificate = leaf.signed_by(&leaf_key, &Issuer::new(authority, ca_key)).map_err(wrong)?;
    let (certificate_file, key_file) = (file("server.pem"), file("server.key"));
    replace_private(&certificate_file, certificate.pem().as_bytes())?;
    replace_private(&key_file, leaf_key.serialize_pem().as_bytes())?;
    Ok((certificate_file, key_file, Some(ca_file)))
}

fn host(url: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    url.host_str().map(|host| host.trim_matches(['[', ']']).to_string())
}

/// Year, month and day, so many days from today.
fn day(offset: i64) -> (i32, u8, u8) {
    let civil = datetime::civil(tidewater_service::context::now_ticks() + offset * timespan::TICKS_PER_DAY);
    (civil.year, civil.month as u8, civil.day as u8)
}
