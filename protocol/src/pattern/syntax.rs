//! The syntax that patterns and templates share, and what each of them refuses of it.

use super::{PATTERN_BYTES_MAX, PatternError, Variable};

/// A piece of configured text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Piece {
    Literal(Box<str>),
    /// `*`, which is a letter like any other in a template.
    Star,
    Variable {
        /// What stands in the braces, for messages.
        text: Box<str>,
        variable: Variable,
        default: Option<Box<str>>,
    },
}

impl Piece {
    /// The characters it stands for without a scope.
    pub(super) fn literal(&self) -> &str {
        match self {
            Self::Literal(text) => text,
            Self::Star => "*",
            Self::Variable { .. } => "",
        }
    }
}

/// Takes configured text apart.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, PatternError> {
    match text.len() {
        0 => return Err(PatternError::Empty),
        1..=PATTERN_BYTES_MAX => {}
        bytes => return Err(PatternError::Long { bytes }),
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let at = text.len() - rest.len();
        let (piece, bytes) = match next {
            '*' => (Piece::Star, 1),
            '{' => {
                let end = rest.find('}').ok_or(PatternError::Brace { brace: '{', at })?;
                (variable(&rest[1..end])?, end + 1)
            }
            '}' => return Err(PatternError::Brace { brace: '}', at }),
            _ => {
                let end = rest.find(['*', '{', '}']).unwrap_or(rest.len());
                (Piece::Literal(rest[..end].into()), end)
            }
        };
        pieces.push(piece);
        rest = &rest[bytes..];
    }
    Ok(pieces)
}

fn variable(text: &str) -> Result<Piece, PatternError> {
    let (name, default) = match text.split_once('|') {
        Some((name, default)) => (name, Some(default.into())),
        None => (text, None),
    };
    let variable = match name.split_once('.') {
        Some(("path", rest)) if !rest.is_empty() => Variable::Path(rest.into()),
        Some(("query", rest)) if !rest.is_empty() => Variable::Query(rest.into()),
        Some(("claims", rest)) if rest.split('.').all(|part| !part.is_empty()) => {
            Variable::Claim(rest.into())
        }
        Some(("user", "id")) => Variable::UserId,
        _ => return Err(PatternError::Variable { name: name.into() }),
    };
    Ok(Piece::Variable { text: text.into(), variable, default })
}

/// The pieces between the stars.
pub(super) fn split_at_stars(pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    let mut parts = vec![Vec::new()];
    for piece in pieces {
        match (piece, parts.last_mut()) {
            (Piece::Star, _) | (_, None) => parts.push(Vec::new()),
            (piece, Some(part)) => part.push(piece),
        }
    }
    parts
}

pub(super) fn refuse_defaults(pieces: &[Piece]) -> Result<(), PatternError> {
    match pieces.iter().find(|piece| matches!(piece, Piece::Variable { default: Some(_), .. })) {
        Some(Piece::Variable { text, .. }) => Err(PatternError::Default { variable: text.clone() }),
        _ => Ok(()),
    }
}

/// Refuses templates that could render two different sets of values to one text.
pub(super) fn refuse_ambiguity(pieces: &[Piece]) -> Result<(), PatternError> {
    let mut open: Option<&str> = None;
    for piece in pieces {
        match piece {
            Piece::Variable { text, default, .. } => {
                if let Some(default) = default.as_ref().filter(|default| !default.bytes().all(is_unreserved))
                {
                    return Err(PatternError::DefaultCharacter { default: default.clone() });
                }
                if let Some(first) = open.replace(text) {
                    return Err(PatternError::Ambiguous { first: first.into(), second: text.clone() });
                }
            }
            literal if literal.literal().bytes().any(separates) => open = None,
            _ => {}
        }
    }
    Ok(())
}

/// Whether a byte stands for itself in a rendered value (RFC 3986 section 2.3).
pub(super) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._~-".contains(&byte)
}

/// Whether no rendered value can hold the byte.
fn separates(byte: u8) -> bool {
    byte != b'%' && !is_unreserved(byte)
}
