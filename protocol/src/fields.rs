//! From the values of a frame's keys to a request, whichever codec they are written in.
//!
//! A codec notes where the values of known keys are; then the type decides which of them matter. So a key is
//! only looked at by the frame it belongs to, and an application's own messages may use any.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::code::prefix;
use crate::key::{KEYS, Key};
use crate::{
    ClientFrame, ErrorCode, FrameError, NameError, Payload, RECIPIENTS_MAX, REQUEST_ID_BYTES_MAX, Recipients,
    Request, RequestId, ResumeTopic, TooManyRecipients, Topic,
};

/// How the values of a frame are written. A reader says `None` of a value that is of another type.
pub(crate) trait Codec: Sized {
    /// Notes where the values of known keys are; fails where the bytes stop being a frame.
    fn note_all(fields: &mut Fields<'_, Self>) -> Outcome<()>;
    /// Whether the value is null, which is as good as missing where a key may be.
    fn is_null(raw: &[u8]) -> bool;
    /// The characters of a string.
    fn text(raw: &[u8]) -> Option<Cow<'_, str>>;
    /// An integer of 64 bits.
    fn integer(raw: &[u8]) -> Option<i64>;
    /// True or false.
    fn flag(raw: &[u8]) -> Option<bool>;
    /// The strings of a list, no more than [`LISTED_MAX`].
    fn texts(raw: &[u8]) -> Option<Vec<String>>;
    /// The topics of a resumed session, no more than [`LISTED_MAX`].
    fn resumed(raw: &[u8]) -> Option<Vec<Resumed>>;
    /// Any value, as what a publication carries.
    fn payload(value: Bytes) -> Outcome<Payload>;
    /// Any value, as JSON.
    fn json(value: Bytes) -> Outcome<Payload>;
    /// A type that is no string, for the message about it.
    fn shown(raw: &[u8]) -> Cow<'_, str>;
}

/// One topic of a resumed session, before its name is checked.
#[derive(serde::Deserialize)]
pub(crate) struct Resumed {
    pub(crate) topic: String,
    pub(crate) since: Option<Box<str>>,
}

/// Elements that are read of a list: as many as it takes to see that there are too many.
pub(crate) const LISTED_MAX: usize = RECIPIENTS_MAX + 1;

/// A frame's bytes and where the values of known keys are in them.
pub(crate) struct Fields<'a, C> {
    frame: &'a Bytes,
    /// By [`Key`]; an empty range is a key that was not there.
    values: [Range<usize>; KEYS.len()],
    /// The keys that came twice, a bit each.
    twice: u32,
    codec: PhantomData<C>,
}

/// What is wrong, before the answer's address is known.
pub(crate) struct Refusal {
    code: ErrorCode,
    message: Cow<'static, str>,
}

pub(crate) type Outcome<T> = Result<T, Refusal>;

/// Reads a client's frame.
pub(crate) fn decode<C: Codec>(frame: &Bytes) -> Result<Request, FrameError> {
    let mut fields = Fields::<C>::new(frame);
    match C::note_all(&mut fields).and_then(|()| fields.request()) {
        Ok(request) => Ok(request),
        Err(Refusal { code, message }) => {
            Err(FrameError { code, message, id: fields.id().ok().flatten(), topic: fields.topic().ok() })
        }
    }
}

/// The id that [`decode`] would give with its request or its error, without looking at anything else.
pub(crate) fn request_id<C: Codec>(frame: &Bytes) -> Option<RequestId> {
    let mut fields = Fields::<C>::new(frame);
    // A frame that ends early may have had its id before.
    let _ = C::note_all(&mut fields);
    fields.id().ok().flatten()
}

impl<'a, C: Codec> Fields<'a, C> {
    fn new(frame: &'a Bytes) -> Self {
        Self { frame, values: [const { 0..0 }; KEYS.len()], twice: 0, codec: PhantomData }
    }

    /// All the bytes.
    pub(crate) fn frame(&self) -> &'a Bytes {
        self.frame
    }

    /// Notes where a key's value is.
    pub(crate) fn note(&mut self, key: Key, value: Range<usize>) {
        let noted = &mut self.values[key as usize];
        if noted.end == 0 {
            *noted = value;
        } else {
            self.twice |= 1 << key as u32;
        }
    }

    fn request(&self) -> Outcome<Request> {
        let frame = match self.type_of()?.as_ref() {
            "publish" => self.publish(),
            "subscribe" => self.subscribe(),
            "unsubscribe" => Ok(ClientFrame::Unsubscribe { topic: self.topic()? }),
            "history" => self.history(),
            "presence" => self.presence(),
            "resume" => self.resume(),
            "auth" => Ok(ClientFrame::Auth { token: self.needed(Key::Token)? }),
            "hello" => Ok(ClientFrame::Hello),
            "ping" => Ok(ClientFrame::Ping),
            other => Err(unknown_type(other)),
        };
        Ok(Request { frame: frame?, id: self.id()? })
    }

    fn publish(&self) -> Outcome<ClientFrame> {
        Ok(ClientFrame::Publish {
            to: self.recipients()?,
            payload: self.payload()?,
            echo: self.flag(Key::Echo)?,
            key: self.string(Key::Idempotency)?,
        })
    }

    fn subscribe(&self) -> Outcome<ClientFrame> {
        Ok(ClientFrame::Subscribe {
            topic: self.topic()?,
            since: self.string(Key::Since)?,
            replay: self.number(Key::Replay)?,
            presence: self.flag(Key::Presence)?.unwrap_or(false),
            token: self.string(Key::Token)?,
        })
    }

    fn history(&self) -> Outcome<ClientFrame> {
        Ok(ClientFrame::History {
            topic: self.topic()?,
            since: self.string(Key::Since)?,
            before: self.string(Key::Before)?,
            limit: self.number(Key::Limit)?.ok_or_else(|| missing(Key::Limit))?,
        })
    }

    fn presence(&self) -> Outcome<ClientFrame> {
        Ok(ClientFrame::Presence {
            topic: self.topic()?,
            info: self.range(Key::Info)?.map(|range| C::json(self.frame.slice(range))).transpose()?,
            after: self.string(Key::After)?,
            limit: self.number(Key::Limit)?,
        })
    }

    fn resume(&self) -> Outcome<ClientFrame> {
        let topics = self.optional(Key::Topics, C::resumed)?.ok_or_else(|| missing(Key::Topics))?;
        if topics.len() > RECIPIENTS_MAX {
            return Err(malformed(TooManyRecipients { topics: topics.len() }.to_string()));
        }
        let topics = topics.into_iter().map(|Resumed { topic, since }| {
            Topic::parse(&topic)
                .map(|topic| ResumeTopic { topic, since })
                .map_err(|error| invalid_topic(&error))
        });
        Ok(ClientFrame::Resume { grant: self.needed(Key::Grant)?, topics: topics.collect::<Outcome<_>>()? })
    }

    fn type_of(&self) -> Outcome<Cow<'a, str>> {
        let Some(raw) = self.raw(Key::Type)? else {
            return Err(Refusal { code: ErrorCode::UnknownType, message: "type is missing".into() });
        };
        C::text(raw).ok_or_else(|| unknown_type(&C::shown(raw)))
    }

    fn id(&self) -> Outcome<Option<RequestId>> {
        let Some(raw) = self.raw(Key::Id)?.filter(|raw| !C::is_null(raw)) else {
            return Ok(None);
        };
        let id = match C::text(raw) {
            Some(text) => (text.len() <= REQUEST_ID_BYTES_MAX).then(|| RequestId::Text(text.into())),
            None => C::integer(raw).map(RequestId::Number),
        };
        id.map(Some).ok_or_else(|| malformed("id must be an integer or a string of at most 64 bytes"))
    }

    fn topic(&self) -> Outcome<Topic> {
        let raw = self.raw(Key::Topic)?.ok_or_else(|| missing(Key::Topic))?;
        let text = C::text(raw).ok_or_else(|| mistyped(Key::Topic))?;
        Topic::parse(&text).map_err(|error| invalid_topic(&error))
    }

    /// A publish without topics is for everybody, so no mistake in them may pass for their absence.
    fn recipients(&self) -> Outcome<Recipients> {
        match (self.raw(Key::Topic)?, self.raw(Key::Topics)?) {
            (Some(_), Some(_)) => Err(malformed("topic and topics exclude each other")),
            (Some(_), None) => self.topic().map(Recipients::Topic),
            (None, None) => Ok(Recipients::Namespace),
            (None, Some(raw)) => {
                let texts = C::texts(raw).ok_or_else(|| mistyped(Key::Topics))?;
                let topics =
                    texts.iter().map(|text| Topic::parse(text).map_err(|error| invalid_topic(&error)));
                Recipients::several(topics.collect::<Outcome<Vec<_>>>()?)
                    .map_err(|error| malformed(error.to_string()))
            }
        }
    }

    fn payload(&self) -> Outcome<Payload> {
        match (self.range(Key::Payload)?, self.raw(Key::Base64)?) {
            (Some(_), Some(_)) => Err(malformed("payload and base64 exclude each other")),
            (Some(range), None) => C::payload(self.frame.slice(range)),
            (None, None) => Ok(Payload::null()),
            (None, Some(raw)) => {
                let text = C::text(raw).ok_or_else(|| mistyped(Key::Base64))?;
                let bytes = STANDARD.decode(&*text).map(Payload::binary);
                bytes.map_err(|_| invalid_payload("base64 is not of the standard alphabet with padding"))
            }
        }
    }

    fn needed(&self, key: Key) -> Outcome<Box<str>> {
        self.string(key)?.ok_or_else(|| missing(key))
    }

    fn string(&self, key: Key) -> Outcome<Option<Box<str>>> {
        self.optional(key, |raw| C::text(raw).map(Into::into))
    }

    fn number(&self, key: Key) -> Outcome<Option<u32>> {
        self.optional(key, |raw| u32::try_from(C::integer(raw)?).ok())
    }

    fn flag(&self, key: Key) -> Outcome<Option<bool>> {
        self.optional(key, C::flag)
    }

    fn optional<T>(&self, key: Key, read: impl FnOnce(&'a [u8]) -> Option<T>) -> Outcome<Option<T>> {
        match self.raw(key)?.filter(|raw| !C::is_null(raw)) {
            None => Ok(None),
            Some(raw) => read(raw).map(Some).ok_or_else(|| mistyped(key)),
        }
    }

    fn raw(&self, key: Key) -> Outcome<Option<&'a [u8]>> {
        Ok(self.range(key)?.map(|range| &self.frame[range]))
    }

    fn range(&self, key: Key) -> Outcome<Option<Range<usize>>> {
        if self.twice & 1 << key as u32 != 0 {
            return Err(malformed(format!("{} comes twice", key.name())));
        }
        Ok(Some(self.values[key as usize].clone()).filter(|range| range.end > 0))
    }
}

pub(crate) fn malformed(message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal { code: ErrorCode::Malformed, message: message.into() }
}

pub(crate) fn invalid_payload(message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal { code: ErrorCode::InvalidPayload, message: message.into() }
}

fn missing(key: Key) -> Refusal {
    malformed(format!("{} is missing", key.name()))
}

fn mistyped(key: Key) -> Refusal {
    malformed(format!("{} must be {}", key.name(), key.wanted()))
}

fn invalid_topic(error: &NameError) -> Refusal {
    Refusal { code: ErrorCode::InvalidTopic, message: error.to_string().into() }
}

fn unknown_type(name: &str) -> Refusal {
    let shown = prefix(name, TYPE_BYTES_SHOWN);
    Refusal { code: ErrorCode::UnknownType, message: format!("type {shown:?} is unknown").into() }
}

/// How much of an unknown type is repeated to who sent it.
const TYPE_BYTES_SHOWN: usize = 32;
