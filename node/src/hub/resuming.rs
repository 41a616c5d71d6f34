//! Sessions that go on after their connection: a peer shows the grant it was given and is subscribed again
//! (redis.md 2.10).

use std::sync::Arc;

use dunlin_protocol::{ErrorCode, FrameError, RequestId, ResumeTopic, ServerFrame};

use super::Hub;
use super::conversation::Rated;
use super::moment::Moment;
use super::peer::Stage;
use super::refusal::Refusal;
use super::subscriptions::Wish;
use crate::config::Resume;
use crate::grant::{Grant, Holder, Keys};

/// What grants are signed with, and who has none yet.
pub(super) enum Signing {
    /// Nothing is known; nobody is given one.
    Unknown,
    /// Peers wait for their first one.
    Fresh(Arc<Keys>),
    /// Everybody was given one.
    Known(Arc<Keys>),
}

impl Signing {
    pub(super) fn of(resume: &Resume) -> Self {
        resume.keys().map_or(Self::Unknown, |keys| Self::Known(Arc::new(keys)))
    }

    pub(super) fn is_fresh(&self) -> bool {
        matches!(self, Self::Fresh(_))
    }

    fn keys(&self) -> Option<&Arc<Keys>> {
        match self {
            Self::Unknown => None,
            Self::Fresh(keys) | Self::Known(keys) => Some(keys),
        }
    }
}

impl Hub {
    /// What grants are signed with from now on, unless a secret is configured. Peers that were given none yet get
    /// theirs with the next [`Hub::timeout`]; the others' are good as long as the key they were signed with is known.
    pub fn set_keys(&mut self, keys: Arc<Keys>) {
        if !self.settings.resume.has_secret() {
            let is_first = matches!(self.signing, Signing::Unknown | Signing::Fresh(_));
            self.signing = if is_first { Signing::Fresh(keys) } else { Signing::Known(keys) };
        }
    }

    pub(super) fn grant_to_all(&mut self, now: Moment) {
        let Signing::Fresh(keys) = &self.signing else { return };
        self.signing = Signing::Known(keys.clone());
        for key in self.peer_keys() {
            let index = key.index as usize;
            if self.outboxes[index].dialect.is_v1()
                && let Some(grant) = self.grant(now, index)
            {
                self.answer(index, &ServerFrame::Grant { grant: &grant });
            }
        }
    }

    /// What a peer may take up its session with; none while nothing is known to sign it with.
    pub(super) fn grant(&self, now: Moment, index: usize) -> Option<String> {
        let keys = self.signing.keys()?;
        let ttl_ms = u64::try_from(self.settings.resume.ttl.as_millis()).unwrap_or(u64::MAX);
        let expires_ms = (now.micros() / 1000).saturating_add(ttl_ms);
        let grant = Grant { peer: self.peers[index].id, expires_ms };
        Some(grant.sign(keys, &self.holder(index)))
    }

    fn holder(&self, index: usize) -> Holder<'_> {
        let namespace = &self.namespaces[self.peers[index].namespace as usize].name;
        Holder { endpoint: self.endpoint(index).path.as_str(), namespace, user: None }
    }

    /// A peer takes up an earlier session: its topics, each as a subscribe would.
    pub(super) fn resume(
        &mut self,
        now: Moment,
        index: usize,
        (grant, topics): (&str, &[ResumeTopic]),
        id: Option<&RequestId>,
    ) -> Result<(), Refusal> {
        self.pass(now, index, Rated::Subscribe)?;
        if self.peers[index].resumed {
            return Err(Refusal::new(ErrorCode::Malformed, "a connection takes up one session"));
        }
        let verified = self.signing.keys().and_then(|keys| Grant::verify(grant, keys, &self.holder(index)));
        if verified.is_none_or(|grant| grant.expires_ms <= now.micros() / 1000) {
            return Err(Refusal::new(ErrorCode::Unauthenticated, "no such grant"));
        }
        self.peers[index].resumed = true;
        if topics.is_empty() {
            self.acknowledge(index, id, None);
        }
        for ResumeTopic { topic, since } in topics {
            let wish = Wish { topic, since: since.as_deref(), replay: None };
            if let Err(refusal) = self.take_on(index, &wish, id.cloned()) {
                let error = FrameError { topic: Some(topic.clone()), ..refusal.error(id.cloned()) };
                self.refuse(index, &error);
            }
            if self.peers[index].stage != Stage::Open {
                break; // Its answers were more than it takes.
            }
        }
        Ok(())
    }
}
