//! Why a frame is not obeyed.

use std::borrow::Cow;

use dunlin_protocol::{ErrorCode, FrameError, RequestId, Topic};

/// A refusal before it is known whom it answers.
pub(super) struct Refusal {
    code: ErrorCode,
    text: Cow<'static, str>,
    /// Told only to a peer that asked under an id.
    silent: bool,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, text: text.into(), silent: false }
    }

    /// The same, but not worth a word to who asked for none.
    pub(super) fn silenced(self) -> Self {
        Self { silent: true, ..self }
    }

    pub(super) fn error(&self, id: Option<RequestId>) -> FrameError {
        let message = if self.silent && id.is_none() { "".into() } else { self.text.clone() };
        FrameError { code: self.code, message, id, topic: None }
    }

    pub(super) fn tell(self, id: Option<RequestId>, topic: Option<Topic>) -> Result<(), FrameError> {
        Err(FrameError { topic, ..self.error(id) })
    }
}
