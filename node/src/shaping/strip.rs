//! Which members of a payload a schema names, so that the others can be taken out (behaviour T10).
//!
//! A schema names members by `properties`, here and in whatever applies to the same value: `allOf`, `anyOf`,
//! `oneOf`, `if`, `then`, `else`, `dependentSchemas` and what `$ref` points to. What one of these names is known, be
//! it an alternative that the payload doesn't choose: to judge is the schema's business, this only takes out what
//! nothing speaks of. Where a schema says by `patternProperties`, `additionalProperties` or `unevaluatedProperties`
//! what else there may be, and it isn't just `false`, nothing is taken out; nor where it refers to anything but a
//! JSON Pointer of its own document.

use std::collections::HashMap;

use dunlin_protocol::json::{self, Member, MembersError};
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::schema::target;
use super::{Flaw, Unfit, comma};

/// What a schema knows of each value that it describes. Numbers are places in `nodes`, the first is the root.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    nodes: Vec<Node>,
}

/// One subschema.
#[derive(Debug, Default, PartialEq, Eq)]
struct Node {
    /// Itself and all that applies to the same value.
    applied: Vec<usize>,
    /// The members it names; `None` if it names none.
    properties: Option<HashMap<Box<str>, usize>>,
    /// Whether it speaks of members that it doesn't name.
    open: bool,
    /// What describes the first elements of an array.
    first: Vec<usize>,
    /// What describes the others.
    items: Option<usize>,
}

/// The subschemas that describe one value. Few, so that looking through them is quick.
type Subschemas = SmallVec<[usize; 8]>;

/// One value's description.
pub(super) struct Described<'a> {
    known: &'a Known,
    by: Subschemas,
}

impl Known {
    /// Reads a schema that has been compiled.
    pub(super) fn of(document: &Value) -> Self {
        let mut reading = Reading { document, numbers: HashMap::new(), nodes: Vec::new() };
        reading.number(document);
        let nodes = reading.nodes;
        let applied: Vec<_> = (0..nodes.len()).map(|number| all_applied(&nodes, number)).collect();
        let nodes = nodes.into_iter().zip(applied).map(|(node, applied)| Node { applied, ..node });
        Self { nodes: nodes.collect() }
    }

    /// What is known of the payload itself.
    pub(super) fn root(&self) -> Described<'_> {
        self.described([0])
    }

    fn described(&self, by: impl IntoIterator<Item = usize>) -> Described<'_> {
        let mut all = Subschemas::new();
        for number in by.into_iter().flat_map(|number| &self.nodes[number].applied) {
            if !all.contains(number) {
                all.push(*number);
            }
        }
        Described { known: self, by: all }
    }
}

impl<'a> Described<'a> {
    fn nodes(&self) -> impl Iterator<Item = &'a Node> {
        let nodes = &self.known.nodes;
        self.by.iter().map(move |number| &nodes[*number])
    }

    /// Appends a member of an object that is described so, unless it is unknown.
    pub(super) fn write_member(
        &self,
        text: &[u8],
        member: &Member<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unfit> {
        let named = || self.nodes().filter_map(|node| node.properties.as_ref());
        let value = self.known.described(named().filter_map(|names| names.get(&*member.key)).copied());
        if value.by.is_empty() && named().next().is_some() && !self.nodes().any(|node| node.open) {
            return Ok(());
        }
        comma(out);
        out.extend_from_slice(&text[member.whole.start..member.value.start]);
        value.write(&text[member.value.clone()], out)?;
        out.extend_from_slice(&text[member.value.end..member.whole.end]);
        Ok(())
    }

    /// Appends a value without the unknown members in it. Payloads have few levels, so this may recurse.
    fn write(&self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
        match text.first() {
            Some(b'{') if self.nodes().any(|node| node.properties.is_some()) => self.write_object(text, out),
            Some(b'[') if self.nodes().any(|node| node.items.is_some() || !node.first.is_empty()) => {
                self.write_array(text, out)
            }
            _ => {
                out.extend_from_slice(text);
                Ok(())
            }
        }
    }

    fn write_object(&self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
        out.push(b'{');
        for member in json::members(text) {
            self.write_member(text, &member.map_err(|problem| unfit(&problem))?, out)?;
        }
        out.push(b'}');
        Ok(())
    }

    fn write_array(&self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
        let mut written = 0;
        for (index, element) in json::elements(text).enumerate() {
            let element = element.map_err(|problem| unfit(&problem))?;
            let by = self.nodes().filter_map(|node| node.first.get(index).copied().or(node.items));
            out.extend_from_slice(&text[written..element.start]);
            self.known.described(by).write(&text[element.clone()], out)?;
            written = element.end;
        }
        out.extend_from_slice(&text[written..]);
        Ok(())
    }
}

fn unfit(problem: &MembersError) -> Unfit {
    Unfit::new(Flaw::NotJson, format_args!("in payload: {problem}"))
}

/// What applies to a value that `number` applies to, however many steps away; it may go in circles.
fn all_applied(nodes: &[Node], number: usize) -> Vec<usize> {
    let mut found = vec![number];
    let mut at = 0;
    while let Some(number) = found.get(at) {
        let new: Vec<_> =
            nodes[*number].applied.iter().filter(|other| !found.contains(other)).copied().collect();
        found.extend(new);
        at += 1;
    }
    found
}

/// A schema while it is read.
struct Reading<'a> {
    document: &'a Value,
    /// The subschemas that have a node, by where they are in the document.
    numbers: HashMap<*const Value, usize>,
    nodes: Vec<Node>,
}

impl<'a> Reading<'a> {
    /// The number of a subschema, which is read if it is new.
    fn number(&mut self, schema: &'a Value) -> usize {
        if let Some(number) = self.numbers.get(&std::ptr::from_ref(schema)) {
            return *number;
        }
        let number = self.nodes.len();
        self.numbers.insert(schema, number);
        self.nodes.push(Node::default());
        if let Value::Object(keywords) = schema {
            self.nodes[number] = self.read(keywords, number == 0);
        }
        number
    }

    fn read(&mut self, keywords: &'a Map<String, Value>, is_root: bool) -> Node {
        // References below an `$id` count from there.
        if keywords.contains_key("$id") && !is_root {
            return Node { open: true, ..Node::default() };
        }
        let mut node = Node { open: is_open(keywords), ..Node::default() };
        if let Some(reference) = keywords.get("$ref") {
            match reference.as_str().and_then(|reference| target(self.document, reference)) {
                Some(target) => node.applied.push(self.number(target)),
                None => node.open = true,
            }
        }
        for schema in beside(keywords) {
            node.applied.push(self.number(schema));
        }
        if let Some(Value::Object(properties)) = keywords.get("properties") {
            let names = properties.iter().map(|(name, schema)| (name.as_str().into(), self.number(schema)));
            node.properties = Some(names.collect());
        }
        match keywords.get("items") {
            Some(Value::Array(first)) => {
                node.first = first.iter().map(|schema| self.number(schema)).collect();
            }
            Some(items) => node.items = Some(self.number(items)),
            None => {}
        }
        if let Some(Value::Array(first)) = keywords.get("prefixItems") {
            node.first = first.iter().map(|schema| self.number(schema)).collect();
        }
        node
    }
}

/// Whether keywords speak of members that they don't name.
fn is_open(keywords: &Map<String, Value>) -> bool {
    let says_more = |keyword: &str| keywords.get(keyword).is_some_and(|schema| *schema != Value::Bool(false));
    ["patternProperties", "additionalProperties", "unevaluatedProperties"].into_iter().any(says_more)
        || keywords.contains_key("$dynamicRef")
        || keywords.contains_key("$recursiveRef")
}

/// The subschemas that apply to the same value.
fn beside(keywords: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let lists =
        ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|keyword| keywords.get(keyword)?.as_array());
    let single = ["if", "then", "else"].into_iter().filter_map(|keyword| keywords.get(keyword));
    let dependent = keywords.get("dependentSchemas").and_then(Value::as_object);
    lists.flatten().chain(single).chain(dependent.into_iter().flat_map(Map::values))
}
