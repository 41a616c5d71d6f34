//! How the two connections come up, are watched, and go (redis.md 0.5, 0.7).

use std::time::Duration;

use super::link::{Expect, Which};
use super::machine::{Action, Machine};
use super::resp::Reply;
use super::script::Script;
use super::tally::{Local, News};
use crate::hub::{Moment, Reach};

/// Where the pair of connections is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// None, until the next attempt.
    Resting {
        /// When that is.
        until: Moment,
    },
    /// Being opened.
    Dialing {
        /// Since when.
        since: Moment,
    },
    /// Introductions: so many answers are awaited.
    Greeting {
        /// Since when.
        since: Moment,
        /// How many.
        awaited: usize,
    },
    /// The old connection's commands are being made impossible.
    Fencing {
        /// Since when.
        since: Moment,
    },
    /// The heartbeat's channel is being subscribed to, then the first heartbeat is on its way: from one connection
    /// to the other, by the same server.
    Proving {
        /// Since when.
        since: Moment,
    },
    /// All is well.
    Up,
}

/// How the pair is watched while it is up.
#[derive(Debug, Default)]
pub struct Audit {
    /// When the next heartbeat is due.
    beat_at: Moment,
    /// When the last one came back.
    heard_at: Moment,
    /// Tells this pair from the ones before.
    serial: u64,
    /// How often in a row Redis knew another number of subscriptions.
    mismatches: u32,
    /// When the pair came up.
    pub up_at: Moment,
}

/// How long coming up may take, step by step.
const PATIENCE: Duration = Duration::from_secs(3);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A turn that comes so late shows that this process stood still, not Redis.
const STALL: Duration = Duration::from_millis(1500);

impl Machine {
    /// Every so often the pair proves that it works; three in a row that fail end it. Quicker for short leases,
    /// so that a new pair is there before the lease is over.
    fn beat(&self) -> Duration {
        (self.lease.ttl() / 4).min(Duration::from_secs(1))
    }

    /// Both connections are open.
    pub fn connected(&mut self, now: Moment) {
        if !matches!(self.phase, Phase::Dialing { .. }) {
            return;
        }
        self.refused = None;
        self.audit.serial += 1;
        self.greet(now, Which::Bus);
        self.greet(now, Which::Work);
        self.phase = Phase::Greeting { since: now, awaited: self.bus.unanswered() + self.work.unanswered() };
    }

    fn greet(&mut self, now: Moment, which: Which) {
        let settings = self.settings.clone();
        let (link, name) = match which {
            Which::Bus => (&mut self.bus, &b"dunlin-bus"[..]),
            Which::Work => (&mut self.work, &b"dunlin-work"[..]),
        };
        match &settings.login {
            Some((user, password)) => {
                let login = [
                    b"HELLO",
                    &b"3"[..],
                    b"AUTH",
                    user.as_bytes(),
                    password.reveal().as_bytes(),
                    b"SETNAME",
                    name,
                ];
                link.call(now, Expect::Role, &login);
            }
            None => link.call(now, Expect::Role, &[b"HELLO", b"3", b"SETNAME", name]),
        }
        if settings.database != 0 {
            link.call(now, Expect::Greeting, &[b"SELECT", settings.database.to_string().as_bytes()]);
        }
        if which == Which::Work {
            link.call(now, Expect::Identity, &[b"CLIENT", b"INFO"]);
            self.load_scripts(now);
        }
    }

    /// Loads all scripts, on a new link and when Redis has forgotten them.
    pub(super) fn load_scripts(&mut self, now: Moment) {
        for (script, body) in Script::ALL.into_iter().zip(&self.bodies) {
            self.work.call(now, Expect::Loaded(script), &[b"SCRIPT", b"LOAD", body.as_bytes()]);
        }
    }

    /// One answer of the introductions has come.
    pub(super) fn greeted(&mut self, now: Moment) {
        let Phase::Greeting { since, awaited } = self.phase else { return };
        if awaited > 1 {
            self.phase = Phase::Greeting { since, awaited: awaited - 1 };
            return;
        }
        let Some((id, address)) = self.fence_against.clone() else {
            // Nobody knows who the old connection was, so what it left may still run.
            self.give_up_flights(now, false);
            return self.prove(now);
        };
        self.phase = Phase::Fencing { since: now };
        // Both must match: after a restart the same id is somebody else.
        let kill: [&[u8]; 6] = [b"CLIENT", b"KILL", b"ID", id.as_bytes(), b"ADDR", address.as_bytes()];
        self.work.call(now, Expect::Fence, &kill);
    }

    /// What the old connection left unanswered can't run any more, or may for all that is known.
    pub(super) fn fenced_off(&mut self, now: Moment, reply: &Reply) {
        self.give_up_flights(now, matches!(reply, Reply::Number(_)));
        self.prove(now);
    }

    /// Sends again what has no answer, if it is `safe`; gives up the rest.
    fn give_up_flights(&mut self, now: Moment, safe: bool) {
        let lanes = self.lanes.iter_mut();
        let given_up = lanes.map(|lane| if safe { lane.send_again(now) } else { lane.abandon() }).sum();
        self.tally.local(Local::Unknown, given_up);
        self.repeat_commits(now, safe);
    }

    fn prove(&mut self, now: Moment) {
        self.phase = Phase::Proving { since: now };
        self.subscribe(now);
    }

    /// Sends what this node's own ear has to hear, which must be open by then.
    pub(super) fn send_heartbeat(&mut self, now: Moment) {
        let channel = self.settings.names.heartbeat_channel(self.settings.incarnation);
        let serial = self.audit.serial.to_string();
        self.work.call(now, Expect::Heartbeat, &[b"PUBLISH", channel.as_bytes(), serial.as_bytes()]);
    }

    /// This node heard itself: from one end of the pair to the other, through one server.
    pub(super) fn heartbeat_heard(&mut self, now: Moment, serial: &[u8]) {
        if serial != self.audit.serial.to_string().as_bytes() {
            return; // An earlier pair's, executed late.
        }
        self.audit.heard_at = now;
        if !matches!(self.phase, Phase::Proving { .. }) {
            return;
        }
        self.phase = Phase::Up;
        self.attempts = 0;
        self.trouble = None;
        self.audit.mismatches = 0;
        self.audit.beat_at = now + self.beat();
        self.audit.up_at = now;
        self.fence_against.clone_from(&self.identity);
        self.tally.news.push(News::Up);
        self.resume_counts(now);
        self.agree_on_secret(now);
        self.note_reach();
    }

    /// The other nodes are reached once everything that is wanted is heard again.
    pub(super) fn note_reach(&mut self) {
        if self.is_up() && self.channels.is_settled() {
            self.set_reach(Reach::Cluster);
        }
    }

    /// A connection ended, or could not be opened.
    pub fn lost(&mut self, now: Moment, reason: &str) {
        if matches!(self.phase, Phase::Resting { .. }) {
            return;
        }
        let was_up = self.phase == Phase::Up;
        self.actions.push_back(Action::Disconnect);
        self.trouble = Some(reason.to_owned());
        let most = (BACKOFF_MIN * 2_u32.pow(self.attempts.min(6))).min(BACKOFF_MAX);
        let wait = most.mul_f64(0.5 + 0.5 * self.chance.part());
        self.attempts += 1;
        self.phase = Phase::Resting { until: now + wait };
        self.bus = super::link::Link::default();
        self.work = super::link::Link::default();
        self.tally.news.push(if was_up {
            News::Lost(reason.to_owned())
        } else {
            News::Failed(reason.to_owned())
        });
        self.channels.lost();
        if was_up {
            self.hold_counts(now);
        } else {
            self.assume_counts();
        }
        self.lose_flights();
        self.lose_commits();
        self.lose_feeds(now);
        self.tell_untold();
        self.set_reach(Reach::Node);
    }

    /// This process stood still: what did not come back meanwhile is not Redis' fault.
    pub(super) fn note_stall(&mut self, now: Moment) {
        if self.phase == Phase::Up && now.since(self.turned_at) > STALL {
            self.audit.heard_at = self.audit.heard_at.max(now);
        }
        self.turned_at = now;
    }

    pub(super) fn advance_pair(&mut self, now: Moment) {
        match self.phase {
            Phase::Resting { until } if until <= now => {
                self.phase = Phase::Dialing { since: now };
                self.actions.push_back(Action::Connect);
            }
            Phase::Dialing { since }
            | Phase::Greeting { since, .. }
            | Phase::Fencing { since }
            | Phase::Proving { since }
                if since + PATIENCE <= now =>
            {
                self.lost(now, "redis does not answer");
            }
            Phase::Up if self.audit.heard_at + self.beat() * 3 < now => {
                self.lost(now, "three heartbeats are missing");
            }
            Phase::Up if self.audit.beat_at <= now => self.watch(now),
            _ => {}
        }
    }

    fn watch(&mut self, now: Moment) {
        self.audit.beat_at = now + self.beat();
        self.send_heartbeat(now);
        self.work.call(now, Expect::Role, &[b"HELLO"]);
        self.bus.call(now, Expect::Role, &[b"HELLO"]);
        self.bus.call(now, Expect::Audit, &[b"CLIENT", b"INFO"]);
        self.windows.forget_silent(now);
    }

    /// When the pair wants attention.
    pub(super) fn pair_deadline(&self) -> Moment {
        match self.phase {
            Phase::Resting { until } => until,
            Phase::Dialing { since }
            | Phase::Greeting { since, .. }
            | Phase::Fencing { since }
            | Phase::Proving { since } => since + PATIENCE,
            Phase::Up => {
                self.audit.beat_at.min(self.audit.heard_at + self.beat() * 3 + Duration::from_millis(1))
            }
        }
    }

    /// Only a master decides anything.
    pub(super) fn check_role(&mut self, now: Moment, reply: &Reply) {
        match (reply, reply.value("role").and_then(Reply::text)) {
            (Reply::Error(error), _) => self.lost(now, &format!("redis refuses the greeting: {error}")),
            (_, Some("master")) => self.greeted(now),
            (_, role) => self.lost(now, &format!("redis is a {} here, not the master", role.unwrap_or("?"))),
        }
    }

    /// Redis must know as many subscriptions as it has confirmed.
    pub(super) fn check_subscriptions(&mut self, now: Moment, reply: &Reply) {
        let field = |name: &str| field(reply, name)?.parse::<usize>().ok();
        // It may not be allowed to ask; then the heartbeat has to do.
        let (Some(channels), shards) = (field("sub"), field("ssub")) else { return };
        if channels + shards.unwrap_or(0) == self.channels.subscribed() {
            self.audit.mismatches = 0;
            return;
        }
        self.audit.mismatches += 1;
        if self.audit.mismatches == 2 {
            self.lost(now, "redis has lost subscriptions");
        }
    }

    /// Our own connection, as Redis sees it.
    pub(super) fn note_identity(&mut self, now: Moment, reply: &Reply) {
        let both = field(reply, "id").zip(field(reply, "addr"));
        self.identity = both.map(|(id, address)| (id.to_owned(), address.to_owned()));
        self.greeted(now);
    }

    /// What keeps this node from the others, if it has for long enough to matter (redis 9.2).
    pub(super) fn trouble_at(&self, now: Moment) -> Option<String> {
        let silent = now.since(self.audit.heard_at);
        if self.audit.heard_at == Moment::default() {
            return self.trouble.clone();
        }
        if silent > self.beat() * 3 {
            let reason = self.trouble.as_deref().unwrap_or("no heartbeat");
            return Some(format!("{reason}; the last heartbeat was {} s ago", silent.as_secs()));
        }
        if self.phase == Phase::Up
            && !self.lease.is_fresh(now)
            && now.since(self.audit.up_at) > self.lease.ttl()
        {
            return Some("the lease can't be renewed".to_owned());
        }
        self.refused.clone()
    }
}

/// The value of a field in the answer of `CLIENT INFO`.
fn field<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    let mut fields = reply.text()?.split_ascii_whitespace().filter_map(|field| field.split_once('='));
    fields.find(|(key, _)| *key == name).map(|(_, value)| value)
}
