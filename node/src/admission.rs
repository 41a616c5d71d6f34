//! How many peers a node takes, in all, per namespace and per address (behaviours H5, E3).
//!
//! **Invariant:** a count is the number of living [`Permit`]s: whoever holds one gives it back by dropping
//! it, so no count can stay behind its peers.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use dunlin_protocol::Namespace;

use crate::config::Limits;
use crate::hub::{Bucket, Limit, Moment};

/// The node's door, shared by its shards.
pub struct Admission {
    limits: Limits,
    /// Guards the counts, which a connect and a disconnect each touch once.
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    peers: usize,
    namespaces: HashMap<Namespace, usize>,
    addresses: HashMap<IpAddr, usize>,
    handshakes: Bucket,
}

/// One peer's place on the node.
pub struct Permit {
    admission: Arc<Admission>,
    namespace: Namespace,
    address: IpAddr,
}

impl Admission {
    /// A door without anybody inside.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, counts: Mutex::default() })
    }

    /// Whether one more handshake may be served this second.
    pub fn may_shake_hands(&self, now: Moment) -> bool {
        self.with(|counts| counts.handshakes.take(now, self.limits.handshakes_per_second))
    }

    /// A place for a peer, or the limit that is in its way.
    pub fn admit(self: &Arc<Self>, namespace: &Namespace, address: IpAddr) -> Result<Permit, Limit> {
        let address = address.to_canonical();
        self.with(|counts| {
            let limits = &self.limits;
            let in_namespace = counts.namespaces.get(namespace).copied();
            let from_address = counts.addresses.get(&address).copied().unwrap_or(0);
            if counts.peers >= limits.peers {
                return Err(Limit::Peers);
            }
            if from_address >= limits.peers_per_address {
                return Err(Limit::PeersPerAddress);
            }
            if in_namespace.is_none() && counts.namespaces.len() >= limits.namespaces {
                return Err(Limit::Namespaces);
            }
            if in_namespace.unwrap_or(0) >= limits.peers_per_namespace {
                return Err(Limit::PeersPerNamespace);
            }
            counts.peers += 1;
            *counts.namespaces.entry(namespace.clone()).or_default() += 1;
            *counts.addresses.entry(address).or_default() += 1;
            Ok(())
        })?;
        Ok(Permit { admission: self.clone(), namespace: namespace.clone(), address })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.with(|counts| {
            counts.peers -= 1;
            give_back(&mut counts.namespaces, &self.namespace);
            give_back(&mut counts.addresses, &self.address);
        });
    }
}

fn give_back<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn namespace(text: &str) -> Namespace {
        Namespace::parse(text).expect("a good name")
    }

    #[test]
    fn each_limit_is_named_when_it_is_met() {
        type Case = (fn(&mut Limits), Limit);
        let cases: [Case; 4] = [
            (|limits| limits.peers = 2, Limit::Peers),
            (|limits| limits.peers_per_namespace = 2, Limit::PeersPerNamespace),
            (|limits| limits.peers_per_address = 2, Limit::PeersPerAddress),
            (|limits| limits.namespaces = 0, Limit::Namespaces),
        ];
        for (set, expected) in cases {
            let mut limits = Limits::default();
            set(&mut limits);
            let door = Admission::new(limits);
            let all: Vec<_> = (0..3).map(|_| door.admit(&namespace("/a"), HOME)).collect();
            let refused = all.into_iter().find_map(Result::err);
            assert_eq!(refused, Some(expected));
        }
    }

    #[test]
    fn a_place_is_free_again_when_its_permit_is_gone() {
        let door = Admission::new(Limits { peers: 1, ..Limits::default() });
        let permit = door.admit(&namespace("/a"), HOME).expect("the first");
        assert!(door.admit(&namespace("/a"), HOME).is_err());
        drop(permit);
        assert!(door.admit(&namespace("/b"), HOME).is_ok());
        assert!(door.with(|counts| counts.namespaces.is_empty() && counts.addresses.is_empty()));
    }

    #[test]
    fn an_address_is_the_same_in_its_mapped_form() {
        let door = Admission::new(Limits { peers_per_address: 1, ..Limits::default() });
        let mapped = "::ffff:127.0.0.1".parse().expect("an address");
        let _permit = door.admit(&namespace("/a"), HOME).expect("the first");
        assert_eq!(door.admit(&namespace("/a"), mapped).err(), Some(Limit::PeersPerAddress));
    }
}
