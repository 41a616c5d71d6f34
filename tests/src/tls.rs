//! A certificate for this machine, made when it is needed.

use std::process::Command;
use std::sync::Arc;
use std::{env, fs};

use anyhow::{Context as _, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// A self-signed certificate for `localhost` and its key, both as PEM, made by the `openssl` command.
pub fn certificate() -> anyhow::Result<(String, String)> {
    let at = |name: &str| env::temp_dir().join(format!("dunlin-tests-{}-{name}", std::process::id()));
    let (certificate, key) = (at("cert.pem"), at("key.pem"));
    let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE";
    let made = Command::new("openssl")
        .args(arguments.split_whitespace())
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .context("the openssl command is needed")?;
    ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    let pair = (fs::read_to_string(&certificate)?, fs::read_to_string(&key)?);
    fs::remove_file(certificate)?;
    fs::remove_file(key)?;
    Ok(pair)
}

/// A client that trusts this certificate and no other.
pub fn trusting(certificate: &str) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
