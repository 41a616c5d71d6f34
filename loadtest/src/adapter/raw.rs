//! No protocol: a path is a topic, and what one peer sends there all others get as it is.

/// The URL's path with the topic where it says `{topic}`, else behind it.
pub(super) fn path(base: &str, topic: &str) -> String {
    if base.contains("{topic}") {
        return base.replace("{topic}", topic);
    }
    let (path, query) = base.split_at(base.find('?').unwrap_or(base.len()));
    format!("{}/{topic}{query}", path.trim_end_matches('/'))
}
