//! `[tls]`: the certificate of the public listener.

use std::path::{Path, PathBuf};

use super::Read;
use super::section::Section;
use super::setting::Setting;

/// The `[tls]` section. Both files are PEM and were readable at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate and its chain, the leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Tls {
    pub(super) fn read(section: Section<'_>, read: Read<'_>) -> Option<Self> {
        let certificate = pem(&section, "certificate", read);
        let key = pem(&section, "key", read);
        section.finish(&[]);
        Some(Self { certificate: certificate?, key: key? })
    }

    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        vec![("certificate", PathBuf::print(&self.certificate)), ("key", PathBuf::print(&self.key))]
    }
}

/// The path of a PEM file that can be read now: a node that finds out at its
/// first handshake has already been put into service.
fn pem(section: &Section<'_>, key: &'static str, read: Read<'_>) -> Option<PathBuf> {
    let path = section.required::<PathBuf>(key, "`tls` needs the PEM files `certificate` and `key`")?;
    match read(Path::new(&path)) {
        Ok(text) if text.contains("-----BEGIN ") => Some(path),
        Ok(_) => {
            section.refuse(key, format_args!("{} is not a PEM file", path.display()));
            None
        }
        Err(problem) => {
            section.refuse(key, format_args!("{}: {problem}; name a readable PEM file", path.display()));
            None
        }
    }
}
