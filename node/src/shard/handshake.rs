//! One accepted connection until it is a peer, or is not.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use dunlin_protocol::ErrorCode;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use super::connection::Connection;
use super::reader::Reader;
use super::{Shard, core};
use crate::admission::Permit;
use crate::health::Readiness;
use crate::hub::{Arrival, Limit, Moment};
use crate::transport::socket::Socket;
use crate::transport::upgrade::{self, Head, Rejection};
use crate::transport::websocket::WebSocket;

/// Who comes in once the answer has been written.
struct Newcomer {
    arrival: Arrival,
    permit: Permit,
}

/// What is known of a connection while it speaks HTTP.
struct Visit {
    began: Moment,
    shard: Rc<Shard>,
    address: SocketAddr,
    secure: bool,
    served: Cell<bool>,
    newcomer: RefCell<Option<Newcomer>>,
}

/// Forgets the handshake when its task ends.
struct Registered {
    shard: Rc<Shard>,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shard.handshakes.borrow_mut().end(self.number);
    }
}

/// Serves HTTP on a connection until it is upgraded, closed or out of time.
pub(super) async fn run(shard: Rc<Shard>, stream: TcpStream, address: SocketAddr, number: u64) {
    let _registered = Registered { shard: shard.clone(), number };
    // The option is refused only by a socket that is closed already; reading will tell.
    let _ = stream.set_nodelay(true);
    let mut visit = Visit {
        began: shard.common.clock.now(),
        shard,
        address,
        secure: false,
        served: Cell::new(false),
        newcomer: RefCell::new(None),
    };
    // Until the first byte comes, a connection costs a task and nothing else.
    if tokio::time::timeout(visit.time_left(), stream.readable()).await.is_err() {
        return visit.run_out_of_time(Socket::Plain(stream)).await;
    }
    let Some(socket) = secure(&visit, stream).await else { return };
    visit.secure = matches!(socket, Socket::Tls(_));
    Box::pin(serve(Rc::new(visit), socket)).await;
}

/// TLS first, where it is configured.
async fn secure(visit: &Visit, stream: TcpStream) -> Option<Socket> {
    let shard = &visit.shard;
    let Some(acceptor) = &shard.common.tls else { return Some(Socket::Plain(stream)) };
    // A signature costs more than a whole upgrade: the rate is asked before it.
    if !shard.common.admission.may_shake_hands(shard.common.clock.now()) {
        shard.common.metrics.limited(Limit::HandshakesPerSecond);
        shard.common.metrics.rejected(Limit::HandshakesPerSecond.label());
        return None;
    }
    match tokio::time::timeout(visit.time_left(), Box::pin(acceptor.accept(stream))).await {
        Ok(Ok(stream)) => Some(Socket::Tls(Box::new(stream))),
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake");
            shard.common.metrics.connection("tls_error");
            None
        }
        Err(_) => {
            shard.common.metrics.limited(Limit::HeaderTime);
            shard.common.metrics.connection("timeout");
            None
        }
    }
}

async fn serve(visit: Rc<Visit>, socket: Socket) {
    let limits = &visit.shard.common.settings.limits;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time.map(|_| visit.time_left()))
        .max_headers(limits.headers.min(HEADERS_MAX));
    if limits.header != usize::MAX {
        builder.max_header_size(limits.header).max_buf_size(limits.header.max(BUFFER_MIN));
    }
    let service = {
        let visit = visit.clone();
        service_fn(move |request| respond(&visit, request))
    };
    let mut connection = builder.serve_connection(TokioIo::new(socket), service);
    let served = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let parts = connection.into_parts();
    let socket = parts.io.into_inner();
    let newcomer = visit.newcomer.borrow_mut().take();
    match (served, newcomer) {
        (Ok(()), Some(newcomer)) => admit(&visit.shard, socket, &parts.read_buf, newcomer),
        (Ok(()), None) => goodbye(socket).await,
        (Err(error), _) => part(&visit, socket, &error).await,
    }
}

/// Most header lines hyper is asked to keep room for, when there is no limit.
const HEADERS_MAX: usize = 1024;
/// The smallest buffer hyper reads a head with, in bytes.
const BUFFER_MIN: usize = 8192;
/// How long a connection that ended in an error is read on, so that its answer is not lost to a reset.
const LINGER: Duration = Duration::from_millis(500);
/// How much is read on.
const LINGER_BYTES: usize = 256 * 1024;

/// The connection becomes a peer.
fn admit(shard: &Rc<Shard>, socket: Socket, early: &[u8], newcomer: Newcomer) {
    let core = &mut *shard.core.borrow_mut();
    let now = shard.common.clock.now();
    let websocket = WebSocket::new(&shard.common.settings.limits);
    let Some(key) = core.hub.open(now, newcomer.arrival) else {
        return shard.common.metrics.connection("shard_full");
    };
    // A copy, because even an empty remainder would keep hyper's whole read buffer.
    let early = Bytes::copy_from_slice(early);
    core.connect(Connection::new(key, socket, websocket, early, newcomer.permit));
    shard.common.metrics.connection("opened");
    tokio::task::spawn_local(Reader { shard: shard.clone(), key });
    shard.notify.notify_one();
}

/// What HTTP ended with when it was not an upgrade.
async fn part(visit: &Visit, socket: Socket, error: &hyper::Error) {
    let metrics = &visit.shard.common.metrics;
    if error.is_parse_too_large() {
        metrics.limited(Limit::Header);
        metrics.rejected("header");
    } else if error.is_timeout() && !visit.served.get() {
        return visit.run_out_of_time(socket).await;
    } else if error.is_parse() {
        metrics.rejected("http");
    }
    goodbye(socket).await;
}

const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Closes our side, and reads on for a moment: closing with unread bytes would reset the connection and take
/// the answer with it.
async fn goodbye(mut socket: Socket) {
    let linger = async {
        socket.shutdown().await?;
        let mut read = 0;
        let mut buffer = [0; 4096];
        while read < LINGER_BYTES {
            match socket.read(&mut buffer).await? {
                0 => break,
                count => read += count,
            }
        }
        io::Result::Ok(())
    };
    // Whatever stops it, the connection ends now.
    let _ = tokio::time::timeout(LINGER, linger).await;
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>>>>;

fn respond(visit: &Visit, request: Request<Incoming>) -> Answer {
    visit.served.set(true);
    let common = &visit.shard.common;
    if request.uri().path() == "/.dunlin/ready" && matches!(*request.method(), Method::GET | Method::HEAD) {
        let good = Readiness::of(common).is_good(request.uri().query());
        return ready(empty(if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }));
    }
    let pages = common.pages.clone();
    if let Some(pages) = pages.filter(|_| is_page(&request) && visit.shows_pages_to(&request)) {
        return Box::pin(async move { pages.oneshot(request.map(Body::new)).await });
    }
    ready(match visit.consider(&request) {
        Ok(response) => response,
        Err(rejection) => visit.reject(&rejection),
    })
}

fn ready(response: Response<Body>) -> Answer {
    Box::pin(std::future::ready(Ok(response)))
}

fn is_page(request: &Request<Incoming>) -> bool {
    let path = request.uri().path();
    let page = path == "/" || path.starts_with("/assets/");
    page && matches!(*request.method(), Method::GET | Method::HEAD) && !upgrade::is_upgrade(request.headers())
}

impl Visit {
    /// What is left of the time a request's head may take, counted from the connection's start.
    fn time_left(&self) -> Duration {
        let spent = self.shard.common.clock.now().since(self.began);
        let limit = self.shard.common.settings.limits.header_time;
        limit.map_or(Duration::MAX, |limit| limit.saturating_sub(spent).max(Duration::from_millis(1)))
    }

    /// The request's head was not complete in time.
    async fn run_out_of_time(&self, mut socket: Socket) {
        self.shard.common.metrics.limited(Limit::HeaderTime);
        self.shard.common.metrics.rejected("header_time");
        // The peer may be gone; then nobody misses the answer.
        let _ = socket.write_all(REQUEST_TIMEOUT).await;
        goodbye(socket).await;
    }

    /// The demo is for the names that its endpoint serves.
    fn shows_pages_to(&self, request: &Request<Incoming>) -> bool {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let endpoints = &self.shard.common.settings.endpoints;
        host.is_some_and(|host| endpoints.iter().all(|endpoint| endpoint.origins.allows_host(host)))
    }

    fn consider(&self, request: &Request<Incoming>) -> Result<Response<Body>, Rejection> {
        let common = &self.shard.common;
        let head = Head {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            secure: self.secure,
        };
        let upgrade = upgrade::decide(&common.settings.endpoints, &head)?;
        if core::is_draining(common) {
            let detail = "this node is leaving; connect again";
            return Err(Rejection::new(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::Unavailable,
                "draining",
                detail,
            ));
        }
        if !self.secure && !common.admission.may_shake_hands(common.clock.now()) {
            return Err(limited(Limit::HandshakesPerSecond));
        }
        let permit =
            common.admission.admit(&upgrade.arrival.namespace, self.address.ip()).map_err(limited)?;
        *self.newcomer.borrow_mut() = Some(Newcomer { arrival: upgrade.arrival, permit });
        Ok(switching(&upgrade.accept, upgrade.subprotocol.as_deref()))
    }

    fn reject(&self, rejection: &Rejection) -> Response<Body> {
        let metrics = &self.shard.common.metrics;
        metrics.rejected(rejection.reason);
        if let Some(limit) = Limit::ALL.iter().find(|limit| limit.label() == rejection.reason) {
            metrics.limited(*limit);
        }
        if rejection.status == StatusCode::FORBIDDEN && self.shard.may_log() {
            tracing::warn!(address = %self.address.ip(), "refused: {}", rejection.detail);
        }
        problem(rejection)
    }
}

fn limited(limit: Limit) -> Rejection {
    let detail = format!("the limit {} is reached; try again later", limit.label());
    let status = StatusCode::TOO_MANY_REQUESTS;
    let code = if limit == Limit::HandshakesPerSecond { ErrorCode::Rate } else { ErrorCode::Limit };
    let mut rejection = Rejection::new(status, code, limit.label(), detail);
    rejection.headers.push((header::RETRY_AFTER, "1".to_owned()));
    rejection
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn switching(accept: &str, subprotocol: Option<&str>) -> Response<Body> {
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.clear();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let lines = [(header::SEC_WEBSOCKET_ACCEPT, Some(accept)), (header::SEC_WEBSOCKET_PROTOCOL, subprotocol)];
    for (name, value) in lines {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
    response
}

/// A rejection as `application/problem+json` (RFC 9457).
fn problem(rejection: &Rejection) -> Response<Body> {
    let status = rejection.status;
    let title = status.canonical_reason().unwrap_or("Error");
    let body = serde_json::json!({
        "type": "about:blank",
        "title": title,
        "status": status.as_u16(),
        "code": rejection.code.as_str(),
        "detail": rejection.detail,
    });
    let mut response = empty(status);
    *response.body_mut() = Body::from(body.to_string());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    for (name, value) in &rejection.headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name.clone(), value);
        }
    }
    response
}
