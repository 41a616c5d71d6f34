//! The fake by itself, and beside the real one.

mod alone;
mod beside;
mod birth;
mod calls;
mod commit;
mod merge;
mod read;
mod sequence;
mod snippets;
mod topics;
mod values;

use super::resp::Word;

/// A command as bytes.
fn request(words: &[Word]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).into_bytes());
        bytes.extend([word, &b"\r\n"[..]].concat());
    }
    bytes
}

/// The words of a command that has no spaces in them.
fn words(text: &str) -> Vec<Word> {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}
