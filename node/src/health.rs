//! Whether to send peers to this node (behaviours R5).

use std::sync::atomic::Ordering;

use crate::shard::Common;

/// What a balancer should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Peers are welcome.
    Ready,
    /// Peers are served, but the other nodes are out of reach; why.
    Degraded(String),
    /// The node is leaving.
    Draining,
}

impl Readiness {
    /// How it is at present.
    pub fn of(common: &Common) -> Self {
        if common.draining.load(Ordering::Relaxed) {
            return Self::Draining;
        }
        common.broker.status().trouble.map_or(Self::Ready, Self::Degraded)
    }

    /// Whether to answer 200. The query `degraded=ok` asks to bear with a node that reaches only its own peers:
    /// when Redis is away all nodes are such, and a balancer that asks for more would have none left.
    pub fn is_good(&self, query: Option<&str>) -> bool {
        let bears = || query.is_some_and(|query| query.split('&').any(|pair| pair == "degraded=ok"));
        match self {
            Self::Ready => true,
            Self::Degraded(_) => bears(),
            Self::Draining => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // R5
    #[test]
    fn only_who_asks_for_it_is_sent_to_a_degraded_node() {
        let degraded = Readiness::Degraded("no heartbeat".to_owned());
        for (query, good) in [
            (None, false),
            (Some("degraded=ok"), true),
            (Some("a&degraded=ok"), true),
            (Some("degraded=no"), false),
        ] {
            assert_eq!(degraded.is_good(query), good, "{query:?}");
            assert!(Readiness::Ready.is_good(query) && !Readiness::Draining.is_good(query));
        }
    }
}
