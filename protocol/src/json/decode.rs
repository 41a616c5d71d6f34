//! From JSON text to a request.
//!
//! One walk over the text notes where the values of known keys are; then the type decides which of them matter.
//! So a key is only looked at by the frame it belongs to, and an application's own messages may use any.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::key::{KEYS, Key};
use super::scan::{Fault, Scanner};
use super::unquote;
use crate::code::prefix;
use crate::{
    ClientFrame, DEPTH_MAX, ErrorCode, FrameError, NameError, Payload, RECIPIENTS_MAX, REQUEST_ID_BYTES_MAX,
    Recipients, Request, RequestId, ResumeTopic, TooManyRecipients, Topic,
};

/// Reads a client's frame from JSON text, which the caller knows to be UTF-8.
///
/// A JSON payload is a slice of `text`, byte for byte. Unknown keys are ignored; a key of the frame that has the
/// wrong type or comes twice makes it malformed, and `null` for a key that may be missing is as good as missing.
pub fn decode(text: &Bytes) -> Result<Request, FrameError> {
    let mut fields = Fields::new(text);
    match fields.note_all().and_then(|()| fields.request()) {
        Ok(request) => Ok(request),
        Err(Refusal { code, message }) => {
            Err(FrameError { code, message, id: fields.id().ok().flatten(), topic: fields.topic().ok() })
        }
    }
}

/// A frame's text and where the values of known keys are in it.
struct Fields<'a> {
    text: &'a Bytes,
    /// By [`Key`]; an empty range is a key that was not there.
    values: [Range<usize>; KEYS.len()],
    /// The keys that came twice, a bit each.
    twice: u32,
}

/// What is wrong, before the answer's address is known.
struct Refusal {
    code: ErrorCode,
    message: Cow<'static, str>,
}

type Outcome<T> = Result<T, Refusal>;

impl<'a> Fields<'a> {
    fn new(text: &'a Bytes) -> Self {
        Self { text, values: [const { 0..0 }; KEYS.len()], twice: 0 }
    }

    fn note_all(&mut self) -> Outcome<()> {
        let mut scanner = Scanner::new(self.text);
        self.walk(&mut scanner).map_err(|fault| match fault {
            Fault::Syntax => malformed(format!("not a json object at byte {}", scanner.at())),
            Fault::Depth => {
                malformed(format!("json nests deeper than {DEPTH_MAX} levels at byte {}", scanner.at()))
            }
        })
    }

    fn walk(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Fault> {
        scanner.punctuation(b'{')?;
        if scanner.skip(b'}') {
            return scanner.end();
        }
        loop {
            let key = Key::of(&self.text[scanner.text()?]);
            scanner.punctuation(b':')?;
            let value = scanner.value()?;
            if let Some(key) = key {
                self.note(key, value);
            }
            if !scanner.skip(b',') {
                break;
            }
        }
        scanner.punctuation(b'}')?;
        scanner.end()
    }

    fn note(&mut self, key: Key, value: Range<usize>) {
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
            info: self.range(Key::Info)?.map(|range| Payload::json(self.text.slice(range))),
            after: self.string(Key::After)?,
            limit: self.number(Key::Limit)?,
        })
    }

    fn resume(&self) -> Outcome<ClientFrame> {
        #[derive(Deserialize)]
        struct Resumed {
            topic: String,
            since: Option<Box<str>>,
        }
        let AtMost(topics): AtMost<Resumed> = self.typed(Key::Topics)?.ok_or_else(|| missing(Key::Topics))?;
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
        unquote(raw).ok_or_else(|| unknown_type(&String::from_utf8_lossy(raw)))
    }

    fn id(&self) -> Outcome<Option<RequestId>> {
        let Some(raw) = self.raw(Key::Id)? else {
            return Ok(None);
        };
        let id = match raw[0] {
            b'n' => return Ok(None),
            b'"' => unquote(raw)
                .filter(|text| text.len() <= REQUEST_ID_BYTES_MAX)
                .map(|text| RequestId::Text(text.into())),
            _ => number(raw).map(RequestId::Number),
        };
        id.map(Some).ok_or_else(|| malformed("id must be an integer or a string of at most 64 bytes"))
    }

    fn topic(&self) -> Outcome<Topic> {
        let raw = self.raw(Key::Topic)?.ok_or_else(|| missing(Key::Topic))?;
        let text = unquote(raw).ok_or_else(|| mistyped(Key::Topic))?;
        Topic::parse(&text).map_err(|error| invalid_topic(&error))
    }

    /// A publish without topics is for everybody, so no mistake in them may pass for their absence.
    fn recipients(&self) -> Outcome<Recipients> {
        match (self.raw(Key::Topic)?, self.raw(Key::Topics)?) {
            (Some(_), Some(_)) => Err(malformed("topic and topics exclude each other")),
            (Some(_), None) => self.topic().map(Recipients::Topic),
            (None, None) => Ok(Recipients::Namespace),
            (None, Some(_)) => {
                let AtMost(texts): AtMost<String> =
                    self.typed(Key::Topics)?.ok_or_else(|| mistyped(Key::Topics))?;
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
            (Some(range), None) => Ok(Payload::json(self.text.slice(range))),
            (None, None) => Ok(Payload::null()),
            (None, Some(raw)) => {
                let text = unquote(raw).ok_or_else(|| mistyped(Key::Base64))?;
                STANDARD.decode(&*text).map(Payload::binary).map_err(|_| Refusal {
                    code: ErrorCode::InvalidPayload,
                    message: "base64 is not of the standard alphabet with padding".into(),
                })
            }
        }
    }

    fn needed(&self, key: Key) -> Outcome<Box<str>> {
        self.string(key)?.ok_or_else(|| missing(key))
    }

    fn string(&self, key: Key) -> Outcome<Option<Box<str>>> {
        self.optional(key, |raw| unquote(raw).map(Into::into))
    }

    fn number(&self, key: Key) -> Outcome<Option<u32>> {
        self.optional(key, number)
    }

    fn flag(&self, key: Key) -> Outcome<Option<bool>> {
        self.optional(key, |raw| match raw {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        })
    }

    /// A list; `serde_json` refuses the first element of another type and so never goes deeper than its own.
    fn typed<T: DeserializeOwned>(&self, key: Key) -> Outcome<Option<T>> {
        self.optional(key, |raw| serde_json::from_slice(raw).ok())
    }

    fn optional<T>(&self, key: Key, read: impl FnOnce(&'a [u8]) -> Option<T>) -> Outcome<Option<T>> {
        match self.raw(key)? {
            None | Some(b"null") => Ok(None),
            Some(raw) => read(raw).map(Some).ok_or_else(|| mistyped(key)),
        }
    }

    fn raw(&self, key: Key) -> Outcome<Option<&'a [u8]>> {
        Ok(self.range(key)?.map(|range| &self.text[range]))
    }

    fn range(&self, key: Key) -> Outcome<Option<Range<usize>>> {
        if self.twice & 1 << key as u32 != 0 {
            return Err(malformed(format!("{} comes twice", key.name())));
        }
        Ok(Some(self.values[key as usize].clone()).filter(|range| range.end > 0))
    }
}

fn number<T: std::str::FromStr>(raw: &[u8]) -> Option<T> {
    std::str::from_utf8(raw).ok()?.parse().ok()
}

fn malformed(message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal { code: ErrorCode::Malformed, message: message.into() }
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

/// A list of which no more elements are kept than it takes to see that there are too many.
struct AtMost<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for AtMost<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

struct Elements<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
    type Value = AtMost<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<AtMost<T>, A::Error> {
        let mut elements = Vec::new();
        while elements.len() <= RECIPIENTS_MAX {
            let Some(element) = list.next_element()? else { return Ok(AtMost(elements)) };
            elements.push(element);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(AtMost(elements))
    }
}
