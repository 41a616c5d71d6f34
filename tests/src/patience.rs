//! Waiting: always for something, never forever.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How long anything may take that a healthy node does at once. Generous, because machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How often a condition is looked at that nobody announces.
const LOOK: Duration = Duration::from_millis(5);

/// What `work` comes to, or an error that says what did not come in time.
pub async fn soon<T>(what: impl Display, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    match timeout(PATIENCE, work).await {
        Ok(result) => result.with_context(|| what.to_string()),
        Err(_) => bail!("{what}: not within {PATIENCE:?}"),
    }
}

/// Looks until `look` has found something, at most so long.
pub async fn until<T>(
    what: impl Display,
    within: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + within;
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("{what}: not within {within:?}");
        }
    }
}
