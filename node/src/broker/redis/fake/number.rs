//! Numbers as Redis reads and writes them: stricter than Rust when it reads, and like C's `%.17g`.

use super::commands::Failure;

/// A whole number without a sign of `+`, leading zeros or spaces.
pub fn integer(word: &[u8]) -> Result<i64, Failure> {
    let text = std::str::from_utf8(word).map_err(|_| Failure::NOT_INTEGER)?;
    let number: i64 = text.parse().map_err(|_| Failure::NOT_INTEGER)?;
    if number.to_string() == text { Ok(number) } else { Err(Failure::NOT_INTEGER) }
}

/// A score; `inf`, `+inf` and `-inf` too, but nothing that overflows into them. Hexadecimal, which C would
/// read, is refused.
pub fn float(word: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(word).ok()?;
    let number: f64 = text.parse().ok()?;
    let is_named = text.trim_start_matches(['+', '-']).to_ascii_lowercase().starts_with("inf");
    (!number.is_nan() && (number.is_finite() || is_named)).then_some(number)
}

/// `%.17g`.
pub fn text(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:.16e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return "nan".to_owned() };
    let exponent: i32 = exponent.parse().expect("Rust writes an exponent");
    if (-4..17).contains(&exponent) {
        let decimals = (16 - exponent) as usize;
        return without_zeros(&format!("{number:.decimals$}")).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", without_zeros(digits), exponent.abs())
}

fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}
