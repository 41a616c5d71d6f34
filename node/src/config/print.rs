//! The effective configuration as TOML, every default spelled out.

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use super::Config;
use super::machine::Shards;
use super::setting::Setting;
use super::topic::TopicRule;

impl Config {
    /// What `dunlin config check` says of a good one.
    pub fn summary(&self) -> String {
        let tls = if self.tls.is_some() { " with TLS" } else { "" };
        let redis = self.redis.as_ref().map_or_else(String::new, |redis| format!(", redis {}", redis.url));
        let endpoints = match self.endpoints.len() {
            _ if self.is_zero_config() => "no endpoint configured".to_owned(),
            1 => "1 endpoint".to_owned(),
            count => format!("{count} endpoints"),
        };
        let (rules, built_in) = self.topic_rules();
        let mut rules = match rules.len() {
            1 => "1 topic rule".to_owned(),
            count => format!("{count} topic rules"),
        };
        if !built_in.is_empty() {
            write!(rules, " and {} built in", built_in.len()).expect("a string takes any text");
        }
        let mut summary = format!(
            "ok: listen {}{tls}, internal {}{redis}, {endpoints}, {rules}",
            self.listen, self.internal
        );
        for warning in self.warnings() {
            summary.push_str("\nwarning: ");
            summary.push_str(&warning);
        }
        summary
    }

    /// What was configured without effect, for the log at the start and `dunlin config check`.
    pub fn warnings(&self) -> Vec<String> {
        let unused = self.limits.unused().into_iter();
        unused.map(|key| format!("limits.{key} has no effect yet in this version")).collect()
    }

    /// What `dunlin config print` shows. It loads to this same configuration.
    ///
    /// But for a password in `redis.url`: it is masked (behaviour E11), and
    /// loading refuses the mask, so nothing runs with it by accident.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        self.write_toml(&mut out).expect("a string takes any text");
        out
    }

    fn write_toml(&self, out: &mut String) -> fmt::Result {
        let top = [
            ("listen", SocketAddr::print(&self.listen)),
            ("internal", SocketAddr::print(&self.internal)),
            ("drain", Duration::print(&self.drain)),
            ("shards", Shards::print(&self.shards)),
        ];
        lines(out, top)?;
        match &self.redis {
            Some(redis) => table(out, "[redis]", redis.lines())?,
            None => out.write_str("\n# No [redis]: this node is alone, its broker is memory.\n")?,
        }
        table(out, "[log]", self.log.lines())?;
        table(out, "[demo]", [("enabled", bool::print(&self.demo))])?;
        table(out, "[limits]", self.limits.lines())?;
        table(out, "[session]", self.session.lines())?;
        table(out, "[resume]", self.resume.lines())?;
        table(out, "[metrics]", self.metrics.lines())?;
        if let Some(tls) = &self.tls {
            table(out, "[tls]", tls.lines())?;
        }
        if self.is_zero_config() {
            out.write_str(
                "\n# No [[endpoint]]: every path is one, its namespace the path, open to any topic.\n",
            )?;
        } else {
            self.endpoints.iter().try_for_each(|endpoint| table(out, "[[endpoint]]", endpoint.lines()))?;
        }
        let (rules, built_in) = self.topic_rules();
        rules.iter().try_for_each(|rule| table(out, "[[topic]]", rule.lines()))?;
        if !built_in.is_empty() {
            out.write_str("\n# Behind these, while there is no [[endpoint]]:\n")?;
        }
        built_in.iter().try_for_each(|rule| {
            out.write_str("# [[topic]]\n")?;
            rule.lines().into_iter().try_for_each(|(key, value)| writeln!(out, "# {key} = {value}"))
        })
    }

    /// The rules of the file, and those that are built in.
    fn topic_rules(&self) -> (&[TopicRule], &[TopicRule]) {
        let built_in = self.topics.iter().rev().take_while(|rule| rule.is_built_in()).count();
        self.topics.split_at(self.topics.len() - built_in)
    }
}

fn table(
    out: &mut String,
    header: &str,
    keys: impl IntoIterator<Item = (&'static str, String)>,
) -> fmt::Result {
    write!(out, "\n{header}\n")?;
    lines(out, keys)
}

fn lines(out: &mut String, keys: impl IntoIterator<Item = (&'static str, String)>) -> fmt::Result {
    keys.into_iter().try_for_each(|(key, value)| writeln!(out, "{key} = {value}"))
}
