//! The third connection, fred's: what is neither quick nor ordered. Today that is a look at whether Redis is
//! one to rely on; history pages and snapshots will come here, too.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::config::{Config, ConnectionConfig, ReconnectPolicy, Server, ServerConfig, TlsConfig};
use fred::types::{Builder, CustomCommand, RespVersion};
use tokio_rustls::TlsConnector;

use super::metrics::{Connection, RedisMetrics};
use crate::config::RedisUrl;

/// How often the policy is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long one command may take.
const COMMAND_TIME: Duration = Duration::from_secs(2);
/// With any other policy a full Redis throws away what nodes rely on, the leases first.
const POLICY: &str = "noeviction";

/// The third connection.
pub(super) struct Bulk {
    /// Guards the last look's result, for the driver to pass on.
    trouble: Arc<Mutex<Option<String>>>,
}

impl Bulk {
    /// Connects, and looks now and then; for ever.
    pub(super) fn start(url: &RedisUrl, connector: Option<TlsConnector>, metrics: Arc<RedisMetrics>) -> Self {
        let trouble = Arc::new(Mutex::new(None));
        let (url, result) = (url.clone(), trouble.clone());
        #[expect(clippy::disallowed_methods, reason = "it lives as long as the node")]
        tokio::spawn(async move {
            let client = match client(&url, connector) {
                Ok(client) => client,
                Err(error) => return tracing::error!("{url}: no third connection: {error}"),
            };
            let _connection = client.connect();
            let mut looks = tokio::time::interval(LOOK_EVERY);
            looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                if client.ping::<()>(None).await.is_err() {
                    metrics.went_down(Connection::Bulk);
                    continue;
                }
                metrics.came_up(Connection::Bulk);
                if let Some(found) = look(&client).await {
                    *result.lock().unwrap_or_else(PoisonError::into_inner) = found;
                }
            }
        });
        Self { trouble }
    }

    /// What is wrong with this Redis, whether or not it answers.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn client(url: &RedisUrl, connector: Option<TlsConnector>) -> Result<Client, fred::error::Error> {
    let config = Config {
        server: ServerConfig::Centralized { server: Server::new(url.host.clone(), url.port) },
        username: url.username.clone(),
        password: url.password.as_ref().map(|password| password.reveal().to_owned()),
        version: RespVersion::RESP3,
        tls: connector.map(TlsConfig::from),
        fail_fast: false,
        ..Config::default()
    };
    let mut builder = Builder::from_config(config);
    builder.set_policy(ReconnectPolicy::new_exponential(0, 50, 2_000, 2));
    builder.with_connection_config(|connection: &mut ConnectionConfig| connection.max_command_attempts = 1);
    builder.with_performance_config(|performance| performance.default_command_timeout = COMMAND_TIME);
    builder.build()
}

/// What is wrong, if it could be found out: some services don't allow the question.
async fn look(client: &Client) -> Option<Option<String>> {
    let command = CustomCommand::new_static("CONFIG", None, false);
    let answer: Result<std::collections::HashMap<String, String>, _> =
        client.custom(command, vec!["GET", "maxmemory-policy"]).await;
    let policy = answer.ok()?.remove("maxmemory-policy")?;
    let wrong = policy != POLICY;
    Some(wrong.then(|| format!("its maxmemory-policy is {policy}; a node's redis needs {POLICY}")))
}
