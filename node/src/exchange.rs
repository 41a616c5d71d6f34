//! Between a hub and a broker, which don't know each other: what one wants becomes the other's command, what the other
//! has is told.

use crate::broker::{Command, Event};
use crate::hub::{Effect, Hub};

/// The command that an effect comes to; the effect itself if it is none of the broker's business.
#[expect(clippy::result_large_err, reason = "an effect is moved once either way")]
pub fn command(effect: Effect) -> Result<Command, Effect> {
    Ok(match effect {
        Effect::Join { tag, namespace, topic, retention } => Command::Join(tag, namespace, topic, retention),
        Effect::Leave { tag, namespace, topic } => Command::Leave(tag, namespace, topic),
        Effect::Count { tag, namespace, peers } => Command::Count(tag, namespace, peers),
        Effect::Publish { ticket, envelope } => Command::Publish(ticket, envelope),
        Effect::Commit(ticket, commit) => Command::Commit(ticket, commit),
        Effect::Recover(ticket, tag, asked) => Command::Recover(ticket, tag, asked),
        Effect::Page(ticket, reading) => Command::Read(ticket, reading),
        Effect::Read(_) | Effect::Close { .. } | Effect::Terminate(_) => return Err(effect),
    })
}

/// Tells a hub what the broker has for it.
pub fn tell(hub: &mut Hub, event: Event) {
    match event {
        Event::Publication(tag, publication) => hub.deliver(tag, &publication),
        Event::Broadcast(tag, publication) => hub.deliver_to_all(tag, &publication),
        Event::Joined(tag) => hub.joined(tag),
        Event::Counted(tag, elsewhere) => hub.counted(tag, elsewhere),
        Event::Settled(ticket, outcome) => hub.settled(ticket, outcome),
        Event::Committed(ticket, outcome) => hub.committed(ticket, outcome),
        Event::Recovered(ticket, recovery) => hub.recovered(ticket, *recovery),
        Event::Read(ticket, page) => hub.page(ticket, *page),
        Event::Missed(tag, gap) => hub.missed(tag, gap),
        Event::Reset(tag, position, state) => hub.reset(tag, position, state),
        Event::Keys(keys) => hub.set_keys(keys),
        Event::Reached(reach) => hub.reached(reach),
    }
}
