//! `[resume]`: sessions that go on after their connection.

use std::path::PathBuf;
use std::time::Duration;

use super::Read;
use super::secret::Secret;
use super::section::Section;
use super::setting::Setting;
use crate::grant::Keys;

/// The `[resume]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// What grants are signed with; without it nodes agree on something in Redis.
    secret: Option<Secret>,
    /// How long after its beginning a session may be taken up, from 1 s to [`TTL_MAX`].
    pub ttl: Duration,
}

/// A grant is given to who connects; what is older than this is no interruption.
pub const TTL_MAX: Duration = Duration::from_hours(30 * 24);

/// Fewer could be guessed.
const SECRET_BYTES_MIN: usize = 32;

impl Default for Resume {
    fn default() -> Self {
        Self { secret: None, ttl: Duration::from_hours(24) }
    }
}

impl Resume {
    pub(super) fn read(section: Section<'_>, read: Read<'_>) -> Self {
        let secret = read_secret(&section, read);
        let ttl = section.value::<Duration>("ttl", Self::default().ttl);
        if !(Duration::from_secs(1)..=TTL_MAX).contains(&ttl) {
            section.refuse("ttl", format_args!("{} is not from \"1s\" to \"30d\"", Duration::print(&ttl)));
        }
        section.finish(&[]);
        Self { secret, ttl }
    }

    /// Whether a secret is configured.
    pub fn has_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// The keys that follow from the configured secret, if there is one.
    pub fn keys(&self) -> Option<Keys> {
        self.secret.as_ref().map(|secret| Keys::of_secret(secret.reveal()))
    }

    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let secret = self.secret.iter().map(|secret| ("secret", super::setting::quoted(secret)));
        secret.chain([("ttl", Duration::print(&self.ttl))]).collect()
    }
}

/// The secret, or what the file of `secret_file` says it is.
fn read_secret(section: &Section<'_>, read: Read<'_>) -> Option<Secret> {
    if !section.has("secret_file") {
        let secret = section.optional::<Long>("secret")?;
        return Some(secret.as_str().into());
    }
    if section.has("secret") {
        section.refuse("secret_file", "stands beside `secret`; keep one of them");
        return None;
    }
    let path = section.optional::<PathBuf>("secret_file")?;
    let text =
        read(&path).map_err(|problem| format!("{problem}; name a readable file that holds the secret"));
    let secret = text.and_then(|text| Long::parse(text.trim()));
    let refuse = |problem| section.refuse("secret_file", format_args!("{}: {problem}", path.display()));
    secret.map_err(refuse).ok().map(|secret| secret.as_str().into())
}

/// A text that can't be guessed. What is wrong with one never shows it (behaviour E11).
struct Long;

impl Setting for Long {
    type Value = String;

    fn parse(text: &str) -> Result<String, String> {
        if text == super::secret::MASK {
            return Err("is masked; put the secret itself here".to_owned());
        }
        if text.len() >= SECRET_BYTES_MIN {
            return Ok(text.to_owned());
        }
        Err(format!(
            "has {} bytes; use at least {SECRET_BYTES_MIN}, such as `openssl rand -hex 32` prints",
            text.len()
        ))
    }

    fn print(_: &String) -> String {
        super::setting::quoted(super::secret::MASK)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError, Flags};

    const LONG: &str = "0123456789abcdef0123456789abcdef";

    fn load(resume: &str) -> Result<Config, ConfigError> {
        let flags = Flags { config: Some("dunlin.toml".into()), ..Flags::default() };
        let toml = format!("[resume]\n{resume}");
        Config::load(&flags, [], &|path| {
            Ok(if path.ends_with("secret") { format!("{LONG}\n") } else { toml.clone() })
        })
    }

    // E11
    #[test]
    fn a_secret_may_be_in_a_file_and_is_never_printed() {
        let keys = |toml: &str| load(toml).expect("good").resume.keys();
        assert_eq!(keys(&format!("secret = \"{LONG}\"")), keys("secret_file = \"secret\""));
        assert_eq!(keys(""), None);
        let printed = load(&format!("secret = \"{LONG}\"")).expect("good").to_toml();
        assert!(printed.contains("secret = \"…\"") && !printed.contains(LONG), "{printed}");
    }

    #[test]
    fn what_is_wrong_is_told_without_the_secret() {
        for (toml, told) in [
            ("secret = \"hush-hush\"", "resume.secret: has 9 bytes; use at least 32"),
            ("secret = \"…\"", "resume.secret: is masked"),
            ("ttl = \"0s\"", "resume.ttl: \"0s\" is not from \"1s\" to \"30d\""),
            ("ttl = \"31d\"", "is not from \"1s\" to \"30d\""),
            ("secret = \"x\"\nsecret_file = \"secret\"", "resume.secret_file: stands beside `secret`"),
        ] {
            let error = load(toml).expect_err(toml).to_string();
            assert!(error.contains(told) && !error.contains("hush-hush"), "{toml}: {error}");
        }
    }
}
