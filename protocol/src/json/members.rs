//! The members of a JSON object, for whoever must look into a payload or change it.
//!
//! Where a topic sets fields, checks a schema or is a map, two members of one key would let a publisher show one
//! value to the check and another one to the readers (behaviours T10), so keys are compared as the characters they
//! mean: `"us\u0065r"` is `user`.

use std::borrow::Cow;
use std::ops::Range;

use super::scan::{Fault, Scanner};
use super::unquote;

/// One member of an object. Ranges are bytes of the text that was walked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The key's characters, without quotes and escapes. Borrowed unless it has escapes.
    pub key: Cow<'a, str>,
    /// Where the key is, with its quotes.
    pub quoted: Range<usize>,
    /// Where the value is.
    pub value: Range<usize>,
    /// Where the member is with the white space around it: all between the brace or comma before it and the comma
    /// or brace after it.
    pub whole: Range<usize>,
}

/// Why a text has no members to walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// It begins as something else than an object.
    #[error("not a json object")]
    NotObject,
    /// It begins as something else than an array.
    #[error("not a json array")]
    NotArray,
    /// Not exactly one object or array.
    #[error("not json at byte {at}")]
    Syntax {
        /// The first byte that can't be part of it.
        at: usize,
    },
    /// A value has arrays and objects inside each other, too many.
    #[error("json nests deeper than {} levels at byte {at}", crate::DEPTH_MAX)]
    Depth {
        /// Where the first too many begins.
        at: usize,
    },
    /// A key that is no text, such as one that escapes half a surrogate pair: readers disagree about what it is.
    #[error("the key at byte {at} is no text")]
    Key {
        /// Where it begins.
        at: usize,
    },
}

/// Walks over the members of the one object that `text` has to hold, in their order.
///
/// One pass checks the grammar of all of it; nothing is allocated but the characters of keys with escapes. The
/// first error is the last item, so collecting into a `Result` judges the whole text.
///
/// ```
/// let keys: Result<Vec<_>, _> = dunlin_protocol::json::members(br#"{"a":1,"\u0062":[2]}"#)
///     .map(|member| member.map(|member| member.key))
///     .collect();
/// assert_eq!(keys.unwrap(), ["a", "b"]);
/// ```
pub fn members(text: &[u8]) -> Members<'_> {
    Members { text, scanner: Scanner::new(text), next: Next::Bracket }
}

/// The first member whose key an earlier one has, however either is escaped.
///
/// Few keys are compared each with each, without an allocation; many are sorted.
pub fn repeated<'m, 'a>(members: &'m [Member<'a>]) -> Option<&'m Member<'a>> {
    if members.len() <= COMPARED_MAX {
        let earlier = |at: usize| members[..at].iter().any(|member| member.key == members[at].key);
        return (1..members.len()).find(|at| earlier(*at)).map(|at| &members[at]);
    }
    let mut order: Vec<&Member<'a>> = members.iter().collect();
    order.sort_unstable_by_key(|member| (&*member.key, member.quoted.start));
    let again = order.windows(2).filter(|pair| pair[0].key == pair[1].key).map(|pair| pair[1]);
    again.min_by_key(|member| member.quoted.start)
}

/// Walks over the values of the one array that `text` has to hold and says where each is, as [`members`] does.
pub fn elements(text: &[u8]) -> Elements<'_> {
    Elements { scanner: Scanner::new(text), next: Next::Bracket }
}

/// Up to this many keys, comparing each with each costs less than an allocation.
const COMPARED_MAX: usize = 16;

/// The iterator of [`members`].
pub struct Members<'a> {
    text: &'a [u8],
    scanner: Scanner<'a>,
    next: Next,
}

/// The iterator of [`elements`].
pub struct Elements<'a> {
    scanner: Scanner<'a>,
    next: Next,
}

/// What comes next in the text.
enum Next {
    /// The brace or bracket that opens it.
    Bracket,
    /// One that follows a comma.
    Another,
    /// Nothing: all was walked, or an error told.
    Nothing,
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Member<'a>, MembersError>;

    fn next(&mut self) -> Option<Self::Item> {
        let member = match self.next {
            Next::Bracket => self.first(),
            Next::Another => self.member(self.scanner.at()).map(Some),
            Next::Nothing => return None,
        };
        if !matches!(member, Ok(Some(_))) {
            self.next = Next::Nothing;
        }
        member.transpose()
    }
}

impl<'a> Members<'a> {
    fn first(&mut self) -> Result<Option<Member<'a>>, MembersError> {
        if !self.scanner.skip(b'{') {
            return Err(MembersError::NotObject);
        }
        let inside = self.scanner.at();
        if self.scanner.skip(b'}') {
            return told(&mut self.scanner, Scanner::end).map(|()| None);
        }
        self.member(inside).map(Some)
    }

    /// Walks over a member and what follows it.
    fn member(&mut self, start: usize) -> Result<Member<'a>, MembersError> {
        let quoted = told(&mut self.scanner, Scanner::text)?;
        let key = unquote(&self.text[quoted.clone()]).ok_or(MembersError::Key { at: quoted.start })?;
        told(&mut self.scanner, |scanner| scanner.punctuation(b':'))?;
        let value = told(&mut self.scanner, Scanner::value)?;
        let end;
        (self.next, end) = told(&mut self.scanner, |scanner| follow(scanner, b'}'))?;
        Ok(Member { key, quoted, value, whole: start..end })
    }
}

impl Iterator for Elements<'_> {
    type Item = Result<Range<usize>, MembersError>;

    fn next(&mut self) -> Option<Self::Item> {
        let element = match self.next {
            Next::Bracket => self.first(),
            Next::Another => self.element().map(Some),
            Next::Nothing => return None,
        };
        if !matches!(element, Ok(Some(_))) {
            self.next = Next::Nothing;
        }
        element.transpose()
    }
}

impl Elements<'_> {
    fn first(&mut self) -> Result<Option<Range<usize>>, MembersError> {
        if !self.scanner.skip(b'[') {
            return Err(MembersError::NotArray);
        }
        if self.scanner.skip(b']') {
            return told(&mut self.scanner, Scanner::end).map(|()| None);
        }
        self.element().map(Some)
    }

    fn element(&mut self) -> Result<Range<usize>, MembersError> {
        let value = told(&mut self.scanner, Scanner::value)?;
        (self.next, _) = told(&mut self.scanner, |scanner| follow(scanner, b']'))?;
        Ok(value)
    }
}

/// After a value: walks over a comma, or over the end of all; and says where that was.
fn follow(scanner: &mut Scanner<'_>, close: u8) -> Result<(Next, usize), Fault> {
    if scanner.skip(b',') {
        return Ok((Next::Another, scanner.at() - 1));
    }
    scanner.punctuation(close)?;
    let at = scanner.at() - 1;
    scanner.end().map(|()| (Next::Nothing, at))
}

fn told<'a, T>(
    scanner: &mut Scanner<'a>,
    step: impl FnOnce(&mut Scanner<'a>) -> Result<T, Fault>,
) -> Result<T, MembersError> {
    step(scanner).map_err(|fault| match fault {
        Fault::Syntax => MembersError::Syntax { at: scanner.at() },
        Fault::Depth => MembersError::Depth { at: scanner.at() },
    })
}
