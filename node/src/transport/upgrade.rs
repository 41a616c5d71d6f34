//! From a request's head to the decision about it (RFC 6455 section 4.2, behaviours E1, E2, E8, E10).
//!
//! Pure: the same head gives the same decision.

use dunlin_protocol::{ErrorCode, NameError, Namespace, Pattern};
use http::{HeaderMap, HeaderName, Method, StatusCode, Uri, Version, header};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::config::{Dialect as Speech, Endpoint, NamespaceRule, Origins};
use crate::hub::{Arrival, Variables};
use crate::publication::Dialect;

/// A request's head.
#[derive(Debug)]
pub struct Head<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its target.
    pub uri: &'a Uri,
    /// Its HTTP version.
    pub version: Version,
    /// Its header lines.
    pub headers: &'a HeaderMap,
    /// Whether it came over TLS.
    pub secure: bool,
}

/// A request that may become a peer.
#[derive(Debug)]
pub struct Upgrade {
    /// Who arrives.
    pub arrival: Arrival,
    /// The value of `Sec-WebSocket-Accept`.
    pub accept: String,
    /// The subprotocol selected, if any was offered.
    pub subprotocol: Option<String>,
}

/// Why a request is not upgraded: what its sender is told, and counted.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The HTTP status.
    pub status: StatusCode,
    /// The code in the problem's body.
    pub code: ErrorCode,
    /// The label in `dunlin_upgrade_rejections_total`.
    pub reason: &'static str,
    /// In words.
    pub detail: String,
    /// Header lines that go with the status.
    pub headers: Vec<(HeaderName, String)>,
}

impl Rejection {
    /// A rejection without header lines.
    pub fn new(status: StatusCode, code: ErrorCode, reason: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, reason, detail: detail.into(), headers: Vec::new() }
    }

    fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn malformed(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::Malformed, reason, detail)
    }
}

/// Decides about a request for an endpoint.
pub fn decide(endpoints: &[Endpoint], head: &Head<'_>) -> Result<Upgrade, Rejection> {
    let path = head.uri.path();
    check_path(path)?;
    let matching = endpoints.iter().enumerate();
    let found = matching.map(|(index, endpoint)| (index, endpoint, endpoint.path.matches(path)));
    let Some((index, endpoint, Some(params))) = found.into_iter().find(|(_, _, params)| params.is_some())
    else {
        let detail = "no endpoint has this path";
        return Err(Rejection::new(StatusCode::NOT_FOUND, ErrorCode::Gone, "not_found", detail));
    };
    check_host(endpoint, head)?;
    let accept = check_handshake(head)?;
    check_origin(endpoint, head)?;
    let (dialect, subprotocol) = select_subprotocol(endpoint, head.headers)?;
    let names = query_names(endpoint);
    let mut query = query_pairs(head.uri.query().unwrap_or_default(), &names);
    let namespace = namespace_of(endpoint, path, &Variables { path: params.clone(), query: query.clone() })?;
    query.shrink_to_fit();
    let variables = uses_variables(endpoint).then(|| Box::new(Variables { path: params, query }));
    let arrival = Arrival { endpoint: index as u16, namespace, dialect, variables };
    Ok(Upgrade { arrival, accept, subprotocol })
}

/// Whether the request asks for a WebSocket.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, &header::UPGRADE, "websocket")
}

/// A path with an empty, `.` or `..` segment, `%2F` or `%00` is nobody's (E2): proxies and browsers rewrite
/// such paths, so that one request would mean two namespaces. A trailing slash is allowed, and means another
/// namespace.
fn check_path(path: &str) -> Result<(), Rejection> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let within = segments.len().saturating_sub(1);
    let is_dots = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    };
    let lower = path.to_ascii_lowercase();
    let bad = if !path.starts_with('/') {
        "the path must start with a slash"
    } else if segments[..within].iter().any(|segment| segment.is_empty()) {
        "the path has an empty segment"
    } else if segments.iter().any(|segment| is_dots(segment)) {
        "the path has a `.` or `..` segment"
    } else if lower.contains("%2f") || lower.contains("%00") {
        "the path has an encoded slash or zero byte"
    } else {
        return Ok(());
    };
    Err(Rejection::malformed("path", bad))
}

/// While nothing is configured, only this machine's own names are served: a page that resolves its own name
/// to loopback stays out (E8).
fn check_host(endpoint: &Endpoint, head: &Head<'_>) -> Result<(), Rejection> {
    let Some(host) = host_of(head) else {
        return Err(Rejection::malformed("host", "the request has no Host"));
    };
    if endpoint.origins.allows_host(host) {
        return Ok(());
    }
    let detail =
        "this node serves localhost only; configure an [[endpoint]] with its origins to serve others";
    Err(Rejection::new(StatusCode::FORBIDDEN, ErrorCode::Forbidden, "host", detail))
}

fn check_handshake(head: &Head<'_>) -> Result<String, Rejection> {
    if head.method != Method::GET {
        let detail = "an endpoint takes GET with an upgrade to websocket";
        let status = StatusCode::METHOD_NOT_ALLOWED;
        return Err(Rejection::new(status, ErrorCode::Malformed, "method", detail).with(header::ALLOW, "GET"));
    }
    if !is_upgrade(head.headers) {
        let detail = "this is a WebSocket endpoint; connect with a WebSocket client";
        let rejection =
            Rejection::new(StatusCode::UPGRADE_REQUIRED, ErrorCode::Malformed, "upgrade_required", detail);
        let rejection = rejection.with(header::UPGRADE, "websocket").with(header::CONNECTION, "Upgrade");
        return Err(rejection);
    }
    if head.version != Version::HTTP_11 || !has_token(head.headers, &header::CONNECTION, "upgrade") {
        let detail = "the upgrade needs HTTP/1.1 and `Connection: Upgrade`";
        return Err(Rejection::malformed("handshake", detail));
    }
    if single(head.headers, &header::SEC_WEBSOCKET_VERSION) != Some("13") {
        let detail = "only version 13 of the WebSocket protocol is spoken";
        let rejection = Rejection::new(StatusCode::UPGRADE_REQUIRED, ErrorCode::Malformed, "version", detail);
        return Err(rejection.with(header::SEC_WEBSOCKET_VERSION, "13"));
    }
    match single(head.headers, &header::SEC_WEBSOCKET_KEY) {
        Some(key) if is_key(key) => Ok(derive_accept_key(key.as_bytes())),
        _ => Err(Rejection::malformed("handshake", "`Sec-WebSocket-Key` must be 16 bytes in base64, once")),
    }
}

fn is_key(key: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// How much of a refused Origin is told and logged, in characters.
const ORIGIN_SHOWN: usize = 100;

fn check_origin(endpoint: &Endpoint, head: &Head<'_>) -> Result<(), Rejection> {
    let mut origins = head.headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return Ok(()) };
    let host = host_of(head).unwrap_or_default();
    let text = origin.to_str().unwrap_or_default();
    if origins.next().is_none() && endpoint.origins.allows(text, host, head.secure) {
        return Ok(());
    }
    let text: String = text.chars().take(ORIGIN_SHOWN).collect();
    let which = match endpoint.origins {
        Origins::Loopback => "an [[endpoint]]".to_owned(),
        Origins::Listed(_) => format!("the [[endpoint]] with path = {:?}", endpoint.path.as_str()),
    };
    let detail = format!(
        "origin {text:?} may not connect here; to let it, configure {which} with origins = [\"same-origin\", {text:?}]"
    );
    Err(Rejection::new(StatusCode::FORBIDDEN, ErrorCode::Forbidden, "origin", detail))
}

/// An entry that carries a token; it is never selected and doesn't count as offered.
const TOKEN_ENTRY: &str = "dunlin.token.";

/// The client's first subprotocol that we serve (E10), and the dialect it means.
fn select_subprotocol(
    endpoint: &Endpoint,
    headers: &HeaderMap,
) -> Result<(Dialect, Option<String>), Rejection> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let listed = lines.flat_map(|line| line.to_str().unwrap_or_default().split(',')).map(str::trim);
    let listed: Vec<&str> = listed.filter(|entry| !entry.is_empty()).collect();
    let plain = if matches!(endpoint.dialect, Speech::Raw { .. }) { Dialect::Raw } else { Dialect::Plain };
    if listed.is_empty() {
        return Ok((plain, None));
    }
    let served = |entry: &str| match (entry, plain) {
        ("dunlin.json.v1", Dialect::Plain) => Some(Dialect::JsonV1),
        ("dunlin.msgpack.v1", Dialect::Plain) => Some(Dialect::MsgpackV1),
        ("dunlin.plain.v1", Dialect::Plain) => Some(Dialect::Plain),
        _ => endpoint.subprotocols.iter().any(|own| own == entry).then_some(plain),
    };
    let offered = listed.iter().filter(|entry| !entry.starts_with(TOKEN_ENTRY));
    for entry in offered {
        if let Some(dialect) = served(entry) {
            return Ok((dialect, Some((*entry).to_owned())));
        }
    }
    let mut names: Vec<&str> = endpoint.subprotocols.iter().map(String::as_str).collect();
    if plain == Dialect::Plain {
        names.splice(0..0, ["dunlin.json.v1", "dunlin.msgpack.v1", "dunlin.plain.v1"]);
    }
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Err(Rejection::malformed(
        "subprotocol",
        format!("none of the subprotocols offered is served; served: {names}"),
    ))
}

fn namespace_of(endpoint: &Endpoint, path: &str, variables: &Variables) -> Result<Namespace, Rejection> {
    let named = match &endpoint.namespace {
        NamespaceRule::Path => Namespace::parse(path),
        NamespaceRule::Template(template) => {
            if let Some(text) = template.render(variables) {
                Namespace::parse(&text)
            } else {
                let detail = format!("the namespace {template} needs a value that the request does not have");
                return Err(Rejection::malformed("namespace", detail));
            }
        }
    };
    named.map_err(|error: NameError| Rejection::malformed("namespace", error.to_string()))
}

/// Whether the endpoint's patterns can ask for a peer's variables.
fn uses_variables(endpoint: &Endpoint) -> bool {
    endpoint.subscribe.iter().chain(&endpoint.publish).any(|pattern| pattern.as_str().contains('{'))
}

/// The query parameters that the endpoint's template and patterns name.
fn query_names(endpoint: &Endpoint) -> Vec<&str> {
    let template = match &endpoint.namespace {
        NamespaceRule::Template(template) => template.as_str(),
        NamespaceRule::Path => "",
    };
    let patterns = endpoint.subscribe.iter().chain(&endpoint.publish).map(Pattern::as_str);
    let variables = patterns.chain([template]).flat_map(|text| text.split("{query.").skip(1));
    variables.map(|rest| rest.split(['}', '|']).next().unwrap_or_default()).collect()
}

/// The query's pairs with these names, decoded; the first of each name.
fn query_pairs(query: &str, names: &[&str]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    if names.is_empty() {
        return found;
    }
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name);
        if names.contains(&name.as_str()) && !found.iter().any(|(known, _)| *known == name) {
            found.push((name, decode(value)));
        }
    }
    found
}

/// Percent-decoding with `+` as a space; bytes that are no UTF-8 become U+FFFD.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let hex = hex.filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let escaped = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(first),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The request's one `Host`.
fn host_of<'a>(head: &Head<'a>) -> Option<&'a str> {
    single(head.headers, &header::HOST)
}

/// The value of a header that must not repeat.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Whether a comma-separated header lists a token, ignoring case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|entry| entry.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
