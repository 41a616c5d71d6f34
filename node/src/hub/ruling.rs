//! What the configured rules of topics ask of publications (behaviours T4, T10, T11).

use std::sync::Arc;

use dunlin_protocol::{CloseCode, ErrorCode, Recipients, Topic};
use smallvec::SmallVec;

use super::Hub;
use super::moment::Moment;
use super::publishing::Submission;
use super::refusal::Refusal;
use super::tally::Limit;
use crate::config::{OnInvalid, Retention, TopicRule};
use crate::shaping::{Facts, Unfit};

impl Hub {
    /// Which rule is about a topic of a namespace. Topics somebody here subscribes to know it.
    fn rule_of(&self, namespace: usize, topic: &Topic) -> Option<u32> {
        let namespace = &self.namespaces[namespace];
        if let Some(known) = namespace.topics.get(topic) {
            return self.topics[*known].rule;
        }
        let rule = self.settings.topics.iter().position(|rule| rule.matches(&namespace.name, topic));
        rule.map(|rule| rule as u32)
    }

    /// The retention of a topic, if it remembers.
    pub(super) fn retention_of(&self, namespace: usize, topic: &Topic) -> Option<Arc<Retention>> {
        let rule = self.rule_of(namespace, topic)?;
        if self.settings.session.topic.as_ref() == Some(topic) {
            return None;
        }
        self.settings.topics[rule as usize].retention.clone()
    }

    /// Holds a publish to the rules of its topics: size, rate, shape. Says how the topic remembers, if it does.
    pub(super) fn apply_rules(
        &mut self,
        now: Moment,
        index: usize,
        submission: &mut Submission,
    ) -> Result<Option<Arc<Retention>>, Refusal> {
        if self.settings.topics.is_empty() {
            return Ok(None);
        }
        let topics: &[Topic] = match &submission.to {
            Recipients::Namespace => &[],
            Recipients::Topic(topic) => std::slice::from_ref(topic),
            Recipients::Topics(topics) => topics,
        };
        let namespace = self.peers[index].namespace as usize;
        let mut rules: SmallVec<[u32; 2]> =
            topics.iter().filter_map(|topic| self.rule_of(namespace, topic)).collect();
        if rules.is_empty() {
            return Ok(None);
        }
        rules.sort_unstable();
        rules.dedup();
        let settings = self.settings.clone();
        let mut retention = None;
        for rule in rules {
            self.apply_rule(now, index, (rule, &settings.topics[rule as usize]), submission)?;
            retention = settings.topics[rule as usize].retention.clone().or(retention);
        }
        if let (Some(_), Recipients::Topics(topics)) = (&retention, &submission.to)
            && let [topic] = &topics[..]
        {
            submission.to = Recipients::Topic(topic.clone());
        }
        Ok(retention)
    }

    fn apply_rule(
        &mut self,
        now: Moment,
        index: usize,
        (number, rule): (u32, &TopicRule),
        submission: &mut Submission,
    ) -> Result<(), Refusal> {
        if submission.payload.bytes.len() > rule.payload {
            return Err(Refusal::new(ErrorCode::TooLarge, "payload is larger than the topic allows"));
        }
        self.take_share(now, index, number, rule.rate)?;
        let Some(shape) = &rule.shape else { return Ok(()) };
        let facts = Facts { peer: self.peers[index].id, user: None, info: None, now_ms: now.micros() / 1000 };
        match shape.apply(&submission.payload, &facts) {
            Ok(payload) => submission.payload = payload,
            Err(unfit) => return Err(self.react(now, index, rule.on_invalid, unfit)),
        }
        Ok(())
    }

    /// Takes a token of what one peer may publish on the topics of a rule.
    fn take_share(&mut self, now: Moment, index: usize, rule: u32, rate: u32) -> Result<(), Refusal> {
        if rate == 0 {
            return Ok(());
        }
        let shares = &mut self.peers[index].shares;
        let place = shares.iter().position(|(of, _)| *of == rule).unwrap_or_else(|| {
            shares.push((rule, super::Bucket::default()));
            shares.len() - 1
        });
        if shares[place].1.take(now, rate) {
            return Ok(());
        }
        self.tally.limited(Limit::TopicRate);
        let refusal = Refusal::new(ErrorCode::Rate, "too many publishes a second on the topic");
        Err(if self.note_flood(now, index) { refusal } else { refusal.silenced() })
    }

    /// What a publisher gets whose payload does not fit (T11).
    fn react(&mut self, now: Moment, index: usize, reaction: OnInvalid, unfit: Unfit) -> Refusal {
        let refusal = Refusal::new(ErrorCode::InvalidPayload, unfit.message);
        match reaction {
            OnInvalid::Error => refusal,
            OnInvalid::Silent => refusal.silenced(),
            OnInvalid::Close => {
                let key = self.peers[index].key(index);
                self.close(now, key, CloseCode::POLICY, "the payload does not fit the topic");
                refusal.silenced()
            }
        }
    }
}
