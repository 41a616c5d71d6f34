//! The fake and a real Redis are told the same, and answer the same.

use std::collections::BTreeSet;
use std::net::TcpStream;

use super::super::resp::Word;
use super::super::{Connection, Fake, Role, commands};
use super::sequence::{Author, Step};
use super::snippets::{COUNT, REGISTRY, TICK};
use super::values::{Value, agree, parse_all};
use super::{request, words};
use crate::broker::redis::tests::server::{Server, exchange};

/// How many sequences, and how many steps each has.
const SEEDS: u64 = 200;
const STEPS: usize = 100;
/// The keys that these sequences touch.
const KEYS: &[&str] = &[
    "k0", "k1", "k2", "h0", "h1", "h2", "h9", "l0", "l1", "l2", "z0", "z1", "z2", "s0", "s1", "s2", "s9",
    "live", "gone", "meta",
];
/// Clients that act; one more only looks.
pub const CLIENTS: usize = 3;
/// The one that hears what is published.
const LISTENER: usize = 1;

/// Both servers, and clients that are connected to both.
pub struct Twins<'a> {
    real: &'a Server,
    fake: Fake,
    clients: Vec<Client>,
    /// Looks at the real server without being seen.
    watcher: TcpStream,
    /// How often somebody asked for a sign that everything has come.
    signs: usize,
    /// The commands that were answered, and not with an error.
    answered: BTreeSet<&'static str>,
}

/// One client, of both servers.
struct Client {
    socket: TcpStream,
    connection: Connection,
    real: Identity,
    fake: Identity,
}

/// What a server calls a client.
#[derive(Default)]
struct Identity {
    id: String,
    address: String,
}

/// What both have said.
type Answers = (Vec<u8>, Vec<u8>);

impl<'a> Twins<'a> {
    pub fn new(real: &'a Server) -> Self {
        let (watcher, fake) = (real.connect(), Fake::new());
        let mut twins =
            Self { real, fake, clients: Vec::new(), watcher, signs: 0, answered: BTreeSet::new() };
        for command in ["flushall", "script flush", "config set maxmemory-policy noeviction"] {
            twins.watch(command);
        }
        twins.set_clock();
        twins.clients = (0..CLIENTS).map(|_| twins.new_client()).collect();
        twins
    }

    /// Asks the real server behind the clients' backs.
    pub fn watch(&mut self, command: &str) -> Value {
        self.tell_real(&words(command))
    }

    /// Says something that has spaces in its words to the real server alone.
    pub fn tell_real(&mut self, words: &[Word]) -> Value {
        let is_whole = |bytes: &[u8]| !parse_all(bytes).is_empty();
        let bytes = exchange(&mut self.watcher, &request(words), is_whole);
        parse_all(&bytes).remove(0)
    }

    fn new_client(&mut self) -> Client {
        let (socket, connection) = (self.real.connect(), self.fake.connect());
        let mut client = Client { socket, connection, real: Identity::default(), fake: Identity::default() };
        let (real, fake) = self.ask(&mut client, &request(&words("client info")), &[]);
        client.real = Identity::of(&real);
        client.fake = Identity::of(&fake);
        client
    }

    /// Makes the fake's clock that of the real one.
    fn set_clock(&mut self) {
        let time = self.watch("time");
        let part = |place: usize| -> u64 {
            let text = time.items()[place].text().expect("a number is text");
            String::from_utf8_lossy(text).parse().expect("it is a number")
        };
        self.fake.set_now(part(0) * 1_000_000 + part(1));
    }

    /// Says something to both, the fake gets it in pieces, and takes all that both have said by then.
    fn ask(&mut self, client: &mut Client, bytes: &[u8], fake_bytes: &[u8]) -> Answers {
        self.signs += 1;
        let sign = format!("sign-{}", self.signs);
        let ping = request(&words(&format!("ping {sign}")));
        let end = format!("{sign}\r\n");
        let ends = |bytes: &[u8]| {
            bytes.ends_with(end.as_bytes())
                && parse_all(bytes).last().is_some_and(|value| is_sign(value, sign.as_bytes()))
        };
        let real = exchange(&mut client.socket, &[bytes, &ping].concat(), ends);
        let fake_bytes = if fake_bytes.is_empty() { bytes } else { fake_bytes };
        // A large command in few pieces, because each reads it from its start.
        let piece_length = (1 + self.signs % 90).max(fake_bytes.len() / 32);
        for piece in [fake_bytes, &ping].concat().chunks(piece_length) {
            self.fake.receive(client.connection, piece);
        }
        let mut fake = Vec::new();
        self.fake.take(client.connection, &mut fake);
        (real, fake)
    }

    /// One client does one thing.
    fn act(&mut self, who: usize, step: &Step) {
        if !self.is_here(who) {
            return self.replace(who);
        }
        match step {
            Step::Say(words) => self.say(who, words),
            Step::Scan(key, count) => self.scan(who, key, count),
            Step::Babble(bytes) => self.babble(who, bytes),
            Step::Leave => self.leave(who),
        }
    }

    /// Says a command to both, which must answer the same.
    fn say(&mut self, who: usize, words: &[Word]) {
        self.hear(who, words);
    }

    /// Says a command to both, and returns what the real one has said since the last; at the end of it the
    /// answer and the sign.
    pub fn hear(&mut self, who: usize, words: &[Word]) -> Vec<Value> {
        let (real_words, fake_words) =
            (self.named(words, |client| &client.real), self.named(words, |client| &client.fake));
        let (real, fake) =
            self.both(who, |twins, client| twins.ask(client, &request(&real_words), &request(&fake_words)));
        self.compare(who, words, &real, &fake);
        self.note(words, &real);
        parse_all(&real)
    }

    /// What both answer, as texts: those of a list, or one.
    pub fn answer(&mut self, words: &[Word]) -> Vec<String> {
        let mut values = self.hear(0, words);
        values.pop();
        match values.pop().expect("every command has an answer") {
            Value::List(_, items) => items.iter().map(Value::shown).collect(),
            value => vec![value.shown()],
        }
    }

    /// What a command without spaces in its words answers.
    pub fn ask_for(&mut self, command: &str) -> Vec<String> {
        self.answer(&words(command))
    }

    /// Which commands the real server runs for one script, with how often, sorted.
    pub fn commands_of(&mut self, script: &[Word]) -> Vec<String> {
        self.watch("config resetstat");
        self.answer(script);
        let statistics = self.watch("info commandstats");
        let text = String::from_utf8_lossy(statistics.text().expect("it is text")).into_owned();
        let ours = ["ping", "eval", "info", "config|resetstat"];
        let calls = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let calls = rest.split(',').next()?;
            (!ours.contains(&name)).then(|| format!("{name} {calls}"))
        };
        let mut calls: Vec<String> = text.lines().filter_map(calls).collect();
        calls.sort_unstable();
        calls
    }

    /// Lets another client hear what is published from now on.
    pub fn listen(&mut self, channel: &str) {
        for command in ["hello 3".to_owned(), format!("subscribe {channel}")] {
            self.say(LISTENER, &words(&command));
        }
    }

    /// What that client has heard.
    pub fn heard(&mut self) -> Vec<Word> {
        let heard = self.hear(LISTENER, &words("ping"));
        let message = |value: &Value| match value.items() {
            [kind, _, message] if kind.text() == Some(b"message") => message.text().map(<[u8]>::to_vec),
            _ => None,
        };
        heard.iter().filter_map(message).collect()
    }

    /// Remembers which commands were answered well; the last answer is the sign.
    fn note(&mut self, words: &[Word], answer: &[u8]) {
        let values = parse_all(answer);
        let is_good = !matches!(values.iter().rev().nth(1), Some(Value::Line(b'-', _)));
        if let (Ok(command), true) = (commands::find(words), is_good) {
            self.answered.insert(command.name);
        }
    }

    fn compare(&self, who: usize, words: &[Word], real: &[u8], fake: &[u8]) {
        if real == fake {
            return;
        }
        let client = &self.clients[who];
        let real_values = client.real.masked(words, parse_all(real));
        let fake_values = client.fake.masked(words, parse_all(fake));
        // What others have published came before the answer, and must be the same.
        let answers = real_values.iter().zip(&fake_values).position(|(real, fake)| real != fake).unwrap_or(0);
        let last = real_values.len().saturating_sub(1);
        let is_same = real_values.len() == fake_values.len()
            && real_values.last() == fake_values.last()
            && agree(words, &real_values[answers..last], &fake_values[answers..last]);
        assert!(is_same, "{}\nreal {}\nfake {}", show(&request(words)), show(real), show(fake));
    }

    /// Names clients as one of the servers does.
    fn named(&self, words: &[Word], identity: impl Fn(&Client) -> &Identity) -> Vec<Word> {
        let name = |word: &Word| {
            let of = |(who, client)| {
                let identity: &Identity = identity(client);
                let is = |what: &str| *word == format!("{{{what}{who}}}").into_bytes();
                let address = is("addr").then_some(&identity.address);
                is("id").then_some(&identity.id).or(address).cloned()
            };
            self.clients.iter().enumerate().find_map(of).map_or_else(|| word.clone(), String::into_bytes)
        };
        words.iter().map(name).collect()
    }

    /// Lends a client while both are asked.
    fn both<R>(&mut self, who: usize, ask: impl FnOnce(&mut Self, &mut Client) -> R) -> R {
        let mut client = self.clients.remove(who);
        let answer = ask(self, &mut client);
        self.clients.insert(who, client);
        answer
    }

    /// Walks through a set on both, each by its own cursors.
    fn scan(&mut self, who: usize, key: &Word, count: &Word) {
        let (mut in_real, mut in_fake) = (Walk::default(), Walk::default());
        while !(in_real.is_over() && in_fake.is_over()) {
            let (real, fake) = (in_real.next_page(key, count), in_fake.next_page(key, count));
            let (real, fake) = self.both(who, |twins, client| twins.ask(client, &real, &fake));
            self.note(&words("sscan"), &real);
            assert_eq!(in_real.take(&real), in_fake.take(&fake), "what was pushed before the page");
        }
        assert_eq!(in_real.found, in_fake.found, "what a walk through {} finds", show(key));
    }

    /// Both say what is wrong and close.
    fn babble(&mut self, who: usize, bytes: &[u8]) {
        let client = &mut self.clients[who];
        let real = exchange(&mut client.socket, bytes, |_| false);
        self.fake.receive(client.connection, bytes);
        let mut fake = Vec::new();
        self.fake.take(client.connection, &mut fake);
        assert_eq!(show(&real), show(&fake), "to {}", show(bytes));
        assert!(!self.fake.is_open(client.connection), "the fake has closed, too");
        self.clients[who] = self.new_client();
    }

    fn leave(&mut self, who: usize) {
        self.fake.disconnect(self.clients[who].connection);
        let id = self.clients[who].real.id.clone();
        let fresh = self.new_client();
        self.clients[who] = fresh;
        let is_gone = |twins: &mut Self| twins.watch(&format!("client list id {id}")).text() == Some(b"");
        assert!((0..100_000).any(|_| is_gone(self)), "the real server notices that a client has gone");
    }

    fn is_here(&self, who: usize) -> bool {
        self.fake.is_open(self.clients[who].connection)
    }

    /// Somebody was killed: the real server has closed, too, and both have said the same before.
    fn replace(&mut self, who: usize) {
        let client = &mut self.clients[who];
        let real = exchange(&mut client.socket, b"", |_| false);
        let mut fake = Vec::new();
        self.fake.take(client.connection, &mut fake);
        assert_eq!(show(&real), show(&fake), "what a killed client got before");
        self.clients[who] = self.new_client();
    }

    /// All that is stored is the same, and all that was pushed has arrived.
    pub fn check(&mut self, keys: &[&str]) {
        let looks: Vec<String> = keys
            .iter()
            .flat_map(|key| {
                ["get", "hgetall", "smembers", "pttl"]
                    .map(|name| format!("{name} {key}"))
                    .into_iter()
                    .chain([format!("zrange {key} 0 -1 withscores"), format!("lrange {key} 0 -1")])
            })
            .collect();
        for who in 0..CLIENTS {
            let closing = ["hello 3", "unsubscribe", "client info", "dbsize"].map(str::to_owned);
            for command in closing.iter().chain(if who == 0 { looks.as_slice() } else { &[] }) {
                self.act(who, &Step::Say(words(command)));
            }
        }
    }
}

/// Runs a test on both servers.
pub fn on_both(test: impl FnOnce(&mut Twins<'_>)) {
    let real = Server::start();
    test(&mut Twins::new(&real));
}

/// One way through a set; it begins anew if the other's is longer.
#[derive(Default)]
struct Walk {
    /// `None` before it has begun.
    cursor: Option<Word>,
    found: BTreeSet<Value>,
}

impl Walk {
    fn is_over(&self) -> bool {
        self.cursor.as_deref() == Some(b"0")
    }

    fn next_page(&self, key: &Word, count: &Word) -> Vec<u8> {
        let cursor = self.cursor.clone().unwrap_or_else(|| b"0".to_vec());
        request(&[b"sscan".to_vec(), key.clone(), cursor, b"count".to_vec(), count.clone()])
    }

    /// Takes the page, or the error that stands in its place, and returns what came before it.
    fn take(&mut self, answer: &[u8]) -> Vec<Value> {
        let mut values = parse_all(answer);
        let page = values.remove(values.len() - 2);
        if let [Value::Text(_, next), Value::List(_, members)] = page.items() {
            self.cursor = Some(next.clone());
            self.found.extend(members.iter().cloned());
        } else {
            self.cursor = Some(b"0".to_vec());
            self.found.insert(page);
        }
        values
    }
}

impl Identity {
    /// Reads it out of the answer to `CLIENT INFO`.
    fn of(info: &[u8]) -> Self {
        let values = parse_all(info);
        let text = String::from_utf8_lossy(values[0].text().expect("it is text")).into_owned();
        let field = |name: &str| {
            let value = text.split(' ').find_map(|field| field.strip_prefix(name));
            value.expect("the field is there").to_owned()
        };
        Self { id: field("id="), address: field("addr=") }
    }

    /// Hides what is this server's own: ids, addresses, and what the fake does not say about a client.
    fn masked(&self, words: &[Word], values: Vec<Value>) -> Vec<Value> {
        let names = words.iter().take(2).map(|word| String::from_utf8_lossy(word).to_ascii_lowercase());
        let names: Vec<String> = names.collect();
        let mask = |value: Value| match (names[0].as_str(), names.get(1).map(String::as_str)) {
            ("client", Some("id")) | ("hello", _) => self.without_id(value),
            ("client", Some("info")) => self.without_fields(value),
            _ => value,
        };
        values.into_iter().map(mask).collect()
    }

    /// The answer to `CLIENT ID`, or the field of `HELLO`'s.
    fn without_id(&self, value: Value) -> Value {
        let is_mine = |value: &Value| *value == Value::Line(b':', self.id.clone().into_bytes());
        let hidden = || Value::Line(b':', b"id".to_vec());
        match value {
            Value::List(kind, mut items) => {
                let name = items.iter().position(|item| item.text() == Some(b"id"));
                if let Some(id) = name.and_then(|name| items.get_mut(name + 1)).filter(|id| is_mine(id)) {
                    *id = hidden();
                }
                Value::List(kind, items)
            }
            id if is_mine(&id) => hidden(),
            other => other,
        }
    }

    fn without_fields(&self, value: Value) -> Value {
        let Value::Text(kind, text) = value else { return value };
        let text = String::from_utf8_lossy(&text).into_owned();
        let names = ["txt:id", "id", "addr", "name", "db", "sub", "psub", "ssub", "user", "resp"];
        let is_said = |field: &&str| field.split_once('=').is_some_and(|(name, _)| names.contains(&name));
        let fields: Vec<&str> = text.split([' ']).filter(is_said).collect();
        let text = fields.join(" ").replacen(&format!("id={} addr={} ", self.id, self.address), "me ", 1);
        Value::Text(kind, text.into_bytes())
    }
}

fn is_sign(value: &Value, sign: &[u8]) -> bool {
    value.text() == Some(sign) || value.items().last().is_some_and(|item| item.text() == Some(sign))
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Says which sequence and which step it was when a test fails.
pub struct Place(pub u64, pub usize);

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} went wrong at step {}", self.0, self.1);
        }
    }
}

#[test]
fn in_random_sequences_the_fake_answers_what_redis_answers() {
    let (real, mut answered) = (Server::start(), BTreeSet::new());
    for seed in 0..SEEDS {
        let mut place = Place(seed, 0);
        let (mut twins, mut author) = (Twins::new(&real), Author::new(seed, CLIENTS));
        for script in [TICK, COUNT, REGISTRY] {
            twins.say(0, &[b"script".to_vec(), b"load".to_vec(), script.into()]);
        }
        for who in 0..2 {
            twins.say(who, &words("hello 3"));
        }
        for step in 0..STEPS {
            place.1 = step;
            let who = author.below(CLIENTS);
            twins.act(who, &author.step());
        }
        twins.check(KEYS);
        answered.append(&mut twins.answered);
    }
    let missing: Vec<&str> = commands::names().filter(|name| !answered.contains(name)).collect();
    assert!(missing.is_empty(), "every command was answered well at least once, except {missing:?}");
}

#[test]
fn a_replica_refuses_what_redis_refuses() {
    let real = Server::start();
    let mut twins = Twins::new(&real);
    let say = |twins: &mut Twins<'_>, command: &str| twins.say(0, &words(command));
    for first in ["hello 3", "set k0 v", "script load #!lua\nreturn\t1"] {
        say(&mut twins, first);
    }
    twins.watch("replicaof 127.0.0.1 1");
    twins.fake.set_role(Role::Replica);
    for command in COMMANDS_OF_A_REPLICA {
        say(&mut twins, command);
    }
    for script in SCRIPTS_OF_A_REPLICA {
        let script = script.as_bytes().to_vec();
        twins.say(1, &[b"eval".to_vec(), script, b"1".to_vec(), b"k0".to_vec(), b"v".to_vec()]);
    }
    twins.watch("replicaof no one");
    twins.fake.set_role(Role::Master);
    for last in ["set k0 w", "get k0", "hello", "role"] {
        say(&mut twins, last);
    }
}

const COMMANDS_OF_A_REPLICA: &[&str] = &[
    "hello",
    "role",
    "get k0",
    "set k0 w",
    "set k0",
    "del nope",
    "expire k0 5",
    "hset k0 a b",
    "flushall",
    "subscribe c0",
    "publish c0 v",
    "script flush",
    "config get maxmemory-policy",
    "dbsize",
];

const SCRIPTS_OF_A_REPLICA: &[&str] = &[
    "return 1",
    "return redis.call('set',KEYS[1],'w')",
    "return redis.pcall('set',KEYS[1],'w')",
    "return redis.call('get',KEYS[1])",
    "return redis.call('publish','c0',ARGV[1])",
    "#!lua\nreturn 1",
    "#!lua flags=allow-oom\nreturn redis.call('get',KEYS[1])",
    "#!lua flags=no-writes\nreturn redis.call('get',KEYS[1])",
    "#!lua flags=no-writes\nreturn redis.call('set',KEYS[1],'w')",
];

#[test]
fn a_key_is_gone_when_redis_says_so() {
    let real = Server::start();
    let mut twins = Twins::new(&real);
    for command in ["set k0 v px 20", "sadd s0 a", "pexpire s0 20", "set k1 v ex 100"] {
        twins.say(0, &words(command));
    }
    let is_gone = |twins: &mut Twins<'_>| {
        let count = twins.watch("exists k0 s0");
        count == Value::Line(b':', b"0".to_vec())
    };
    assert!((0..1_000_000).any(|_| is_gone(&mut twins)), "the real server lets keys expire");
    twins.set_clock();
    for command in ["exists k0", "get k0", "ttl k0", "smembers s0", "pttl s0", "dbsize", "ttl k1"] {
        twins.say(0, &words(command));
    }
}
