//! A node's metrics, read as Prometheus reads them.

use std::collections::HashMap;
use std::net::SocketAddr;

use anyhow::ensure;

use crate::http::get;

/// The values of all series at one time, in whole numbers: what is looked at here are counts.
#[derive(Debug, Clone, Default)]
pub struct Scrape(HashMap<String, u64>);

impl Scrape {
    /// Asks a node's internal listener.
    pub async fn of(internal: SocketAddr) -> anyhow::Result<Self> {
        let answer = get(internal, "/metrics").await?;
        ensure!(answer.status == 200, "/metrics: {} {}", answer.status, answer.body);
        let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
        let series = lines.filter_map(|line| line.rsplit_once(' '));
        Ok(Self(
            series
                .filter_map(|(name, value)| Some((name.to_owned(), value.parse::<f64>().ok()? as u64)))
                .collect(),
        ))
    }

    /// The value of a series as it is written, labels and all; 0 for one that has not appeared yet.
    pub fn value(&self, series: &str) -> u64 {
        self.0.get(series).copied().unwrap_or(0)
    }
}
