//! An endpoint's path: which request paths it takes, and the parts it names
//! (behaviour E1).

use std::borrow::Cow;
use std::fmt;

/// A pattern such as `/_ws`, `/rooms/{room}` or `/api/**`.
///
/// Literal segments compare byte for byte with the path as it was sent, since
/// percent-encoding and case distinguish namespaces (behaviour E2). A trailing
/// `**` takes any rest, also none: `/api/**` takes `/api` too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: Box<str>,
    segments: Vec<Segment>,
    /// Whether it ends in `**`.
    open: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    /// Takes exactly one segment, which may not be empty.
    Parameter(Box<str>),
}

impl PathPattern {
    /// The compiled pattern, or what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let path = text.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
        let mut pattern = Self { text: text.into(), segments: Vec::new(), open: false };
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            if part == "**" && parts.peek().is_none() {
                pattern.open = true;
                break;
            }
            let last = parts.peek().is_none();
            let segment = Segment::parse(part, last)?;
            if let Segment::Parameter(name) = &segment
                && pattern.parameters().any(|known| known == &**name)
            {
                return Err(PathError::Twice(name.clone()));
            }
            pattern.segments.push(segment);
        }
        Ok(pattern)
    }

    /// The parts of a request's path if this pattern takes it. `path` is as
    /// sent, without the query.
    pub fn matches(&self, path: &str) -> Option<PathParams> {
        let mut params = PathParams::default();
        let mut parts = path.strip_prefix('/')?.split('/');
        for segment in &self.segments {
            let part = parts.next()?;
            match segment {
                Segment::Literal(literal) if &**literal == part => {}
                Segment::Parameter(name) if !part.is_empty() => {
                    params.0.push((name.clone(), decode(part)?.into()));
                }
                _ => return None,
            }
        }
        (self.open || parts.next().is_none()).then_some(params)
    }

    /// The names between braces, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(&**name),
            Segment::Literal(_) => None,
        })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    fn parse(part: &str, last: bool) -> Result<Self, PathError> {
        if let Some(name) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            let named = !name.is_empty() && name.bytes().all(fits);
            return if named { Ok(Self::Parameter(name.into())) } else { Err(PathError::Name(part.into())) };
        }
        match part {
            // Only `/` and a trailing slash leave an empty segment that a
            // request may have, too.
            "" if !last => Err(PathError::Segment(part.into())),
            "." | ".." => Err(PathError::Segment(part.into())),
            part => match part.chars().find(|letter| !may_be_literal(*letter)) {
                Some('*') => Err(PathError::Star),
                Some(letter) => Err(PathError::Letter(letter)),
                None => Ok(Self::Literal(part.into())),
            },
        }
    }
}

/// What a namespace may hold (behaviour E3) except the slash and the star.
fn may_be_literal(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "._~:@!$&'()+,;=%-".contains(letter)
}

/// Percent-decodes a segment; `None` when what comes out is no UTF-8 or the
/// escape is broken, so that two paths never give the same text by accident.
fn decode(part: &str) -> Option<Cow<'_, str>> {
    if !part.contains('%') {
        return Some(Cow::Borrowed(part));
    }
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' { hex(rest.next()?)? << 4 | hex(rest.next()?)? } else { byte });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// What a request's path put in the place of the names, percent-decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathParams(Vec<(Box<str>, Box<str>)>);

impl PathParams {
    /// The value of `path.NAME`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Names and values in the order of the path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// Why a text is no path pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It doesn't start at the root.
    #[error("a path starts with /")]
    NotAbsolute,
    /// No request's path can have this segment (behaviour E2 answers 400).
    #[error("a path has no segment {0:?}")]
    Segment(Box<str>),
    /// A star that isn't the trailing `**`.
    #[error("* stands only as ** at the end")]
    Star,
    /// A character that reaches us percent-encoded, or not at all.
    #[error("{0:?} can't stand in a path; write it percent-encoded")]
    Letter(char),
    /// A name that isn't one.
    #[error("{0:?} names no parameter; use letters, digits, _ and - between braces")]
    Name(Box<str>),
    /// One name for two segments.
    #[error("the parameter {{{0}}} stands there twice")]
    Twice(Box<str>),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parameters as `name=value`, or `None` without a match.
    fn matched(pattern: &str, path: &str) -> Option<String> {
        let params = PathPattern::parse(pattern).unwrap().matches(path)?;
        Some(params.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn a_path_pattern_takes_the_paths_it_says_and_no_other() {
        // E1, E2
        let table = [
            ("/_ws", "/_ws", Some("")),
            ("/_ws", "/_ws/", None),
            ("/_ws/", "/_ws/", Some("")),
            ("/_ws", "/_WS", None),
            ("/_ws", "/%5Fws", None),
            ("/", "/", Some("")),
            ("/", "/a", None),
            ("/rooms/{room}", "/rooms/7", Some("room=7")),
            ("/rooms/{room}", "/rooms/caf%C3%A9", Some("room=café")),
            ("/rooms/{room}", "/rooms/%ff", None),
            ("/rooms/{room}", "/rooms/%zz", None),
            ("/rooms/{room}", "/rooms/", None),
            ("/rooms/{room}", "/rooms/7/8", None),
            ("/{a}/x/{b}", "/1/x/2", Some("a=1,b=2")),
            ("/api/**", "/api", Some("")),
            ("/api/**", "/api/", Some("")),
            ("/api/**", "/api/v1/x", Some("")),
            ("/api/**", "/apis", None),
            ("/{tenant}/**", "/acme/a/b", Some("tenant=acme")),
            ("/{tenant}/**", "/", None),
            ("/**", "/", Some("")),
            ("/**", "/any/thing", Some("")),
            ("/**", "*", None),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(matched(pattern, path).as_deref(), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_no_path_pattern_is_refused() {
        let table = [
            ("", PathError::NotAbsolute),
            ("ws", PathError::NotAbsolute),
            ("/a//b", PathError::Segment("".into())),
            ("/a/../b", PathError::Segment("..".into())),
            ("/a/*", PathError::Star),
            ("/**/b", PathError::Star),
            ("/a b", PathError::Letter(' ')),
            ("/é", PathError::Letter('é')),
            ("/a?b", PathError::Letter('?')),
            ("/{}", PathError::Name("{}".into())),
            ("/{a.b}", PathError::Name("{a.b}".into())),
            ("/a{b}", PathError::Letter('{')),
            ("/{a}/{a}", PathError::Twice("a".into())),
        ];
        for (text, problem) in table {
            assert_eq!(PathPattern::parse(text), Err(problem), "{text}");
        }
    }
}
