//! `dunlin keys` beside a real Redis: what it counts, what it finds, and that it only reads.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use dunlin_tests::{Cluster, Exit, NODES, OPEN, PREFIX, Peer, Redis, run};
use serde_json::Value;
use tokio::task::spawn_blocking;

/// A head whose epoch and mark are letters, so that it can be written as a text.
const HEAD: &str = "1lEEEEEEEEMMMM2";
const TOPIC: &str = "dunlin:1:{t|/a|b}";

fn url(redis: &Redis) -> String {
    format!("redis://{}", redis.address())
}

/// Runs the command on a Redis.
fn look(redis: &Redis, flags: &[&str]) -> anyhow::Result<Exit> {
    run(&[&["keys", "--redis", &url(redis)], flags].concat(), "")
}

/// The same, with its answer as JSON.
fn look_json(redis: &Redis, flags: &[&str]) -> anyhow::Result<(i32, Value)> {
    let exit = look(redis, &[flags, &["--json"]].concat())?;
    let answer = serde_json::from_str(&exit.stdout).with_context(|| format!("{exit:?}"))?;
    ensure!(exit.stderr.is_empty(), "{exit:?}");
    Ok((exit.code, answer))
}

/// How many keys of a class there are.
fn keys_of(answer: &Value, class: &str) -> Option<u64> {
    answer["classes"].as_array()?.iter().find(|row| row["class"] == class)?["keys"].as_u64()
}

/// The findings, each with its number of keys.
fn findings(answer: &Value) -> Vec<(&str, u64)> {
    let all = answer["findings"].as_array().into_iter().flatten();
    all.filter_map(|one| Some((one["finding"].as_str()?, one["keys"].as_u64()?))).collect()
}

/// Writes a key as a node would: it goes by itself.
async fn write(redis: &Redis, command: &[&str]) -> anyhow::Result<()> {
    redis.ask(command).await?;
    redis.ask(&["EXPIRE", command[1], "3600"]).await?;
    Ok(())
}

// redis 9.6
#[tokio::test]
async fn a_healthy_cluster_has_no_findings() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(2, OPEN).await?;
    let mut peers = Vec::new();
    for node in &cluster.nodes {
        for path in ["/one", "/two/ä|}"] {
            let mut peer = Peer::connect(node.listen, &path.replace("ä|}", "%C3%A4%7C%7D")).await?;
            peer.subscribe("talk").await?;
            peers.push(peer);
        }
    }
    cluster.metric("dunlin_cluster_peers{namespace=\"other\"}", 4).await?;
    let (code, answer) = look_json(&cluster.redis, &["--prefix", PREFIX, "--check"])?;
    ensure!(code == 0 && findings(&answer).is_empty(), "{answer:#}");
    ensure!(keys_of(&answer, "leases") == Some(3) && keys_of(&answer, "registries") == Some(2), "{answer:#}");
    ensure!(keys_of(&answer, "counts") == Some(3) && answer["keys"] == 9, "{answer:#}");
    let counts = answer["classes"].as_array().context("classes")?.iter().find(|row| row["class"] == "counts");
    let counts = counts.context("counts")?;
    let bytes = |of: &Value| of["bytes"].as_u64().unwrap_or(0);
    ensure!(bytes(counts) >= bytes(&counts["largest"]) && bytes(&counts["largest"]) > 0, "{counts:#}");
    ensure!(counts["ttl_ms"]["max"].as_u64().is_some_and(|ttl| ttl <= 86_400_000), "{counts:#}");

    cluster.nodes.remove(1).kill()?;
    cluster.metric(NODES, 1).await?;
    cluster.metric("dunlin_cluster_peers{namespace=\"other\"}", 2).await?;
    let (code, answer) = look_json(&cluster.redis, &["--prefix", PREFIX, "--check"])?;
    ensure!(code == 0 && findings(&answer).is_empty(), "{answer:#}");
    Ok(())
}

/// Keys by hand, and what is to be found in them.
struct Broken {
    keys: &'static [&'static [&'static str]],
    lasting: Option<&'static str>,
    shallow: &'static [(&'static str, u64)],
    deep: &'static [(&'static str, u64)],
}

const NOTHING: Broken = Broken { keys: &[], lasting: None, shallow: &[], deep: &[] };

const BROKEN: [Broken; 14] = [
    // What a topic of each kind looks like when all is well.
    Broken {
        keys: &[
            &["SET", "dunlin:1:{t|/a|b}:h", HEAD],
            &["RPUSH", "dunlin:1:{t|/a|b}:s", "len.LLLLrest", "len.MMMMrest"],
            &["SET", "dunlin:1:{t|/a|b}:i:00ff", "EEEEEEEELLLL1"],
            &["HSET", "dunlin:1:{t|/a|m}:k", "#h", "1mEEEEEEEEMMMM1", "fab", "12", "#n", "1", "#b", "4"],
            &["SET", "dunlin:1:{t|/a|m}:i:00ff", "EEEEEEEEMMMM1"],
            &[
                "HSET",
                "dunlin:1:{c|/a}:c",
                "i0011223344556677",
                "3",
                "i1011223344556677",
                "x1700000000",
                "#s",
                "3",
            ],
            &["ZADD", "dunlin:1:{n}:live", "1", "0011223344556677"],
            &["ZADD", "dunlin:1:{n}:gone", "-1", "1011223344556677"],
            &["SADD", "dunlin:1:{n|0011223344556677}:r", "c/a"],
            &["SADD", "dunlin:1:{n|1011223344556677}:r", "#x"],
        ],
        ..NOTHING
    },
    Broken {
        keys: &[&["SET", "dunlin:1:{t|/a|b}:h", HEAD]],
        lasting: Some("dunlin:1:{t|/a|b}:h"),
        shallow: &[("no_lifetime", 1)],
        ..NOTHING
    },
    Broken {
        keys: &[&["SET", "dunlin:notes", "x"], &["SET", "dunlin:1:{t|/a}:h", "x"]],
        shallow: &[("unknown", 2)],
        ..NOTHING
    },
    Broken { keys: &[&["SET", "dunlin:2:{n}:live", "x"]], shallow: &[("other_layout", 1)], ..NOTHING },
    Broken { keys: &[&["SET", "dunlin:1@3:{n}:live", "x"]], shallow: &[("other_database", 1)], ..NOTHING },
    Broken {
        keys: &[&["RPUSH", "dunlin:1:{t|/a|b}:h", "x"], &["SET", "dunlin:1:{c|}:c", "x"]],
        shallow: &[("wrong_type", 2)],
        ..NOTHING
    },
    Broken {
        keys: &[&["RPUSH", "dunlin:1:{t|/a|b}:s", "len.MMMM"]],
        shallow: &[("lone_history", 1)],
        ..NOTHING
    },
    Broken {
        keys: &[&["SADD", "dunlin:1:{n|0011223344556677}:r", "c/a"]],
        shallow: &[("lone_registry", 1)],
        ..NOTHING
    },
    Broken {
        keys: &[&["SET", "dunlin:1:{t|/a|b}:i:00ff", "EEEEEEEEMMMM1"]],
        shallow: &[("lone_idempotency", 1)],
        ..NOTHING
    },
    Broken {
        keys: &[
            &["SET", "dunlin:1:{t|/a|b}:h", "1lEEEEEEEEMMMMx"],
            &["HSET", "dunlin:1:{t|/a|m}:k", "#n", "0", "#b", "0"],
        ],
        shallow: &[("unreadable_head", 2)],
        ..NOTHING
    },
    Broken {
        keys: &[&["SET", "dunlin:1:{t|/a|b}:h", HEAD], &["RPUSH", "dunlin:1:{t|/a|b}:s", "len.NNNN"]],
        deep: &[("tail_differs", 1)],
        ..NOTHING
    },
    Broken {
        keys: &[
            &["SET", "dunlin:1:{t|/a|b}:h", HEAD],
            &["RPUSH", "dunlin:1:{t|/a|b}:s", "len.KKKK", "len.LLLL", "len.MMMM"],
        ],
        deep: &[("too_long", 1)],
        ..NOTHING
    },
    Broken {
        keys: &[
            &["HSET", "dunlin:1:{t|/a|m}:k", "#h", "1mEEEEEEEEMMMM1", "fab", "12", "#n", "2", "#b", "4"],
            &["HSET", "dunlin:1:{t|/a|n}:k", "#h", "1mEEEEEEEEMMMM1", "fab", "12", "#n", "1", "#b", "5"],
        ],
        deep: &[("map_sums", 2)],
        ..NOTHING
    },
    Broken {
        keys: &[&["HSET", "dunlin:1:{c|/a}:c", "i0011223344556677", "3", "#s", "4"]],
        deep: &[("count_sum", 1)],
        ..NOTHING
    },
];

// redis 9.6
#[tokio::test]
async fn each_fault_is_found_and_nothing_else() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    for broken in BROKEN {
        redis.ask(&["FLUSHALL"]).await?;
        for command in broken.keys {
            write(&redis, command).await?;
        }
        if let Some(key) = broken.lasting {
            redis.ask(&["PERSIST", key]).await?;
        }
        let keys = broken.keys;
        let (code, answer) = look_json(&redis, &[])?;
        ensure!(findings(&answer) == broken.shallow, "{keys:?}: {answer:#}");
        ensure!(code == i32::from(!broken.shallow.is_empty()), "{keys:?}: {code}");
        let all = [broken.shallow, broken.deep].concat();
        let (code, answer) = look_json(&redis, &["--check"])?;
        ensure!(findings(&answer) == all, "{keys:?}: {answer:#}");
        ensure!(code == i32::from(!all.is_empty()), "{keys:?}: {code}");
    }
    Ok(())
}

#[tokio::test]
async fn findings_are_told_with_examples_that_disturb_no_terminal() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    write(&redis, &["SET", "dunlin:\u{1b}[2J\n", "x"]).await?;
    write(&redis, &["SADD", "dunlin:1:{t|/a|%C3%A4%7D}:h", "x"]).await?;
    for number in 0..7 {
        let key = format!("dunlin:1:{{t|/a|{number}}}:s");
        write(&redis, &["RPUSH", &key, "len.MMMM"]).await?;
    }
    let exit = look(&redis, &[])?;
    ensure!(exit.code == 1 && exit.stderr.is_empty(), "{exit:?}");
    for part in [
        "topic histories     7 ",
        "1 key of no known class under the prefix\n  dunlin:\\u{1b}[2J\\n\n",
        "1 key of the wrong type\n  dunlin:1:{t|/a|%C3%A4%7D}:h  topic ä} of /a  it is a set, not a string\n",
        "7 keys that are histories without a head\n",
        "  and 2 more\n",
    ] {
        ensure!(exit.stdout.contains(part), "{part:?} is not in\n{}", exit.stdout);
    }
    ensure!(!exit.stdout.contains('\u{1b}'), "{exit:?}");
    Ok(())
}

#[tokio::test]
async fn twenty_thousand_keys_are_counted() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    let script = "for i = 1, 10000 do
        local topic = 'dunlin:1:{t|/a|' .. i .. '}:'
        redis.call('SET', topic .. 'h', ARGV[1], 'EX', 3600)
        redis.call('RPUSH', topic .. 's', 'len.LLLL', 'len.MMMM')
        redis.call('EXPIRE', topic .. 's', 1800)
        redis.call('SET', 'neighbour:' .. i, 'x')
      end";
    redis.ask(&["EVAL", script, "0", HEAD]).await?;
    for flags in [&[][..], &["--check"]] {
        let (code, answer) = look_json(&redis, flags)?;
        ensure!(code == 0 && answer["keys"] == 20_000, "{answer:#}");
        let kinds = ["heads", "histories"].map(|class| keys_of(&answer, class));
        ensure!(kinds == [Some(10_000); 2], "{answer:#}");
        ensure!(answer["bytes"].as_u64().is_some_and(|bytes| bytes > 20_000 * 32), "{answer:#}");
    }
    let first = "dunlin:1:{t|/a|1}:s";
    redis.ask(&["RPUSH", first, "len.NNNN"]).await?;
    let (code, answer) = look_json(&redis, &["--check"])?;
    ensure!(code == 1 && findings(&answer) == [("tail_differs", 1), ("too_long", 1)], "{answer:#}");
    ensure!(answer["findings"][0]["examples"][0]["key"] == first, "{answer:#}");
    Ok(())
}

#[tokio::test]
async fn an_empty_redis_is_clean() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    let exit = look(&redis, &["--check"])?;
    ensure!(exit.code == 0 && exit.stdout.contains("no keys of a cluster"), "{exit:?}");
    let (code, answer) = look_json(&redis, &[])?;
    ensure!(code == 0 && answer["keys"] == 0 && answer["bytes"] == 0, "{answer:#}");
    Ok(())
}

#[tokio::test]
async fn another_database_has_keys_of_its_own() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    let script = "redis.call('SELECT', 3) redis.call('SET', 'dunlin:1@3:{t|/a|b}:h', ARGV[1], 'EX', 60)
      redis.call('SET', 'dunlin:1:{t|/a|b}:h', ARGV[1], 'EX', 60)";
    redis.ask(&["EVAL", script, "0", HEAD]).await?;
    let third = format!("{}/3", url(&redis));
    let exit = run(&["keys", "--redis", &third, "--json"], "")?;
    let answer: Value = serde_json::from_str(&exit.stdout).with_context(|| format!("{exit:?}"))?;
    ensure!(
        keys_of(&answer, "heads") == Some(1) && findings(&answer) == [("other_database", 1)],
        "{answer:#}"
    );
    let (_, answer) = look_json(&redis, &[])?;
    ensure!(answer["keys"] == 0 && findings(&answer).is_empty(), "{answer:#}");
    Ok(())
}

#[tokio::test]
async fn without_memory_usage_keys_are_counted_without_bytes() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    write(&redis, &["SET", &format!("{TOPIC}:h"), HEAD]).await?;
    write(&redis, &["RPUSH", &format!("{TOPIC}:s"), "len.LLLL", "len.MMMM"]).await?;
    write(&redis, &["SET", "dunlin:notes", "x"]).await?;
    let rights = "ACL SETUSER looker on >hush ~dunlin:1:* -@all +scan +type +pttl +getrange +exists \
                  +zscore +hget +hgetall +hlen +llen +lindex";
    redis.ask(&rights.split_whitespace().collect::<Vec<_>>()).await?;
    let looker = format!("redis://looker:hush@{}", redis.address());
    let exit = run(&["keys", "--redis", &looker, "--check"], "")?;
    ensure!(exit.code == 1 && exit.stdout.contains("topic histories     1      ?"), "{exit:?}");
    ensure!(
        exit.stdout.contains("MEMORY USAGE") && exit.stdout.contains("1 key of no known class"),
        "{exit:?}"
    );
    // E11
    ensure!(exit.stdout.contains("redis://looker:…@") && !exit.stdout.contains("hush"), "{exit:?}");
    let exit = run(&["keys", "--redis", &looker, "--json"], "")?;
    let answer: Value = serde_json::from_str(&exit.stdout).with_context(|| format!("{exit:?}"))?;
    ensure!(answer["bytes"].is_null() && answer["keys"] == 2, "{answer:#}");

    redis.ask(&["ACL", "SETUSER", "looker", "+memory|usage"]).await?;
    let exit = run(&["keys", "--redis", &looker, "--check"], "")?;
    ensure!(
        exit.code == 1 && !exit.stdout.contains("MEMORY USAGE") && exit.stdout.contains(" B"),
        "{exit:?}"
    );

    redis.ask(&["ACL", "SETUSER", "looker", "-lindex"]).await?;
    let exit = run(&["keys", "--redis", &looker, "--check"], "")?;
    ensure!(exit.code == 69 && exit.stdout.is_empty(), "{exit:?}");
    ensure!(exit.stderr.contains("refuses LINDEX") && exit.stderr.contains("NOPERM"), "{exit:?}");
    ensure!(!exit.stderr.contains("hush"), "{exit:?}");
    Ok(())
}

#[tokio::test]
async fn a_redis_that_does_not_answer_is_told_in_one_sentence() -> anyhow::Result<()> {
    let mut redis = Redis::start().await?;
    let secret = format!("redis://:hush@{}", redis.address());
    let refused = |why: &str| -> anyhow::Result<()> {
        let began = Instant::now();
        let exit = run(&["keys", "--redis", &secret], "")?;
        ensure!(exit.code == 69 && exit.stdout.is_empty(), "{exit:?}");
        ensure!(exit.stderr.starts_with("dunlin: redis://:…@127.0.0.1:"), "{exit:?}");
        ensure!(exit.stderr.contains("can't be reached") && exit.stderr.contains(why), "{exit:?}");
        ensure!(exit.stderr.trim_end().lines().count() == 1 && !exit.stderr.contains("hush"), "{exit:?}");
        ensure!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
        Ok(())
    };
    redis.ask(&["CONFIG", "SET", "requirepass", "quiet"]).await?;
    refused("WRONGPASS")?;
    redis.freeze()?;
    refused("no answer within 5 s")?;
    redis.thaw()?;
    redis.kill()?;
    refused("Connection refused")?;
    Ok(())
}

#[test]
fn what_names_no_cluster_is_bad_usage() -> anyhow::Result<()> {
    let table: [(&[&str], &str, &str); 4] = [
        (&["keys"], "", "--redis"),
        (&["keys", "--redis", "127.0.0.1"], "", "redis://"),
        (&["keys", "--redis", "redis://127.0.0.1", "--prefix", "a b"], "", "--prefix"),
        (&["keys", "--redis", "redis://127.0.0.1"], "drain = 'soon'", "drain"),
    ];
    for (arguments, config, part) in table {
        let exit = run(arguments, config)?;
        ensure!(exit.code == 64 && exit.stderr.contains(part), "{arguments:?}: {exit:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_configuration_names_the_cluster() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    write(&redis, &["SET", "mine:1:{t|/a|b}:h", HEAD]).await?;
    let config = format!("[redis]\nurl = '{}'\nprefix = 'mine'", url(&redis));
    let exit = run(&["keys"], &config)?;
    ensure!(exit.code == 0 && exit.stdout.contains("topic heads     1"), "{exit:?}");
    let exit = run(&["keys", "--prefix", "other"], &config)?;
    ensure!(exit.code == 0 && exit.stdout.contains("no keys of a cluster"), "{exit:?}");
    Ok(())
}

#[tokio::test]
async fn it_only_reads() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    for command in BROKEN.iter().flat_map(|broken| broken.keys) {
        redis.ask(&["DEL", command[1]]).await?;
        write(&redis, command).await?;
    }
    let (address, before) = (url(&redis), redis.ask(&["DBSIZE"]).await?);
    let work = async {
        spawn_blocking(move || run(&["keys", "--redis", &address, "--check"], "")).await??;
        Ok(())
    };
    let overheard = redis.overhear(work).await?;
    let said: Vec<_> = overheard.iter().filter_map(|line| line.split('"').nth(1)).collect();
    ensure!(["SCAN", "TYPE", "LINDEX"].iter().all(|command| said.contains(command)), "{overheard:?}");
    let reads =
        ["SCAN", "TYPE", "PTTL", "MEMORY", "GETRANGE", "EXISTS", "ZSCORE", "HGET", "HGETALL", "HLEN", "LLEN"];
    let library = ["LINDEX", "HELLO", "CLIENT", "INFO", "ECHO"];
    let other: Vec<_> =
        said.iter().filter(|command| !reads.contains(command) && !library.contains(command)).collect();
    ensure!(other.is_empty(), "{other:?}");
    ensure!(redis.ask(&["DBSIZE"]).await? == before, "keys came or went");
    Ok(())
}

// redis 9.6 (a)
#[tokio::test]
async fn topics_that_are_written_meanwhile_are_no_fault() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    // With long names a batch of questions is longer than what Redis reads at once, so others come between.
    let script = "for topic = 1, 200 do
        local key = 'dunlin:1:{t|/a|' .. topic .. string.rep('x', 200) .. '}:'
        local offset = redis.call('INCR', 'offset')
        local mark = string.format('%04d', offset % 10000)
        redis.call('RPUSH', key .. 's', 'len.' .. mark)
        redis.call('LTRIM', key .. 's', -10, -1)
        redis.call('SET', key .. 'h', '1lEEEEEEEE' .. mark .. offset, 'EX', 60)
        redis.call('EXPIRE', key .. 's', 60)
      end";
    let round = ["EVAL", script, "0"];
    redis.ask(&round).await?;
    let address = url(&redis);
    let mut looking = spawn_blocking(move || {
        let exits = (0..10).map(|_| run(&["keys", "--redis", &address, "--check"], ""));
        exits.collect::<anyhow::Result<Vec<_>>>()
    });
    let mut rounds = 0;
    let exits = loop {
        tokio::select! {
            exits = &mut looking => break exits??,
            written = redis.ask(&round) => written.map(|_| rounds += 1)?,
        }
    };
    ensure!(rounds > 10, "it was written {rounds} times only");
    for exit in exits {
        ensure!(exit.code == 0 && exit.stdout.contains("topic histories   200"), "{exit:?}");
    }
    Ok(())
}
