//! Which web pages may connect: the `Origin` a browser sends, judged against
//! the endpoint's list (behaviour E8).
//!
//! Only browsers send an `Origin`, and only browsers are asked to protect their
//! users by it: without one nothing here is consulted but [`Origins::allows_host`].

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::setting::{Setting, quoted};

/// The pages an endpoint lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Pages that any of the rules allows.
    Listed(Vec<OriginRule>),
    /// Pages of this machine, under its own names only: nothing is configured,
    /// and a page elsewhere must not reach a developer's node, not even by a
    /// name of its own that resolves to loopback.
    Loopback,
}

impl Origins {
    /// Without a configured endpoint: this machine's pages where only this
    /// machine can connect, else the default of an endpoint.
    pub(super) fn built_in(listen: SocketAddr) -> Self {
        if super::is_loopback(listen) {
            Self::Loopback
        } else {
            Self::Listed(vec![OriginRule::same_origin()])
        }
    }

    /// Whether the page of `origin` may connect to the `host` it asked for.
    /// `secure` is whether it came over TLS; a proxy may have ended TLS before
    /// us, so plain connections match both schemes. `null` never passes.
    pub fn allows(&self, origin: &str, host: &str, secure: bool) -> bool {
        let Some(page) = Page::parse(origin) else { return false };
        match self {
            Self::Listed(rules) => rules.iter().any(|rule| rule.allows(&page, host, secure)),
            Self::Loopback => is_local(&page.host),
        }
    }

    /// Whether a request for this `Host` is served at all.
    pub fn allows_host(&self, host: &str) -> bool {
        match self {
            Self::Listed(_) => true,
            Self::Loopback => split_port(host).is_some_and(|(host, _)| is_local(host)),
        }
    }
}

/// One entry of `origins`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginRule {
    /// As it was written.
    text: Box<str>,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    SameOrigin,
    Any,
    Exact(Page),
    /// `https://*.example`: one label before this page's host.
    Label(Page),
}

impl OriginRule {
    /// The rule that a configured endpoint has by default.
    pub(super) fn same_origin() -> Self {
        Self { text: "same-origin".into(), kind: Kind::SameOrigin }
    }

    fn allows(&self, page: &Page, host: &str, secure: bool) -> bool {
        match &self.kind {
            Kind::Any => true,
            Kind::SameOrigin => page.is_of(host, secure),
            Kind::Exact(allowed) => page == allowed,
            Kind::Label(below) => {
                let label = page.host.strip_suffix(&*below.host).and_then(|rest| rest.strip_suffix('.'));
                label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
                    && (&page.scheme, page.port) == (&below.scheme, below.port)
            }
        }
    }
}

impl FromStr for OriginRule {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let kind = match text {
            "same-origin" => Kind::SameOrigin,
            "*" => Kind::Any,
            _ => match text.split_once("://*.") {
                Some((scheme, rest)) => {
                    Kind::Label(Page::parse(&format!("{scheme}://{rest}")).ok_or(OriginError)?)
                }
                None => Kind::Exact(Page::parse(text).ok_or(OriginError)?),
            },
        };
        Ok(Self { text: text.into(), kind })
    }
}

impl fmt::Display for OriginRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Setting for OriginRule {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|problem| format!("{text:?} {problem}"))
    }

    fn print(value: &Self) -> String {
        quoted(value)
    }
}

/// A text that is no rule for origins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an origin; use same-origin, *, https://app.example or https://*.example")]
pub struct OriginError;

/// A web origin, compared without case and with default ports filled in
/// (RFC 6454, section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Page {
    scheme: Box<str>,
    host: Box<str>,
    port: Option<u16>,
}

impl Page {
    /// `SCHEME://HOST[:PORT]` and nothing more: no `null`, no path, no user.
    fn parse(origin: &str) -> Option<Self> {
        let (scheme, authority) = origin.split_once("://")?;
        let (host, port) = split_port(authority)?;
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
        let named = !scheme.is_empty() && scheme.bytes().all(fits);
        let scheme = scheme.to_ascii_lowercase();
        let port = port.or_else(|| default_port(&scheme));
        named.then(|| Self { scheme: scheme.into(), host: host.to_ascii_lowercase().into(), port })
    }

    /// Whether this page came from the host that the request names.
    fn is_of(&self, host: &str, secure: bool) -> bool {
        let Some((host, port)) = split_port(host) else { return false };
        let scheme_fits = &*self.scheme == "https" || (&*self.scheme == "http" && !secure);
        scheme_fits
            && self.host.eq_ignore_ascii_case(host)
            && port.or(default_port(&self.scheme)) == self.port
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Splits `host:port`; a colon inside brackets belongs to an IPv6 address.
/// `None` when it can't be a host.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match authority[end..].find(':') {
        Some(colon) => (&authority[..end + colon], Some(authority[end + colon + 1..].parse().ok()?)),
        None => (authority, None),
    };
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._[]:%~".contains(&b);
    (!host.is_empty() && host.bytes().all(fits)).then_some((host, port))
}

fn is_local(host: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| name.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(rule: &str) -> Origins {
        Origins::Listed(vec![rule.parse().unwrap()])
    }

    #[test]
    fn same_origin_compares_the_page_with_the_host_it_asked_for() {
        // E8: origin, Host, over TLS, allowed
        let table = [
            ("http://a.example", "a.example", false, true),
            ("http://a.example:80", "a.example", false, true),
            ("http://a.example", "a.example:80", false, true),
            ("http://A.Example", "a.eXample", false, true),
            ("http://a.example:3000", "a.example:3000", false, true),
            ("http://[::1]:8080", "[::1]:8080", false, true),
            ("https://a.example", "a.example", true, true),
            ("https://a.example", "a.example:443", true, true),
            // A proxy ended TLS before us.
            ("https://a.example", "a.example", false, true),
            ("http://a.example", "a.example", true, false),
            ("http://a.example:3000", "a.example:8080", false, false),
            ("http://a.example:3000", "a.example", false, false),
            ("http://b.example", "a.example", false, false),
            ("http://a.example.evil", "a.example", false, false),
            ("http://a.example/", "a.example", false, false),
            ("http://u@a.example", "a.example", false, false),
            ("null", "null", false, false),
            ("", "", false, false),
        ];
        for (origin, host, secure, expected) in table {
            assert_eq!(listed("same-origin").allows(origin, host, secure), expected, "{origin} at {host}");
        }
    }

    #[test]
    fn a_listed_origin_is_matched_whole_or_by_one_label() {
        // E8
        let table = [
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "https://A.EXAMPLE:443", true),
            ("https://a.example:443", "https://a.example", true),
            ("https://a.example", "http://a.example", false),
            ("https://a.example", "https://a.example:8443", false),
            ("https://a.example", "https://b.a.example", false),
            ("https://*.example", "https://a.example", true),
            ("https://*.example", "https://A.Example", true),
            ("https://*.example", "https://example", false),
            ("https://*.example", "https://.example", false),
            ("https://*.example", "https://aexample", false),
            ("https://*.example", "https://b.a.example", false),
            ("https://*.example", "http://a.example", false),
            ("https://*.example", "https://a.example:8443", false),
            ("http://*.example:3000", "http://a.example:3000", true),
            ("app://local", "app://local", true),
            ("*", "https://any.example", true),
            ("*", "null", false),
        ];
        for (rule, origin, expected) in table {
            assert_eq!(listed(rule).allows(origin, "ws.example", true), expected, "{rule} {origin}");
        }
    }

    #[test]
    fn what_is_no_origin_is_no_rule() {
        for text in
            ["", "a.example", "null", "https://", "https://a.example/path", "https://a.example:x", "*.a"]
        {
            assert_eq!(text.parse::<OriginRule>(), Err(OriginError), "{text}");
        }
        for text in ["https://a.*.example", "https://*", "https://*.*.example", "https://*."] {
            assert_eq!(text.parse::<OriginRule>(), Err(OriginError), "{text}");
        }
    }

    #[test]
    fn without_configuration_only_this_machines_pages_and_names_pass() {
        // E8
        for origin in ["http://localhost", "http://localhost:3000", "https://127.0.0.1", "http://[::1]:5173"]
        {
            assert!(Origins::Loopback.allows(origin, "localhost:8080", false), "{origin}");
        }
        for origin in ["http://evil.example", "http://localhost.evil.example", "http://127.0.0.2", "null"] {
            assert!(!Origins::Loopback.allows(origin, "localhost:8080", false), "{origin}");
        }
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST:8080", true),
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("[::1]", true),
            ("rebound.example:8080", false),
            ("localhost:x", false),
            ("", false),
        ] {
            assert_eq!(Origins::Loopback.allows_host(host), expected, "{host}");
            assert!(listed("*").allows_host(host));
        }
    }
}
