//! The tools of the cluster tests do to Redis and to links what they say, else those tests show nothing.

use std::time::Duration;

use anyhow::ensure;
use dunlin_tests::{Proxy, Redis, Stretches, holds, soon, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A client that counts: what it asks of Redis has an effect that others see, and an answer.
struct Counter {
    stream: TcpStream,
}

impl Counter {
    async fn connect(proxy: &Proxy) -> anyhow::Result<Self> {
        Ok(Self { stream: TcpStream::connect(proxy.address).await? })
    }

    async fn increment(&mut self) -> anyhow::Result<()> {
        Ok(self.stream.write_all(b"INCR counter\r\n").await?)
    }

    /// What comes back within a moment; empty at the connection's end.
    async fn answer(&mut self) -> anyhow::Result<String> {
        soon("an answer", async {
            let mut buffer = [0; 64];
            let count = self.stream.read(&mut buffer).await?;
            Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
        })
        .await
    }

    /// That nothing comes back.
    async fn stays_unanswered(&mut self) -> anyhow::Result<()> {
        holds(Duration::from_millis(200), async || {
            let read = self.stream.try_read(&mut [0; 64]);
            ensure!(read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
            Ok(())
        })
        .await
    }

    async fn was_cut(mut self) -> bool {
        self.answer().await.is_ok_and(|answer| answer.is_empty()) || self.increment().await.is_err()
    }
}

async fn value(redis: &Redis) -> anyhow::Result<Option<String>> {
    Ok(redis.ask(&["GET", "counter"]).await?.as_str().map(str::to_owned))
}

async fn becomes(redis: &Redis, expected: &str) -> anyhow::Result<()> {
    until(format_args!("counter {expected}"), dunlin_tests::PATIENCE, async || {
        Ok((value(redis).await?.as_deref() == Some(expected)).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_redis_that_was_killed_is_gone_and_comes_back_empty_at_its_place() -> anyhow::Result<()> {
    let mut redis = Redis::start().await?;
    let address = redis.address();
    redis.ask(&["SET", "key", "value", "EX", "100"]).await?;
    let keys = redis.keys().await?;
    ensure!(keys.len() == 1 && keys[0].name == "key" && (99..=100).contains(&keys[0].ttl), "{keys:?}");
    redis.kill()?;
    ensure!(TcpStream::connect(address).await.is_err(), "the port answers while the server is away");
    redis.start_again().await?;
    ensure!(redis.address() == address && redis.keys().await?.is_empty());
    ensure!(redis.ask(&["NO", "SUCH"]).await.is_err());
    let asked = async {
        redis.ask(&["EVAL", "redis.call('SET', 'a', 1)", "0"]).await?;
        redis.ask(&["PING"]).await?;
        Ok(())
    };
    let overheard = redis.overhear(asked).await?;
    ensure!(overheard.len() == 2 && overheard[1].contains("PING"), "{overheard:?}");
    Ok(())
}

#[tokio::test]
async fn a_proxy_does_to_a_link_what_it_is_told() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    let proxy = Proxy::start(redis.address())?;
    let mut counter = Counter::connect(&proxy).await?;
    counter.increment().await?;
    assert_eq!(counter.answer().await?, ":1\r\n");
    assert_eq!(proxy.carried(), (14, 4));

    proxy.lose_replies();
    counter.increment().await?;
    becomes(&redis, "2").await?;
    counter.stays_unanswered().await?;
    proxy.pass();
    counter.increment().await?;
    becomes(&redis, "3").await?;
    counter.stays_unanswered().await?;
    proxy.cut();
    ensure!(counter.was_cut().await);

    let mut counter = Counter::connect(&proxy).await?;
    proxy.hold_replies();
    counter.increment().await?;
    becomes(&redis, "4").await?;
    counter.stays_unanswered().await?;
    proxy.pass();
    assert_eq!(counter.answer().await?, ":4\r\n");

    proxy.swallow();
    counter.increment().await?;
    counter.stays_unanswered().await?;
    let mut newcomer = Counter::connect(&proxy).await?;
    newcomer.increment().await?;
    newcomer.stays_unanswered().await?;
    proxy.pass();
    counter.increment().await?;
    counter.stays_unanswered().await?;
    let mut counter = Counter::connect(&proxy).await?;
    counter.increment().await?;
    assert_eq!(counter.answer().await?, ":5\r\n", "what was swallowed has come");
    Ok(())
}

#[tokio::test]
async fn a_proxy_cuts_and_brings_late_what_it_held() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    let proxy = Proxy::start(redis.address())?;
    let mut counter = Counter::connect(&proxy).await?;
    counter.increment().await?;
    assert_eq!(counter.answer().await?, ":1\r\n");
    proxy.hold_requests();
    counter.increment().await?;
    counter.stays_unanswered().await?;
    proxy.cut();
    ensure!(counter.was_cut().await);
    proxy.pass();
    let mut second = Counter::connect(&proxy).await?;
    second.increment().await?;
    assert_eq!(second.answer().await?, ":2\r\n");
    proxy.deliver_late();
    becomes(&redis, "3").await?;

    proxy.refuse();
    ensure!(second.was_cut().await);
    if let Ok(refused) = Counter::connect(&proxy).await {
        ensure!(refused.was_cut().await);
    }
    proxy.pass();
    let mut third = Counter::connect(&proxy).await?;
    third.increment().await?;
    assert_eq!(third.answer().await?, ":4\r\n");
    Ok(())
}

#[tokio::test]
async fn a_proxy_leads_new_connections_elsewhere_and_loses_one_message() -> anyhow::Result<()> {
    let (one, other) = (Redis::start().await?, Redis::start().await?);
    let proxy = Proxy::start(one.address())?;
    let mut first = Counter::connect(&proxy).await?;
    first.increment().await?;
    assert_eq!(first.answer().await?, ":1\r\n");
    proxy.lead_to(other.address());
    ensure!(first.was_cut().await);
    Counter::connect(&proxy).await?.increment().await?;
    becomes(&other, "1").await?;
    assert_eq!(value(&one).await?.as_deref(), Some("1"));

    let mut listener = TcpStream::connect(proxy.address).await?;
    listener.write_all(b"HELLO 3\r\nSUBSCRIBE news\r\n").await?;
    until("a subscriber", dunlin_tests::PATIENCE, async || {
        Ok((other.ask(&["PUBSUB", "NUMSUB", "news"]).await?[1] == 1).then_some(()))
    })
    .await?;
    proxy.lose_message("second");
    for news in ["first", "second", "second", "third"] {
        other.ask(&["PUBLISH", "news", news]).await?;
    }
    let mut came = String::new();
    while !came.contains("third") {
        let mut buffer = [0; 1024];
        let count = soon("a message", async { Ok(listener.read(&mut buffer).await?) }).await?;
        came.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    let times = |news| came.matches(news).count();
    assert_eq!((times("first"), times("second"), times("third")), (1, 1, 1), "{came:?}");
    ensure!(proxy.has_lost_it());
    Ok(())
}

#[tokio::test]
async fn a_replica_has_what_its_master_has_until_it_leads() -> anyhow::Result<()> {
    let (master, replica) = (Redis::start().await?, Redis::start().await?);
    master.ask(&["SET", "counter", "1"]).await?;
    replica.follow(&master).await?;
    assert_eq!(value(&replica).await?.as_deref(), Some("1"));
    master.ask(&["SET", "counter", "2"]).await?;
    replica.catch_up_with(&master).await?;
    replica.lead().await?;
    master.ask(&["SET", "counter", "3"]).await?;
    assert_eq!(value(&replica).await?.as_deref(), Some("2"));
    Ok(())
}

#[tokio::test]
async fn a_lasting_redis_comes_back_with_what_it_answered_until_it_is_made_to_forget() -> anyhow::Result<()> {
    let mut redis = Redis::start_lasting().await?;
    redis.ask(&["SET", "counter", "1"]).await?;
    redis.kill()?;
    redis.start_again().await?;
    assert_eq!(value(&redis).await?.as_deref(), Some("1"));
    redis.kill()?;
    redis.forget()?;
    redis.start_again().await?;
    assert_eq!(value(&redis).await?, None);
    Ok(())
}

#[test]
fn what_was_given_is_compared_with_what_was_acknowledged() {
    // Number 2 was not acknowledged: it may be there or not.
    let acknowledged = [true, true, false, true, true];
    let given = |numbers: &[&[u64]]| {
        let numbers = numbers.iter().map(|stretch| stretch.to_vec()).collect();
        Stretches { numbers, ..Stretches::default() }.check(&acknowledged)
    };
    for good in
        [&[&[0_u64, 1, 3, 4][..]][..], &[&[0, 1, 2, 3]], &[&[0, 1], &[1, 3, 4]], &[&[0], &[4]], &[&[]]]
    {
        assert!(given(good).is_ok(), "{good:?}");
    }
    for bad in [&[0_u64, 3, 4][..], &[0, 1, 1, 3], &[1, 0, 3], &[0, 1, 4, 3], &[0, 2, 1, 2]] {
        assert!(given(&[bad]).is_err(), "{bad:?}");
    }
}
