//! Flag over environment over file over default.

use super::*;

const FILE: &str = "listen = '127.0.0.1:1'\n[log]\nformat = 'json'\n[limits]\nmessage = '1KiB'";

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let port = |text: &str, environment: &[(&str, &str)], flag: Option<&str>| {
        let flags = Flags { listen: flag.map(str::to_owned), ..Flags::default() };
        load(text, environment, &flags).unwrap().listen.port()
    };
    let variable = [("DUNLIN__LISTEN", "127.0.0.1:2")];
    assert_eq!(port("", &[], None), 8080);
    assert_eq!(port(FILE, &[], None), 1);
    assert_eq!(port(FILE, &variable, None), 2);
    assert_eq!(port(FILE, &variable, Some("127.0.0.1:3")), 3);
}

#[test]
fn a_variable_replaces_one_key_and_leaves_its_neighbours() {
    let environment = [("DUNLIN__LIMITS__PEERS", "5"), ("DUNLIN__LOG__LEVEL", "warn")];
    let config = load(FILE, &environment, &Flags::default()).unwrap();
    assert_eq!((config.limits.peers, config.limits.message), (5, 1024));
    assert_eq!((config.log.level, config.log.format), (tracing::Level::WARN, LogFormat::Json));
}

#[test]
fn flags_reach_into_sections() {
    let flags = Flags { log: Some("human".into()), log_level: Some("trace".into()), ..Flags::default() };
    let log = load(FILE, &[], &flags).unwrap().log;
    assert_eq!((log.format, log.level), (LogFormat::Human, tracing::Level::TRACE));
}

#[test]
fn only_the_double_underscore_counts() {
    let environment = [("DUNLIN_PORT", "tcp://10.0.0.1:80"), ("DUNLIN_SERVICE_HOST", "x"), ("PATH", "y")];
    assert_eq!(load("", &environment, &Flags::default()), from_file(""));
}

#[test]
fn a_variable_separates_a_list_by_comma() {
    let namespaces = |text: &str| {
        let config = load("", &[("DUNLIN__METRICS__NAMESPACES", text)], &Flags::default()).unwrap();
        config.metrics.namespaces.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(namespaces("/_ws, /chat"), ["/_ws", "/chat"]);
    assert!(namespaces("").is_empty());
}

#[test]
fn an_empty_variable_is_an_empty_value() {
    let config = load("", &[("DUNLIN__SESSION__TOPIC", "")], &Flags::default()).unwrap();
    assert_eq!(config.session.topic, None);
    let problem = load("", &[("DUNLIN__LIMITS__MESSAGE", "")], &Flags::default()).unwrap_err().to_string();
    assert!(
        problem.starts_with("environment DUNLIN__LIMITS__MESSAGE: limits.message: \"\" is not a size"),
        "{problem}"
    );
}

#[test]
fn a_file_is_optional_until_it_is_named() {
    let read = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
    assert_eq!(Config::load(&Flags::default(), [], &read), from_file(""));
    let flags = Flags { config: Some("gone.toml".into()), ..Flags::default() };
    let problem = Config::load(&flags, [], &read).unwrap_err().to_string();
    assert!(problem.starts_with("gone.toml: ") && problem.contains("--config"), "{problem}");
}

#[test]
fn a_problem_names_the_place_it_was_written_at() {
    let flags =
        Flags { config: Some("other.toml".into()), listen: Some("nowhere".into()), ..Flags::default() };
    let problem = load("drain = 'soon'", &[("DUNLIN__SHARDS", "many")], &flags).unwrap_err();
    let [listen, drain, shards] = problem.problems() else { panic!("{problem}") };
    assert!(listen.starts_with("--listen: listen: \"nowhere\" is not an address"), "{listen}");
    assert!(drain.starts_with("other.toml: drain: \"soon\" is not a time span"), "{drain}");
    assert!(shards.starts_with("environment DUNLIN__SHARDS: shards: \"many\" is not"), "{shards}");
}
