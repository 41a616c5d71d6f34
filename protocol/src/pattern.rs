//! Patterns of topics (behaviours T6) and templates of namespaces (E2): configured text with variables.
//!
//! **Invariant:** text is compiled before variables are put in, so nothing a peer brings is ever syntax.

mod syntax;

use std::borrow::Cow;
use std::fmt;

use memchr::memmem;
use syntax::Piece;

/// Something known of a peer that configured text may name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Variable {
    /// `path.X`: what `{X}` matched in the endpoint's path.
    Path(Box<str>),
    /// `query.X`: a parameter of the query.
    Query(Box<str>),
    /// `user.id`.
    UserId,
    /// `claims.X`: a claim of the token, with dots leading into objects.
    Claim(Box<str>),
}

/// Where the values of variables come from: a peer, or `()` which has none.
pub trait Scope {
    /// The variable's value; an empty one counts as none.
    fn value(&self, variable: &Variable) -> Option<Cow<'_, str>>;
}

impl Scope for () {
    fn value(&self, _: &Variable) -> Option<Cow<'_, str>> {
        None
    }
}

/// Which topics are meant: `chat`, `page:*`, `user:{user.id}`.
///
/// `*` is any run of characters, also an empty one. A pattern with a variable that has no value matches nothing.
///
/// ```
/// let pages = dunlin_protocol::Pattern::parse("page:*")?;
/// assert!(pages.matches("page:home", &()));
/// # Ok::<(), dunlin_protocol::PatternError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: Box<str>,
    /// What lies between the stars: one more than there are stars.
    parts: Box<[Part]>,
}

/// What lies between two stars. Literals next to each other are one.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Part {
    Literal(Box<str>),
    Pieces(Box<[Piece]>),
}

/// Text made from variables: `chat:{query.channel|general}`.
///
/// Bytes of a value outside `A-Za-z0-9._~-` are percent-encoded. Different values give different texts: between
/// two variables there must be a character that encoded values can't hold, such as `:`.
///
/// ```
/// let template = dunlin_protocol::Template::parse("chat:{query.channel|general}")?;
/// assert_eq!(template.render(&()).as_deref(), Some("chat:general"));
/// # Ok::<(), dunlin_protocol::PatternError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Template {
    text: Box<str>,
    pieces: Box<[Piece]>,
}

/// Why a text is no pattern or template, worded for whoever configures it. Positions are bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There is no text.
    #[error("pattern is empty")]
    Empty,
    /// The text is longer than any name could need.
    #[error("pattern is {bytes} bytes, at most {PATTERN_BYTES_MAX} are allowed")]
    Long {
        /// How long it is.
        bytes: usize,
    },
    /// A brace without its other half.
    #[error("'{brace}' at byte {at} has no other half")]
    Brace {
        /// The brace.
        brace: char,
        /// Where it is.
        at: usize,
    },
    /// A name in braces that means nothing.
    #[error("variable '{name}' is unknown; known are path.X, query.X, user.id and claims.X")]
    Variable {
        /// The name.
        name: Box<str>,
    },
    /// A default in a pattern, where a missing value has to match nothing.
    #[error("'{{{variable}}}' has a default, which only templates may have")]
    Default {
        /// What stands in the braces.
        variable: Box<str>,
    },
    /// A default that a percent-encoded value could not look like.
    #[error("default '{default}' holds characters other than A-Za-z0-9 and ._~-")]
    DefaultCharacter {
        /// The default.
        default: Box<str>,
    },
    /// Two variables whose values would run into each other: (`ab`, `c`) would give what (`a`, `bc`) gives.
    #[error("between '{{{first}}}' and '{{{second}}}' a character outside A-Za-z0-9 and ._~%- is needed")]
    Ambiguous {
        /// What stands in the first braces.
        first: Box<str>,
        /// What stands in the second braces.
        second: Box<str>,
    },
}

/// The longest pattern or template, in bytes: a name's 255 with room for variables.
pub const PATTERN_BYTES_MAX: usize = 1024;

impl Pattern {
    /// Compiles a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let pieces = syntax::pieces(text)?;
        syntax::refuse_defaults(&pieces)?;
        Ok(Self {
            text: text.into(),
            parts: syntax::split_at_stars(pieces).into_iter().map(Part::of).collect(),
        })
    }

    /// Whether the topic is meant, for the peer whose variables these are.
    ///
    /// The leftmost place for each part is as good as any other, so there is nothing to go back to: the cost is
    /// one search through the topic. Without variables nothing is allocated.
    pub fn matches(&self, topic: &str, scope: &dyn Scope) -> bool {
        match &*self.parts {
            [only] => only.text(scope).is_some_and(|text| text == topic),
            [first, middle @ .., last] => matches_parts(topic, first, middle, last, scope).is_some(),
            [] => false,
        }
    }

    /// Whether it can match one topic only, the same for every peer.
    pub fn is_constant(&self) -> bool {
        matches!(&*self.parts, [Part::Literal(_)])
    }

    /// The text it was compiled from.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// `Some` if the topic begins with the first part, ends with the last and holds the others in order between.
///
/// Empty parts are not compared: an empty text points nowhere, and there the C library's vectorized comparison
/// was measured at 50 ns instead of 2 (AMD EPYC, glibc; an empty text with an address of its own costs 2).
fn matches_parts(topic: &str, first: &Part, middle: &[Part], last: &Part, scope: &dyn Scope) -> Option<()> {
    let start = first.text(scope)?;
    let rest = if start.is_empty() { topic } else { topic.strip_prefix(&*start)? };
    let end = last.text(scope)?;
    let rest = if end.is_empty() { rest } else { rest.strip_suffix(&*end)? };
    let mut rest = rest.as_bytes();
    for part in middle {
        let text = part.text(scope)?;
        let at = memmem::find(rest, text.as_bytes())?;
        rest = &rest[at + text.len()..];
    }
    Some(())
}

impl Part {
    fn of(pieces: Vec<Piece>) -> Self {
        if pieces.iter().any(|piece| matches!(piece, Piece::Variable { .. })) {
            return Self::Pieces(pieces.into());
        }
        Self::Literal(pieces.iter().map(Piece::literal).collect())
    }

    fn text(&self, scope: &dyn Scope) -> Option<Cow<'_, str>> {
        match self {
            Self::Literal(text) => Some(Cow::Borrowed(text)),
            Self::Pieces(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Variable { variable, .. } => text.push_str(&value(scope, variable)?),
                        literal => text.push_str(literal.literal()),
                    }
                }
                Some(Cow::Owned(text))
            }
        }
    }
}

impl Template {
    /// Compiles a template.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let pieces = syntax::pieces(text)?;
        syntax::refuse_ambiguity(&pieces)?;
        Ok(Self { text: text.into(), pieces: pieces.into() })
    }

    /// The text for a peer; `None` if a variable has neither a value nor a default.
    pub fn render(&self, scope: &dyn Scope) -> Option<String> {
        let mut out = String::with_capacity(self.text.len());
        for piece in &self.pieces {
            match piece {
                Piece::Variable { variable, default, .. } => match (value(scope, variable), default) {
                    (Some(value), _) => percent_encode(&mut out, &value),
                    (None, Some(default)) => out.push_str(default),
                    (None, None) => return None,
                },
                literal => out.push_str(literal.literal()),
            }
        }
        Some(out)
    }

    /// The text it was compiled from.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn value<'a>(scope: &'a dyn Scope, variable: &Variable) -> Option<Cow<'a, str>> {
    scope.value(variable).filter(|value| !value.is_empty())
}

fn percent_encode(out: &mut String, value: &str) {
    for byte in value.bytes() {
        if syntax::is_unreserved(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend(
                [byte >> 4, byte & 0xf].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])),
            );
        }
    }
}

macro_rules! shown_as_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.text)
            }
        }
    };
}

shown_as_text!(Pattern);
shown_as_text!(Template);
