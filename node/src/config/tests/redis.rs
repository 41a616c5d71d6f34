//! `[redis]`: what it means, what wins, what is refused, and that no password shows.

use super::*;
use crate::config::Secret;

const HUSH: &str = "[redis]\nurl = 'redis://user:hush@host:6379/0'";

#[test]
fn without_the_section_the_broker_is_memory() {
    let config = from_file("").unwrap();
    assert_eq!(config.redis, None);
    assert!(config.to_toml().contains("\n# No [redis]: this node is alone, its broker is memory.\n"));
}

#[test]
fn a_url_is_enough() {
    let redis = from_file("redis.url = 'redis://127.0.0.1'").unwrap().redis.unwrap();
    assert_eq!(redis.url.to_string(), "redis://127.0.0.1:6379/0");
    assert_eq!((&*redis.prefix, redis.lease), ("dunlin", Duration::from_secs(6)));
}

#[test]
fn a_file_may_hold_the_url() {
    // E11
    let redis = from_file("redis.url_file = 'redis.url'").unwrap().redis.unwrap();
    assert_eq!(redis.url.to_string(), "redis://:…@from.file:1/2");
    assert_eq!(redis.url.password.as_ref().map(Secret::reveal), Some("hush"));
}

#[test]
fn the_ends_of_what_is_allowed_are_allowed() {
    let longest = "Az09._-x".repeat(8);
    for keys in ["lease = '3s'", "lease = '60s'", "prefix = 'a'", &format!("prefix = '{longest}'")] {
        let config = from_file(&format!("[redis]\nurl = 'redis://a'\n{keys}"));
        assert!(config.is_ok(), "{keys}: {config:?}");
    }
}

#[test]
fn flag_over_environment_over_file_whichever_of_the_two_keys_they_set() {
    // File, environment, flag, and where Redis is then.
    let (by_url, by_file) = ("DUNLIN__REDIS__URL", "DUNLIN__REDIS__URL_FILE");
    let table = [
        ("url = 'redis://a'", None, None, "redis://a:6379/0"),
        ("url = 'redis://a'", Some((by_url, "redis://b")), None, "redis://b:6379/0"),
        ("url = 'redis://a'", Some((by_url, "b")), Some("redis://c"), "redis://c:6379/0"),
        ("url_file = 'redis.url'", Some((by_url, "redis://b")), None, "redis://b:6379/0"),
        ("url_file = 'gone'", None, Some("redis://c"), "redis://c:6379/0"),
        ("url = 'a'", Some((by_file, "redis.url")), None, "redis://:…@from.file:1/2"),
        ("", Some((by_file, "redis.url")), Some("redis://c"), "redis://c:6379/0"),
    ];
    for (file, variable, flag, shown) in table {
        let flags = Flags { redis: flag.map(Secret::from), ..Flags::default() };
        let config =
            load(&format!("[redis]\n{file}\nprefix = 'kept'"), variable.as_slice(), &flags).expect(file);
        let redis = config.redis.unwrap();
        assert_eq!((redis.url.to_string(), &*redis.prefix), (shown.to_owned(), "kept"), "{file} {flag:?}");
    }
}

#[test]
fn the_flag_alone_makes_a_cluster() {
    let flags = Flags { redis: Some("redis://c".into()), ..Flags::default() };
    assert_eq!(load("", &[], &flags).unwrap().redis.unwrap().url.host, "c");
    let flags = Flags { redis: Some("c".into()), ..Flags::default() };
    let problem = load("", &[], &flags).unwrap_err().to_string();
    assert!(problem.starts_with("--redis: redis.url: is not the address of a Redis; use"), "{problem}");
}

#[test]
fn what_is_set_without_a_url_asks_for_one() {
    bad::assert_refused(
        &[
            ("", "redis.url: is missing", "redis://127.0.0.1:6379"),
            ("prefix = 'a'", "redis.url: is missing", "or remove"),
            ("lease = '6s'", "redis.url: is missing", "or remove"),
        ],
        "[redis]\n",
    );
    let problem = load("", &[("DUNLIN__REDIS__PREFIX", "a")], &Flags::default()).unwrap_err().to_string();
    assert!(problem.starts_with("environment DUNLIN__REDIS__PREFIX: redis.url: is missing"), "{problem}");
    let problem = load("", &[("DUNLIN__REDIS__URL", "")], &Flags::default()).unwrap_err().to_string();
    assert!(
        problem.starts_with("environment DUNLIN__REDIS__URL: redis.url: is not the address"),
        "{problem}"
    );
}

#[test]
fn a_bad_url_says_why_and_what_is_allowed() {
    bad::assert_refused(
        &[
            (
                "url = 'redis-sentinel://a'",
                "redis.url: not yet: redis-sentinel:// is not built yet in",
                "rediss",
            ),
            (
                "url = 'redis-cluster://a'",
                "redis.url: not yet: redis-cluster:// is not built yet in",
                "rediss",
            ),
            ("url = 'http://a'", "redis.url: http:// is not the address of a Redis", "use redis://"),
            ("url = 'redis://:1'", "redis.url: names no host", "redis://127.0.0.1:6379"),
            ("url = 'redis://a:x'", "redis.url: has a port that is none", "1 to 65535"),
            ("url = 'redis://a/x'", "redis.url: has a path that is no database", "/0"),
            ("url = 'redis://a?db=1'", "redis.url: `?db` is not understood", "host, port and database"),
            ("url = 'redis://:…@a'", "redis.url: has … for a password", "`redis.url_file`"),
            ("url = 6379", "redis.url: is not the address of a Redis", "redis://127.0.0.1:6379"),
            ("url_file = 'gone'", "redis.url_file: gone: ", "a readable file that holds the url"),
            ("url_file = 'bad.url'", "redis.url_file: bad.url: has a port that is none", "1 to 65535"),
            ("url_file = ''", "redis.url_file: \"\" is not the name", "file"),
            ("url_file = 'redis.url'\nurl = 'redis://a'", "redis.url_file: stands beside `url`", "keep one"),
        ],
        "[redis]\n",
    );
}

#[test]
fn a_bad_prefix_or_lease_says_what_is_allowed() {
    let long = Box::leak(format!("prefix = '{}'", "x".repeat(65)).into_boxed_str());
    bad::assert_refused(
        &[
            ("prefix = ''", "redis.prefix: \"\" is not a prefix", "1 to 64"),
            ("prefix = '{a}'", "redis.prefix: \"{a}\" is not a prefix", "letters, digits"),
            ("prefix = 'ü'", "redis.prefix: \"ü\" is not a prefix", "letters, digits"),
            (long, "redis.prefix: \"xxx", "1 to 64"),
            ("lease = '6'", "redis.lease: \"6\" is not a time span", "30s"),
            (
                "lease = '2999ms'",
                "redis.lease: \"2999ms\" is too short; at least \"3s\"",
                "a pause of the machine would kill healthy nodes",
            ),
            ("lease = '61s'", "redis.lease: \"61s\" is too long; at most \"1m\"", "a dead node"),
            ("route = []", "`redis.route` is not built yet", "in this version"),
            (
                "leese = '6s'",
                "unknown key `redis.leese`; did you mean `lease`?",
                "lease, prefix, url, url_file",
            ),
        ],
        "[redis]\nurl = 'redis://a'\n",
    );
}

#[test]
fn the_password_is_masked_in_everything_that_is_shown() {
    // E11
    let config = from_file(HUSH).unwrap();
    let masked = "redis://user:…@host:6379/0";
    for shown in [config.to_toml(), config.summary(), config.redis.as_ref().unwrap().url.to_string()] {
        assert!(shown.contains(masked) && !shown.contains("hush"), "{shown}");
    }
    let debug = format!("{config:?}");
    assert!(debug.contains("password: Some(…)") && !debug.contains("hush"), "{debug}");
}

#[test]
fn what_is_printed_with_a_mask_is_refused_until_the_password_is_back() {
    // E11
    let config = from_file(HUSH).unwrap();
    let printed = config.to_toml();
    let problem = from_file(&printed).unwrap_err().to_string();
    assert!(problem.starts_with("dunlin.toml: redis.url: has … for a password"), "{problem}");
    assert_eq!(from_file(&printed.replace(":…@", ":hush@")), Ok(config));
}

#[test]
fn no_problem_quotes_a_password_that_stands_in_a_wrong_place() {
    // E11
    let texts = [
        "redis = 'redis://:hush@a'",
        "redis = redis://:hush@a",
        "[redis]\nurl = redis://:hush@a",
        "listen = 'redis://:hush@a'",
        "[redis]\nurl = 'redis://a'\nprefix = 'redis://:hush@a'",
        "[redis]\nurl = ['redis://:hush@a']",
        "[redis]\nurl_file = 'redis://:hush@a'",
        "[redis]\nurl = 'redis://:hush'",
    ];
    for text in texts {
        let problem = from_file(text).expect_err(text).to_string();
        assert!(!problem.contains("hush"), "{text}: {problem}");
    }
    let problem =
        load("", &[("DUNLIN__REDIS", "redis://:hush@a")], &Flags::default()).unwrap_err().to_string();
    let expected = "environment DUNLIN__REDIS: redis: \"redis://…@a\" is not a table; use [redis]
";
    assert!(problem.starts_with(expected) && !problem.contains("hush"), "{problem}");
}
