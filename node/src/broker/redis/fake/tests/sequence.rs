//! Commands by chance: mostly sensible, some wrong.

use super::super::resp::Word;
use super::snippets::{COUNT, REGISTRY, SNIPPETS, TICK};
use super::words;

/// What a client does.
#[derive(Debug)]
pub enum Step {
    Say(Vec<Word>),
    /// Walk through a set to the end.
    Scan(Word, Word),
    /// Something that is no command at all.
    Babble(&'static [u8]),
    /// Go, and come again.
    Leave,
}

/// Makes up what happens; the same for the same seed.
pub struct Author {
    state: u64,
    /// How many clients there are.
    clients: usize,
}

const NUMBERS: &[&str] = &["0", "1", "2", "-1", "3", "10", "-3", "007", "x", "1.5", "9223372036854775808"];
const VALUES: &[&[u8]] = &[
    b"",
    b"v",
    b"1",
    b"-5",
    b"a\r\nb",
    b"\0\xff\xfe",
    b"some words here",
    b"0123456789abcdef0123456789abcdef",
];
const KINDS: &[&str] = &["k", "h", "l", "z", "s"];
const SCORES: &[&str] = &[
    "0",
    "1",
    "-1",
    "1.5",
    "0.1",
    "+inf",
    "-inf",
    "1e3",
    "1700000000123",
    "1e17",
    "-2.5e-7",
    "nan",
    "x",
    "1e999",
    "-0",
];
const BOUNDS: &[&str] = &["-inf", "+inf", "0", "(0", "1", "(1", "1.5", "(1700000000123", "x", "("];
const FIELDS: &[&str] = &["f0", "f1", "f2", "#s"];
const CHANNELS: &[&str] = &["c0", "c1", "c2"];
const TTLS: &[&str] = &["60", "100", "5000", "0", "-7", "x", "99999999999999999", "9223372036854775807"];
const TTLS_MS: &[&str] = &["60000", "100000", "86400000", "0", "-7", "x", "9223372036854775807"];
const INCARNATIONS: &[&str] = &["00000000000000a1", "00000000000000b2", "00000000000000c3"];
const BABBLE: &[&[u8]] = &[
    b"*1\r\n:3\r\n",
    b"*x\r\n",
    b"*2\r\n$3\r\nGET\r\n$x\r\n",
    b"*1\r\n$-1\r\n",
    b"*2000000000000\r\n",
    b"*1\r\n$99999999999\r\n",
];
const TIME_MS: u64 = 1_700_000_000_000;

impl Author {
    pub fn new(seed: u64, clients: usize) -> Self {
        Self { state: seed, clients }
    }

    pub fn step(&mut self) -> Step {
        match self.below(200) {
            0 => Step::Babble(self.one(BABBLE)),
            1 => Step::Leave,
            2..6 => Step::Scan(self.key("s"), self.one(&["1", "3", "100"]).into()),
            _ => Step::Say(self.command()),
        }
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % bound as u64) as usize
    }

    pub fn one<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn command(&mut self) -> Vec<Word> {
        let mut command = match self.below(23) {
            0..3 => self.on_strings(),
            3..6 => self.on_hashes(),
            6..10 => self.on_sorted(),
            10..13 => self.on_sets(),
            13 => self.about_clients(),
            14 => self.about_the_server(),
            15 | 16 => self.on_channels(),
            17 => self.snippet(),
            18..21 => self.on_lists(),
            // Whole: without its last word a script would ask for the time.
            _ => return self.script_of_a_node(),
        };
        match self.below(40) {
            0 if command.len() > 1 => drop(command.pop()),
            1 => command.push(self.value()),
            2 => command[0].make_ascii_uppercase(),
            // An unknown command's words are repeated to the client, but those for a client's name differ. (With an
            // x some commands are others.)
            3 if command.iter().all(|word| !word.starts_with(b"{")) => command[0].push(b'q'),
            _ => {}
        }
        command
    }

    /// A key, mostly of the type that its first letter says.
    fn key(&mut self, kind: &str) -> Word {
        let kind = if self.below(12) == 0 { self.one(KINDS) } else { kind };
        format!("{kind}{}", self.below(3)).into_bytes()
    }

    fn value(&mut self) -> Word {
        self.one(VALUES).to_vec()
    }

    fn several(&mut self, choices: &[&str]) -> Vec<Word> {
        (0..=self.below(3)).map(|_| self.one(choices).into()).collect()
    }

    fn on_strings(&mut self) -> Vec<Word> {
        let (any, key, value) = (self.one(KINDS), self.key("k"), self.value());
        let any = self.key(any);
        match self.below(13) {
            0 | 1 => say("get", &[&key]),
            2 => say("set", &[&key, &value]),
            3 => say("set", &[&key, &value, b"nx"]),
            4 => {
                let ttl = self.one(TTLS);
                say("set", &[&key, &value, b"EX", ttl.as_bytes()])
            }
            5 => {
                let ttl = self.one(TTLS_MS);
                say("set", &[&key, &value, b"px", ttl.as_bytes(), b"NX"])
            }
            6 => say("del", &[&any, &key]),
            7 => say("exists", &[&any, &key, &any]),
            8 => {
                let ttl = self.one(TTLS);
                say("expire", &[&any, ttl.as_bytes()])
            }
            9 => {
                let ttl = self.one(TTLS_MS);
                say("pexpire", &[&any, ttl.as_bytes()])
            }
            10 => say("ttl", &[&any]),
            11 => say("mget", &[&key, &any, b"nope"]),
            _ => {
                let name = self.one(&["pttl", "type"]);
                say(name, &[&any])
            }
        }
    }

    fn on_hashes(&mut self) -> Vec<Word> {
        let (key, field) = (self.key("h"), self.one(FIELDS));
        let mut command = match self.below(9) {
            0 | 1 => {
                let mut command = say("hset", &[&key]);
                for field in self.several(FIELDS) {
                    command.extend([field, self.value()]);
                }
                return command;
            }
            2 => say("hmget", &[&key]),
            3 => say("hdel", &[&key]),
            4 => return say("hget", &[&key, field.as_bytes()]),
            5 => return say("hexists", &[&key, field.as_bytes()]),
            6 => return say("hlen", &[&key]),
            7 => return say("hkeys", &[&key]),
            _ => return say("hgetall", &[&key]),
        };
        command.extend(self.several(FIELDS));
        command
    }

    fn on_lists(&mut self) -> Vec<Word> {
        let (key, first, last) = (self.key("l"), self.one(NUMBERS), self.one(NUMBERS));
        let (first, last) = (first.as_bytes(), last.as_bytes());
        match self.below(8) {
            0..3 => {
                let mut command = say("rpush", &[&key]);
                command.extend((0..=self.below(5)).map(|_| self.value()));
                command
            }
            3 => say("llen", &[&key]),
            4 => say("lindex", &[&key, first]),
            5 if self.below(3) == 0 => say("ltrim", &[&key, first, last]),
            _ => say("lrange", &[&key, first, last]),
        }
    }

    fn on_sorted(&mut self) -> Vec<Word> {
        let (key, member) = (self.key("z"), self.one(INCARNATIONS));
        match self.below(9) {
            0..3 => {
                let mut command = say("zadd", &[&key]);
                for member in self.several(INCARNATIONS) {
                    command.extend([self.one(SCORES).into(), member]);
                }
                command
            }
            3 => {
                let mut command = say("zrem", &[&key]);
                command.extend(self.several(INCARNATIONS));
                command
            }
            4 if self.below(3) == 0 => {
                let (min, max) = (self.one(BOUNDS), self.one(BOUNDS));
                say("zremrangebyscore", &[&key, min.as_bytes(), max.as_bytes()])
            }
            4 => say("zscore", &[&key, member.as_bytes()]),
            5 => say("zcard", &[&key]),
            6 => {
                let (first, last) = (self.one(NUMBERS), self.one(NUMBERS));
                let command = say("zrange", &[&key, first.as_bytes(), last.as_bytes()]);
                self.with_options(command)
            }
            by => {
                let (min, max) = (self.one(BOUNDS), self.one(BOUNDS));
                let name = if by == 7 { "zrange" } else { "zrangebyscore" };
                let mut command = say(name, &[&key, min.as_bytes(), max.as_bytes()]);
                command.extend((by == 7).then(|| b"byscore".to_vec()));
                self.with_options(command)
            }
        }
    }

    fn with_options(&mut self, mut command: Vec<Word>) -> Vec<Word> {
        if self.below(3) == 0 {
            command.push(b"WITHSCORES".to_vec());
        }
        if self.below(3) == 0 {
            let (skipped, count) = (self.one(NUMBERS), self.one(NUMBERS));
            command.extend([b"limit".to_vec(), skipped.into(), count.into()]);
        }
        command
    }

    fn on_sets(&mut self) -> Vec<Word> {
        let key = self.key("s");
        match self.below(8) {
            0..3 => {
                let mut command = say("sadd", &[&key]);
                command.extend((0..=self.below(4)).map(|_| format!("m{}", self.below(20)).into_bytes()));
                command
            }
            3 => {
                let mut command = say("srem", &[&key]);
                command.extend((0..=self.below(2)).map(|_| format!("m{}", self.below(20)).into_bytes()));
                command
            }
            4 => say("smembers", &[&key]),
            5 => {
                let member = format!("m{}", self.below(20));
                say("sismember", &[&key, member.as_bytes()])
            }
            6 => say("scard", &[&key]),
            _ if self.below(3) == 0 => say("srandmember", &[&key]),
            _ => {
                let count = self.one(&["0", "1", "2", "100", "-4", "x"]);
                say("srandmember", &[&key, count.as_bytes()])
            }
        }
    }

    fn about_clients(&mut self) -> Vec<Word> {
        let other = self.below(self.clients);
        match self.below(15) {
            0 => words("client id"),
            1 | 2 => words("client info"),
            3 => words("client setname name-of-mine"),
            4 => say("client setname", &[b"two words"]),
            5 => words("client getname"),
            6 => words(&format!("client kill id {{id{other}}} addr {{addr{other}}}")),
            7 => words(&format!("client kill id {{id{other}}} addr 127.0.0.1:1")),
            8 => words(self.one(&["client kill id x", "client kill id 0", "client kill 127.0.0.1:1"])),
            9 => words(self.one(&["client no-evict on", "client no-evict x", "client setinfo lib-name x"])),
            10 | 11 => words("hello 3"),
            12 => {
                words(self.one(&["hello", "hello 2", "hello 4", "hello x", "hello 3 foo", "hello 3 setname"]))
            }
            13 => words(self.one(&[
                "hello 3 auth default y setname n",
                "hello 3 auth x y",
                "hello 2 setname m auth default y",
            ])),
            _ => words(self.one(&["auth x", "auth x y", "auth default y", "auth a b c"])),
        }
    }

    fn about_the_server(&mut self) -> Vec<Word> {
        words(self.one(&[
            "ping",
            "ping text",
            "select 0",
            "select 1",
            "select 99",
            "select x",
            "time",
            "info server",
            "config get maxmemory-policy",
            "config get nothing",
            "config set maxmemory-policy allkeys-lru",
            "config set maxmemory-policy noeviction",
            "config set maxmemory-policy bad",
            "config bad",
            "role",
            "dbsize",
            "flushall",
            "flushall async",
            "flushall bad",
        ]))
    }

    fn on_channels(&mut self) -> Vec<Word> {
        let channel = self.one(CHANNELS);
        match self.below(10) {
            0..3 => {
                let mut command = words("subscribe");
                command.extend(self.several(CHANNELS));
                command
            }
            3 => words("unsubscribe"),
            4 => say("unsubscribe", &[channel.as_bytes()]),
            _ => {
                let message = self.value();
                say("publish", &[channel.as_bytes(), &message])
            }
        }
    }

    fn snippet(&mut self) -> Vec<Word> {
        let (body, kind) = (self.one(SNIPPETS), self.one(&["k", "h", "z"]));
        let (keys, channel, value) = (self.below(2) + 1, self.one(CHANNELS), self.value());
        let mut command = match self.below(10) {
            0 => return say("script load", &[body.as_bytes()]),
            1 => {
                return words(self.one(&[
                    "script flush",
                    "script flush sync",
                    "script flush bad",
                    "script bad",
                ]));
            }
            2 => {
                let (numbers, key) = (self.one(NUMBERS), self.key(kind));
                return say("eval", &[body.as_bytes(), numbers.as_bytes(), &key, &value]);
            }
            _ => say("eval", &[body.as_bytes(), keys.to_string().as_bytes()]),
        };
        command.extend((0..keys).map(|_| self.key(kind)));
        command.extend([channel.into(), value]);
        command
    }

    fn script_of_a_node(&mut self) -> Vec<Word> {
        let incarnation = self.one(INCARNATIONS);
        let now = TIME_MS + 500 * self.below(40) as u64;
        match self.below(6) {
            0..3 => {
                let (body, seen) = (self.script(TICK), self.below(4));
                [body, words(&format!("3 live gone meta {incarnation} 4000 birth123 {seen} 3000 {now}"))]
                    .concat()
            }
            3 | 4 => {
                let (body, count) = (self.script(COUNT), self.one(&["0", "1", "5", "7", "reap", "flush"]));
                let rest = format!("1 h9 PUBLISH c0 {incarnation} {count} 1000 {now} 86400");
                [body, words(&rest)].concat()
            }
            _ => {
                let (body, rest) =
                    (self.script(REGISTRY), self.one(&["add c/a p/b", "add u/x", "drop c/a", "close"]));
                [body, words(&format!("1 s9 {rest}"))].concat()
            }
        }
    }

    /// By its text, or by its digest, which may not be known.
    fn script(&mut self, body: &str) -> Vec<Word> {
        if self.below(3) == 0 {
            return say("eval", &[body.as_bytes()]);
        }
        let digest = super::super::scripts::digest(body.as_bytes());
        let name = if self.below(20) == 0 { "script exists" } else { "evalsha" };
        say(name, &[digest.as_bytes()])
    }
}

/// A command of words that may hold anything.
pub fn say(name: &str, rest: &[&[u8]]) -> Vec<Word> {
    let rest = rest.iter().map(|word| word.to_vec());
    words(name).into_iter().chain(rest).collect()
}
