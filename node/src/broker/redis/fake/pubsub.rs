//! Channels. What is pushed is written where it happens, so each client has it in the order of execution.

use super::Connection;
use super::commands::Outcome;
use super::resp::{Reply, Word};
use super::server::Server;

/// `SUBSCRIBE channel…`: one push for each, with how many the client has then.
pub fn subscribe(server: &mut Server, connection: Connection, words: &[Word]) -> Outcome {
    for channel in &words[1..] {
        server.channels.entry(channel.clone()).or_default().insert(connection);
        server.client(connection).channels.insert(channel.clone());
        confirm(server, connection, "subscribe", Some(channel));
    }
    Ok(Reply::Silence)
}

/// `UNSUBSCRIBE [channel…]`: one push for each, also where there was no subscription. Without a channel all
/// end, in an order that Redis does not promise.
pub fn unsubscribe(server: &mut Server, connection: Connection, words: &[Word]) -> Outcome {
    let mut channels = words[1..].to_vec();
    if channels.is_empty() {
        channels.extend(server.client(connection).channels.iter().cloned());
    }
    if channels.is_empty() {
        confirm(server, connection, "unsubscribe", None);
    }
    for channel in &channels {
        server.client(connection).channels.remove(channel);
        server.forget_subscriber(connection, channel);
        confirm(server, connection, "unsubscribe", Some(channel));
    }
    Ok(Reply::Silence)
}

/// `PUBLISH channel message`: answers how many got it.
pub fn publish(server: &mut Server, _: Connection, words: &[Word]) -> Outcome {
    let receivers = server.channels.get(&words[1]).cloned().unwrap_or_default();
    let message = [Reply::bulk("message"), Reply::Bulk(words[1].clone()), Reply::Bulk(words[2].clone())];
    let message = Reply::Push(message.into());
    for receiver in &receivers {
        server.reply(*receiver, &message);
    }
    Ok(Reply::count(receivers.len()))
}

fn confirm(server: &mut Server, connection: Connection, what: &str, channel: Option<&Word>) {
    let client = server.client(connection);
    let count = Reply::count(client.channels.len());
    client.write(&Reply::Push(vec![Reply::bulk(what), Reply::bulk_or_null(channel), count]));
}
