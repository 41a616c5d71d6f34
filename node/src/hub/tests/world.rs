//! A cluster in one thread: hubs, the memory broker, a virtual clock, and peers whose sockets do as told.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_protocol::{CloseCode, Incarnation, Namespace, PeerId, Recipients};

use super::wire::{self, Socket};
use crate::broker::{Broker, Command, Event, MemoryBroker};
use crate::config::{Config, Flags, PathParams};
use crate::exchange;
use crate::history::Commit;
use crate::hub::{Arrival, Effect, Hub, Message, Moment, PeerKey, Settings, Tally, Variables};
use crate::publication::Dialect;

/// Who is talked about: a place in the world's list of peers.
pub type Who = usize;

/// One peer, seen from outside.
pub struct Client {
    pub hub: usize,
    pub key: PeerKey,
    pub socket: Socket,
    /// What it sent that was not read yet, because its opening is not complete.
    unread: VecDeque<Message>,
    /// Whether the hub asked for its end.
    pub terminated: bool,
}

pub struct World {
    pub now: Moment,
    pub hubs: Vec<Hub>,
    pub clients: Vec<Client>,
    /// Where in the list each hub's peer is.
    places: HashMap<(usize, PeerKey), Who>,
    /// Payloads in the order in which the broker got them.
    pub submitted: Vec<Bytes>,
    /// The first number in each payload that was committed, by topic, in the order in which the broker got them.
    pub committed: HashMap<String, Vec<usize>>,
    broker: MemoryBroker,
    inboxes: Vec<VecDeque<Event>>,
    effects: Vec<Effect>,
}

/// Settings from the words of a configuration file; `/**` with everything allowed if it names no endpoint.
pub fn settings(toml: &str) -> Settings {
    let flags = Flags { config: Some("dunlin.toml".into()), ..Flags::default() };
    let config =
        Config::load(&flags, [], &|_| Ok(toml.to_owned())).expect("the test's configuration is good");
    Settings {
        outbox_total: config.limits.outbox_total.bytes(),
        endpoints: config.endpoints,
        limits: config.limits,
        session: config.session,
        topics: config.topics,
        resume: config.resume,
        node: "node".to_owned(),
        incarnation: Incarnation(0x0123_4567_89ab_cdef),
    }
}

impl World {
    /// One hub with the given configuration.
    pub fn new(toml: &str) -> Self {
        Self::of(1, &Arc::new(settings(toml)), 1)
    }

    /// Two hubs with the given configuration.
    pub fn two(toml: &str) -> Self {
        Self::of(2, &Arc::new(settings(toml)), 1)
    }

    pub fn of(hubs: usize, settings: &Arc<Settings>, seed: u64) -> Self {
        let now = Moment::from_millis(1_700_000_000_000);
        let broker = MemoryBroker::default();
        let attach = |_| broker.attach(Arc::new(|| ())) as u8;
        let shards: Vec<u8> = (0..hubs).map(attach).collect();
        let hub = |shard| Hub::new(settings.clone(), shard, now, seed);
        Self {
            now,
            hubs: shards.into_iter().map(hub).collect(),
            clients: Vec::new(),
            places: HashMap::new(),
            submitted: Vec::new(),
            committed: HashMap::new(),
            broker,
            inboxes: vec![VecDeque::new(); hubs],
            effects: Vec::new(),
        }
    }

    /// A peer arrives; nothing has been done about it yet.
    pub fn arrive(&mut self, hub: usize, arrival: Arrival) -> Who {
        let key = self.hubs[hub].open(self.now, arrival).expect("a test's hub is never full");
        let (socket, unread) = (Socket::default(), VecDeque::new());
        self.clients.push(Client { hub, key, socket, unread, terminated: false });
        let who = self.clients.len() - 1;
        self.places.insert((hub, key), who);
        who
    }

    /// A plain peer of the first endpoint in `/ws` opens, and is told what it is told.
    pub fn join(&mut self, hub: usize) -> Who {
        self.join_as(hub, 0, Dialect::Plain)
    }

    /// A peer that has been told all, and whose words so far are forgotten.
    pub fn join_as(&mut self, hub: usize, endpoint: u16, dialect: Dialect) -> Who {
        let who = self.arrive(hub, arrival(endpoint, dialect));
        self.settle();
        self.heard(who);
        who
    }

    /// The peer sends text, which is read once its opening is complete.
    pub fn say(&mut self, who: Who, text: &str) {
        self.send(who, Message::Text(Bytes::copy_from_slice(text.as_bytes())));
    }

    pub fn send(&mut self, who: Who, message: Message) {
        self.clients[who].unread.push_back(message);
        self.read(who);
    }

    /// Sends a frame so often that one read takes them all.
    pub fn say_at_once(&mut self, who: Who, times: usize, text: &str) {
        let message = Message::Text(Bytes::copy_from_slice(text.as_bytes()));
        self.clients[who].unread.extend(std::iter::repeat_n(message, times));
        self.read(who);
    }

    fn read(&mut self, who: Who) {
        let client = &mut self.clients[who];
        let hub = &mut self.hubs[client.hub];
        // What was sent together is read together.
        if hub.may_be_read(client.key) {
            for message in client.unread.drain(..) {
                hub.receive(self.now, client.key, message);
            }
        }
    }

    /// The peer's connection is gone.
    pub fn lose(&mut self, who: Who) {
        let Client { hub, key, .. } = self.clients[who];
        self.hubs[hub].remove(self.now, key);
    }

    /// The peer's socket takes only so many bytes more.
    pub fn block(&mut self, who: Who, room: usize) {
        self.clients[who].socket.room = room;
    }

    /// The peer's socket takes everything again.
    pub fn unblock(&mut self, who: Who) {
        let Client { hub, key, socket, .. } = &mut self.clients[who];
        socket.room = usize::MAX;
        self.hubs[*hub].flush_one(*key, |_, write| socket.write(write));
    }

    /// What one turn of a shard does, as its driver does it.
    pub fn turn(&mut self, hub: usize) {
        self.hubs[hub].timeout(self.now);
        self.hubs[hub].shed(self.now);
        self.carry_out(hub);
        if self.inboxes[hub].is_empty() {
            self.broker.collect(hub, &mut self.inboxes[hub]);
        }
        self.take_in(hub);
        self.hubs[hub].shed(self.now);
        self.carry_out(hub);
        self.flush(hub);
    }

    fn carry_out(&mut self, hub: usize) {
        let mut effects = std::mem::take(&mut self.effects);
        let mut commands = Vec::new();
        self.hubs[hub].take_effects(&mut effects);
        for effect in effects.drain(..) {
            let command = match exchange::command(effect) {
                Ok(command) => command,
                Err(effect) => {
                    self.obey(hub, effect);
                    continue;
                }
            };
            if let Command::Publish(_, envelope) = &command {
                self.submitted.push(envelope.payload.bytes.clone());
            }
            if let Command::Commit(_, commit) = &command {
                self.note_commit(commit);
            }
            commands.push(command);
        }
        self.effects = effects;
        self.broker.submit(hub, &mut commands);
    }

    fn note_commit(&mut self, commit: &Commit) {
        let Recipients::Topic(topic) = &commit.envelope.to else { panic!("a commit is for one topic") };
        let text = String::from_utf8_lossy(&commit.envelope.payload.bytes).into_owned();
        let text = text.split_once(':').map_or(&*text, |(_, value)| value);
        let digits: String =
            text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        if let Ok(number) = digits.parse() {
            self.committed.entry(topic.as_str().to_owned()).or_default().push(number);
        }
    }

    fn obey(&mut self, hub: usize, effect: Effect) {
        match effect {
            Effect::Read(key) => self.read(self.who(hub, key)),
            Effect::Close { peer, code, reason } => {
                self.hubs[hub].send_control(peer, &wire::close(code, reason));
            }
            Effect::Terminate(key) => {
                let who = self.who(hub, key);
                self.clients[who].terminated = true;
            }
            other => panic!("the broker obeys {other:?}"),
        }
    }

    fn take_in(&mut self, hub: usize) {
        let (inbox, hub) = (&mut self.inboxes[hub], &mut self.hubs[hub]);
        let is_copy =
            |next: &Event| matches!(next, Event::Publication(_, copy) if !copy.earlier_topics().is_empty());
        while !hub.is_full() || inbox.front().is_some_and(is_copy) {
            let Some(event) = inbox.pop_front() else { return };
            exchange::tell(hub, event);
        }
    }

    fn flush(&mut self, hub: usize) {
        let (clients, places) = (&mut self.clients, &self.places);
        self.hubs[hub].flush(|key, write| clients[places[&(hub, key)]].socket.write(write));
    }

    fn who(&self, hub: usize, key: PeerKey) -> Who {
        self.places[&(hub, key)]
    }

    /// Turns every hub until nobody has anything to do.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            for hub in 0..self.hubs.len() {
                self.turn(hub);
            }
            if self.is_quiet() {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    fn is_quiet(&mut self) -> bool {
        for (hub, inbox) in self.inboxes.iter_mut().enumerate() {
            self.broker.collect(hub, inbox);
        }
        self.inboxes.iter().all(VecDeque::is_empty) && !self.hubs.iter().any(Hub::has_work)
    }

    /// Lets time pass, doing what falls due when it is due.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        self.settle();
        while let Some(next) =
            self.hubs.iter_mut().filter_map(Hub::next_timeout).min().filter(|next| *next <= end)
        {
            self.now = next.max(self.now);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    pub fn pass_ms(&mut self, millis: u64) {
        self.pass(Duration::from_millis(millis));
    }

    /// The frames the peer got since the last call.
    pub fn heard(&mut self, who: Who) -> Vec<String> {
        self.clients[who].socket.frames()
    }

    /// What the peer hears when it says something and everybody has listened.
    pub fn answers(&mut self, who: Who, text: &str) -> Vec<String> {
        self.say(who, text);
        self.settle();
        self.heard(who)
    }

    /// What each of several peers heard when everybody has listened.
    pub fn all_heard<const N: usize>(&mut self, peers: [Who; N]) -> [Vec<String>; N] {
        self.settle();
        peers.map(|who| self.heard(who))
    }

    /// A sign of life without a message, such as a pong.
    pub fn pong(&mut self, who: Who) {
        let Client { hub, key, .. } = self.clients[who];
        self.hubs[hub].heard(self.now, key);
    }

    /// The peer says Close.
    pub fn say_close(&mut self, who: Who) {
        let Client { hub, key, .. } = self.clients[who];
        self.hubs[hub].closed(self.now, key, CloseCode::NORMAL);
    }

    pub fn hub(&mut self, who: Who) -> &mut Hub {
        &mut self.hubs[self.clients[who].hub]
    }

    pub fn key(&self, who: Who) -> PeerKey {
        self.clients[who].key
    }

    pub fn id(&self, who: Who) -> PeerId {
        self.hubs[self.clients[who].hub].id(self.key(who)).expect("it is there")
    }

    /// What a hub counted since the last call.
    pub fn tally(&mut self, hub: usize) -> Tally {
        let mut tally = Tally::default();
        self.hubs[hub].take_tally(&mut tally);
        tally
    }

    /// Ends every connection and makes sure that nothing of them is left.
    pub fn end(&mut self) {
        for who in 0..self.clients.len() {
            self.lose(who);
        }
        self.settle();
        for hub in &self.hubs {
            let left = (hub.peer_count(), hub.topic_count(), hub.subscription_count(), hub.owed());
            assert_eq!(left, (0, 0, 0, 0), "peers, topics, subscriptions, bytes owed");
            assert!(hub.tickets.is_empty() && hub.peers.is_empty() && !hub.has_work());
            assert!(!hub.is_full());
        }
    }
}

/// Who arrives in `/ws`, without variables.
pub fn arrival(endpoint: u16, dialect: Dialect) -> Arrival {
    arrival_in("/ws", endpoint, dialect)
}

pub fn arrival_in(namespace: &str, endpoint: u16, dialect: Dialect) -> Arrival {
    let namespace = Namespace::parse(namespace).expect("a good namespace");
    Arrival { endpoint, namespace, dialect, variables: None }
}

/// Variables of the query, as pairs.
pub fn query(pairs: &[(&str, &str)]) -> Variables {
    let owned = |pair: &(&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
    let query = pairs.iter().map(owned).collect();
    Variables { path: PathParams::default(), query }
}

/// The frame a peer that speaks of topics gets.
pub fn publication(topic: &str, payload: &str) -> String {
    format!(r#"{{"topic":"{topic}","payload":{payload}}}"#)
}

/// The frame that publishes.
pub fn publish(topic: &str, payload: &str) -> String {
    format!(r#"{{"type":"publish","topic":"{topic}","payload":{payload}}}"#)
}

pub fn subscribe(topic: &str) -> String {
    format!(r#"{{"type":"subscribe","topic":"{topic}"}}"#)
}

pub fn unsubscribe(topic: &str) -> String {
    format!(r#"{{"type":"unsubscribe","topic":"{topic}"}}"#)
}
