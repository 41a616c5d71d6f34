//! The agents' processes: starts them, speaks to them, knows them by name, ends them.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Error, Result, anyhow, ensure};

use super::words::{Order, Word};
use crate::clock::{self, Nanos, SECOND};

/// Processes that are told what to do.
pub(super) struct Crew {
    members: Vec<Member>,
    heard: Receiver<(usize, Heard)>,
}

struct Member {
    name: String,
    child: Child,
    /// None once it is told to end.
    orders: Option<ChildStdin>,
}

enum Heard {
    Word(Box<Word>),
    /// It said something else, or nothing more.
    End(String),
}

/// Words that may wait to be heard: a few ticks of each agent.
const WORDS_MAX: usize = 64;

/// Questions about the time: the fastest answer tells most about the clock.
const QUESTIONS: usize = 20;

/// How long an agent may take to say what time it is. The first answer waits for a program to start, maybe
/// behind a login on another machine.
const TIME_MAX: Duration = Duration::from_secs(20);

/// How long the last words of an agent that is gone may take.
const LAST_WORDS: Duration = Duration::from_millis(500);

impl Crew {
    /// Starts so many processes of this program, then one for each command.
    pub(super) fn start(local: u32, commands: &[String]) -> Result<Self> {
        let (sender, heard) = sync_channel(WORDS_MAX);
        let mut crew = Self { members: Vec::new(), heard };
        let own = env::current_exe().context("this program can't be found")?;
        for _ in 0..local {
            let mut command = Command::new(&own);
            crew.add(command.arg("agent"), "a process of this program", &sender)?;
        }
        for command in commands {
            crew.add(Command::new("sh").args(["-c", command]), command, &sender)?;
        }
        ensure!(!crew.members.is_empty(), "there must be an agent");
        crew.clocks()?;
        Ok(crew)
    }

    fn add(&mut self, command: &mut Command, what: &str, sender: &SyncSender<(usize, Heard)>) -> Result<()> {
        let index = self.members.len();
        let name = format!("agent {} ({what})", index + 1);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} can't be started"))?;
        let orders = child.stdin.take();
        let words = child.stdout.take().expect("it was asked for");
        self.members.push(Member { name, child, orders });
        let sender = sender.clone();
        thread::Builder::new()
            .name(format!("agent-{}", index + 1))
            .spawn(move || read_words(index, words, &sender))?;
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn tell(&mut self, index: usize, order: &Order) -> Result<()> {
        let member = &mut self.members[index];
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        let orders = member.orders.as_mut().context("it was told to end")?;
        if orders.write_all(&line).is_ok() {
            return Ok(());
        }
        // It may have said why before it went.
        while self.hear(LAST_WORDS)?.is_some() {}
        Err(self.members[index].gone("takes no orders any more"))
    }

    pub(super) fn tell_all(&mut self, order: impl Fn(usize) -> Order) -> Result<()> {
        (0..self.len()).try_for_each(|index| self.tell(index, &order(index)))
    }

    /// The next word of any agent, if one comes in time. An agent that can't go on is an error with its name.
    pub(super) fn hear(&mut self, wait: Duration) -> Result<Option<(usize, Word)>> {
        match self.heard.recv_timeout(wait) {
            Ok((index, Heard::Word(word))) => match *word {
                Word::Failed(why) => Err(anyhow!("{} can't go on: {why}", self.members[index].name)),
                word => Ok(Some((index, word))),
            },
            Ok((index, Heard::End(why))) => Err(self.members[index].gone(&why)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(anyhow!("every agent has ended")),
        }
    }

    /// How far each agent's clock is ahead of this process'.
    pub(super) fn clocks(&mut self) -> Result<Vec<i64>> {
        (0..self.len()).map(|index| self.clock_of(index)).collect()
    }

    fn clock_of(&mut self, index: usize) -> Result<i64> {
        let mut fastest = (Nanos::MAX, 0);
        for _ in 0..QUESTIONS {
            let asked = clock::now();
            self.tell(index, &Order::Time)?;
            let there = self.time_of(index)?;
            let answered = clock::now();
            let took = answered - asked;
            if took < fastest.0 {
                fastest = (took, there.cast_signed() - (asked + took / 2).cast_signed());
            }
        }
        Ok(fastest.1)
    }

    fn time_of(&mut self, index: usize) -> Result<Nanos> {
        match self.hear(TIME_MAX)? {
            Some((heard, Word::Time(there))) if heard == index => Ok(there),
            Some((heard, other)) => Err(self.astray(heard, &other)),
            None => Err(self.silent(index, "said what time it is", TIME_MAX.as_nanos() as Nanos)),
        }
    }

    /// An agent said something that nobody asked for.
    pub(super) fn astray(&self, index: usize, word: &Word) -> Error {
        anyhow!("{} said {word:?} at the wrong time", self.members[index].name)
    }

    /// An agent has not done something in time.
    pub(super) fn silent(&self, index: usize, what: &str, after: Nanos) -> Error {
        anyhow!("{} has not {what} within {} s", self.members[index].name, after / SECOND)
    }
}

impl Member {
    /// The error that names it, with how it ended if it has.
    fn gone(&mut self, why: &str) -> Error {
        let status = match self.child.try_wait() {
            Ok(Some(status)) => format!("; {status}"),
            Ok(None) | Err(_) => String::new(),
        };
        anyhow!("{} {why}{status}", self.name)
    }
}

impl Drop for Crew {
    /// An agent ends with its stdin. One that doesn't, stuck in the kernel or behind a login, is killed.
    fn drop(&mut self) {
        for member in &mut self.members {
            member.orders = None;
        }
        for member in &mut self.members {
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

fn read_words(index: usize, words: ChildStdout, sender: &SyncSender<(usize, Heard)>) {
    let why = loop_words(index, words, sender).map_or_else(
        |error| format!("said something that isn't understood: {error:#}"),
        |()| "has ended".to_owned(),
    );
    // The coordinator may have ended first.
    let _ = sender.send((index, Heard::End(why)));
}

fn loop_words(index: usize, words: ChildStdout, sender: &SyncSender<(usize, Heard)>) -> Result<()> {
    for line in BufReader::new(words).lines() {
        let word = Heard::Word(Box::new(serde_json::from_str(&line?)?));
        if sender.send((index, word)).is_err() {
            break;
        }
    }
    Ok(())
}
