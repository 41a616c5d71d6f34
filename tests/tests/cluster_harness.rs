//! The tools of the cluster tests do to Redis and to links what they say, else those tests show nothing.

use std::time::Duration;

use anyhow::ensure;
use dunlin_tests::{Proxy, Redis, holds, soon, until};
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
