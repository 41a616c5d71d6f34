//! The envelope's `MessagePack` header, borrowed from the bytes it is read from.

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeTuple, Serializer};

use super::{Envelope, EnvelopeError};
use crate::{Kind, NameError, PeerId, PublicationId, RECIPIENTS_MAX, Recipients, Topic};

/// A header as it was read: shapes are right, names are not checked yet.
pub(super) struct Header<'a> {
    pub(super) id: PublicationId,
    pub(super) origin: Option<PeerId>,
    pub(super) echo: bool,
    pub(super) at_us: u64,
    pub(super) namespace: &'a str,
    pub(super) to: To<'a>,
    pub(super) kind: Kind,
}

/// Recipients as they were read.
pub(super) enum To<'a> {
    Namespace,
    Topic(&'a str),
    Topics(Vec<&'a str>),
}

/// Appends the header of an envelope.
pub(super) fn write(envelope: &Envelope, id: PublicationId, out: &mut Vec<u8>) {
    let written = Fields(id, envelope).serialize(&mut rmp_serde::Serializer::new(out));
    written.expect("writing numbers, names and bytes to memory can't fail");
}

impl<'a> Header<'a> {
    /// Reads a header that fills `bytes`.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
        deserializer.set_max_depth(DEPTH_MAX);
        Ok(deserializer.deserialize_seq(HeaderVisitor)?)
    }
}

impl To<'_> {
    pub(super) fn parse(&self) -> Result<Recipients, NameError> {
        match self {
            Self::Namespace => Ok(Recipients::Namespace),
            Self::Topic(text) => Topic::parse(text).map(Recipients::Topic),
            Self::Topics(texts) => {
                texts.iter().map(|text| Topic::parse(text)).collect::<Result<_, _>>().map(Recipients::Topics)
            }
        }
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of id, origin, echo, at, namespace, recipients and kind")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let header = Header {
            id: PublicationId::from_bytes(bytes_16(next(&mut fields, "an id")?)?),
            origin: next::<Option<&[u8]>, A>(&mut fields, "an origin")?.map(peer_id).transpose()?,
            echo: next(&mut fields, "whether to echo")?,
            at_us: next(&mut fields, "a time")?,
            namespace: next(&mut fields, "a namespace")?,
            to: next(&mut fields, "recipients")?,
            kind: kind(next(&mut fields, "a kind")?)?,
        };
        while fields.next_element::<IgnoredAny>()?.is_some() {}
        Ok(header)
    }
}

fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(fields: &mut A, what: &str) -> Result<T, A::Error> {
    fields.next_element()?.ok_or_else(|| Error::custom(format_args!("{what} is missing")))
}

fn bytes_16<E: Error>(bytes: &[u8]) -> Result<[u8; 16], E> {
    bytes.try_into().map_err(|_| Error::custom(format_args!("an id is 16 bytes, not {}", bytes.len())))
}

fn peer_id<E: Error>(bytes: &[u8]) -> Result<PeerId, E> {
    PeerId::from_bytes(bytes_16(bytes)?).map_err(Error::custom)
}

fn kind<E: Error>(number: u8) -> Result<Kind, E> {
    match number {
        0 => Ok(Kind::Json),
        1 => Ok(Kind::Text),
        2 => Ok(Kind::Binary),
        _ => Err(Error::custom(format_args!("payload kind {number} is unknown"))),
    }
}

impl<'de> Deserialize<'de> for To<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ToVisitor)
    }
}

struct ToVisitor;

impl<'de> Visitor<'de> for ToVisitor {
    type Value = To<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nothing, a topic or several topics")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(To::Namespace)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(To::Topic(text))
    }

    /// Grows with what is there: the announced length is only a claim.
    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut topics = Vec::new();
        while let Some(topic) = elements.next_element()? {
            if topics.len() == RECIPIENTS_MAX {
                return Err(Error::custom(format_args!("more than {RECIPIENTS_MAX} topics")));
            }
            topics.push(topic);
        }
        Ok(To::Topics(topics))
    }
}

struct Fields<'a>(PublicationId, &'a Envelope);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(id, Envelope { origin, echo, at_us, namespace, to, payload }) = self;
        let mut fields = serializer.serialize_tuple(7)?;
        fields.serialize_element(&Raw(id.to_bytes()))?;
        fields.serialize_element(&origin.map(|peer| Raw(peer.to_bytes())))?;
        fields.serialize_element(echo)?;
        fields.serialize_element(at_us)?;
        fields.serialize_element(namespace.as_str())?;
        match to {
            Recipients::Namespace => fields.serialize_element(&())?,
            Recipients::Topic(topic) => fields.serialize_element(topic.as_str())?,
            Recipients::Topics(topics) => fields.serialize_element(&Names(topics))?,
        }
        fields.serialize_element(&match payload.kind {
            Kind::Json => 0u8,
            Kind::Text => 1,
            Kind::Binary => 2,
        })?;
        fields.end()
    }
}

/// An id as a `MessagePack` bin; an array would be written as 16 numbers.
struct Raw([u8; 16]);

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

struct Names<'a>(&'a [Topic]);

impl Serialize for Names<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Topic::as_str))
    }
}

/// How deep a field that a later version appends may nest before the envelope is refused.
const DEPTH_MAX: usize = 16;
