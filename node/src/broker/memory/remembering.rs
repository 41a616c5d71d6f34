//! What shards ask of topics that remember.

use std::sync::Arc;

use dunlin_protocol::{Position, Recipients};

use super::super::inbox::{INBOX_MAX, cost};
use super::State;
use super::stored::Told;
use crate::broker::Event;
use crate::config::Retention;
use crate::history::{Asked, Commit, CommitError, Page, Place, Reading, Recovery};
use crate::hub::{Moment, Tag};

/// A topic that a shard has joined under a tag.
pub struct Joined {
    /// Which.
    pub place: Place,
    /// How it remembers.
    pub retention: Arc<Retention>,
}

impl State {
    /// Does a commit and tells everybody of it; says where the topic is since.
    pub(super) fn commit(&mut self, now: Moment, commit: Commit) -> Result<Position, CommitError> {
        let Recipients::Topic(topic) = &commit.envelope.to else { return Err(CommitError::Refused) };
        let place = Place { namespace: commit.envelope.namespace.clone(), topic: topic.clone() };
        let digest = commit.key.as_ref().map(|key| self.store.repeats.digest(&place, key));
        if let Some(digest) = digest {
            if let Some(position) = self.store.repeats.position(now, digest) {
                return Ok(position);
            }
            self.store.repeats.admit().map_err(|_| CommitError::Unavailable)?;
        }
        let Self { namespaces, inboxes, store, .. } = self;
        let joined = namespaces.get(&place.namespace).and_then(|routes| routes.topics.get(&place.topic));
        let joined = joined.map(Vec::as_slice).unwrap_or_default();
        let key = store.find(now, &place, &commit.retention, !joined.is_empty())?;
        let cost = cost(store.topic(key).admits(&commit)?);
        if joined.iter().any(|(shard, _)| inboxes[*shard].bytes() + cost > INBOX_MAX) {
            return Err(CommitError::Unavailable);
        }
        let drawn = store.draw();
        let told = store.change(key, |stored| stored.commit(now, commit, drawn));
        for (shard, tag) in joined {
            inboxes[*shard].push(match &told {
                Told::Publication(publication) => Event::Publication(*tag, publication.clone()),
                Told::Missed(gap) => Event::Missed(*tag, *gap),
            });
        }
        let position = store.topic(key).tip();
        if let Some(digest) = digest {
            store.repeats.note(now, digest, position);
        }
        Ok(position)
    }

    /// What a newcomer to a joined topic has to know.
    pub(super) fn recover(
        &mut self,
        now: Moment,
        shard: usize,
        tag: Tag,
        asked: Asked,
    ) -> Result<Recovery, CommitError> {
        self.has_room(shard)?;
        let joined = self.remembering.get(&(shard, tag)).ok_or(CommitError::Unavailable)?;
        let key = self.store.find(now, &joined.place, &joined.retention, true)?;
        Ok(self.store.topic(key).recover(asked))
    }

    /// Stored publications of a topic, joined or not.
    pub(super) fn read(&mut self, now: Moment, shard: usize, reading: &Reading) -> Result<Page, CommitError> {
        self.has_room(shard)?;
        let place = Place { namespace: reading.namespace.clone(), topic: reading.topic.clone() };
        let is_heard = self
            .namespaces
            .get(&place.namespace)
            .is_some_and(|routes| routes.topics.contains_key(&place.topic));
        let key = self.store.find(now, &place, &reading.retention, is_heard)?;
        Ok(self.store.topic(key).page(reading.range))
    }

    /// Whether what is asked for may still be put before a shard.
    fn has_room(&self, shard: usize) -> Result<(), CommitError> {
        if self.inboxes[shard].bytes() < INBOX_MAX { Ok(()) } else { Err(CommitError::Unavailable) }
    }
}
