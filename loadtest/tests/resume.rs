//! `resume` against a log that keeps its promises, and against logs that don't.

use std::{process::Command, time::Duration};

use dunlin_loadtest::{
    progress::Silent,
    record::{Record, Verdict},
    scenario::{
        Mode, Topics,
        resume::{self, Resume, Resumed},
    },
};

use self::log::{Memory, serve};

#[path = "servers/by_hand.rs"]
mod by_hand;
#[path = "servers/log.rs"]
mod log;

const PEERS: u32 = 8;

/// The peers come back over a time in which some 60 publications are made, so most of them miss some.
fn resume(memory: Memory) -> Resume {
    let [from, to] = serve(memory);
    Resume {
        from,
        to,
        server: None,
        beside: Vec::new(),
        pages: Vec::new(),
        topics: Topics::of_relay("t", 1).that_remember(Mode::Log),
        peers: PEERS,
        publications: 20,
        rate: 200.0,
        end: None,
        ramp: Duration::from_millis(300),
        calm: Duration::from_millis(100),
        size: 64,
        concurrency: 4,
        seed: 1,
    }
}

fn run(memory: Memory) -> (Resumed, Record) {
    resume::run(resume(memory), [None, None], &mut Silent).unwrap()
}

fn why(record: &Record) -> &str {
    let Verdict::Bad { why } = &record.verdict else { panic!("{:?}", record.verdict) };
    why
}

#[test]
fn all_who_are_cut_come_back_and_have_heard_everything_once() {
    let (resumed, record) = run(Memory::Whole);
    assert_eq!((resumed.recovered(), &record.verdict), (PEERS.into(), &Verdict::Good), "{resumed:?}");
    assert_eq!(resumed.deliveries, u64::from(PEERS * resumed.publications), "{resumed:?}");
    assert!(resumed.replayed > 0 && resumed.publications_before >= 20, "{resumed:?}");
    let (back, current) = (resumed.back.all_s.unwrap(), resumed.current.all_s.unwrap());
    assert!((0.25..10.0).contains(&back) && current >= back, "the last dials after 262 ms: {resumed:?}");
    assert_eq!((record.marks.len(), record.samples.last().unwrap().peers), (2, PEERS));
}

#[test]
fn a_node_that_loses_one_publication_across_the_break_is_noticed() {
    let (resumed, record) = run(Memory::LosesOne);
    assert!((1..=u64::from(PEERS)).contains(&resumed.lost), "{resumed:?}");
    assert_eq!((resumed.recovered(), resumed.duplicated, resumed.told_missing), (PEERS.into(), 0, 0));
    assert!(why(&record).contains("lost without a word"), "{record:?}");
}

#[test]
fn a_node_that_replays_too_much_is_noticed() {
    let (resumed, record) = run(Memory::Doubles);
    assert_eq!((resumed.lost, resumed.duplicated), (0, PEERS.into()), "{resumed:?}");
    assert!(why(&record).contains("more than once"), "{record:?}");
}

#[test]
fn what_a_node_says_that_it_has_lost_is_counted_by_its_reason_and_no_lie() {
    let (resumed, record) = run(Memory::Forgets);
    assert_eq!(resumed.answers["not recovered: expired"], u64::from(PEERS), "{resumed:?}");
    assert!(resumed.told_missing > 0 && resumed.lost == 0, "{resumed:?}");
    assert_eq!(record.verdict, Verdict::Good);
}

#[test]
fn who_is_refused_comes_again_and_loses_nothing() {
    let (resumed, record) = run(Memory::Reluctant);
    assert_eq!((resumed.errors, resumed.recovered(), resumed.lost), (5, PEERS.into(), 0), "{resumed:?}");
    assert!(why(&record).contains("5 error frames"), "{record:?}");
}

#[test]
fn a_topic_that_is_no_log_is_told_before_anything_is_measured() {
    let error = resume::run(resume(Memory::None), [None, None], &mut Silent).unwrap_err();
    assert!(error.to_string().contains("no cursor"), "{error}");
}

#[test]
fn a_loss_makes_the_exit_code_red() {
    let [from, to] = serve(Memory::LosesOne);
    let url = |address| format!("ws://{address}/");
    let load = Command::new(env!("CARGO_BIN_EXE_dunlin-loadtest"))
        .args(["resume", "--url", &url(from.address), "--resume-at", &url(to.address), "--peers", "4"])
        .args(["--publications", "5", "--rate", "200", "--ramp", "300ms", "--calm", "0s"])
        .output()
        .unwrap();
    let said = String::from_utf8(load.stdout).unwrap();
    assert_eq!(load.status.code(), Some(3), "{said}");
    assert!(said.contains("were lost without a word"), "{said}");
}
