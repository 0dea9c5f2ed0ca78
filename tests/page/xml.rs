//! A strict reader of the page: what is not well-formed XML (but for `<!DOCTYPE html>`) is refused, so nothing that was put
//! into the page can have opened, closed or made up a tag unseen.

use std::collections::BTreeMap;

/// An element, with what is in it.
#[derive(Debug, Default)]
pub struct Element {
    pub name: String,
    pub attributes: BTreeMap<String, String>,
    pub children: Vec<Node>,
}

/// What an element holds.
#[derive(Debug)]
pub enum Node {
    Element(Element),
    Text(String),
}

impl Element {
    /// All elements below it, itself first, as they stand.
    pub fn all(&self) -> Vec<&Element> {
        let below = self.children.iter().filter_map(|child| match child {
            Node::Element(element) => Some(element.all()),
            Node::Text(_) => None,
        });
        std::iter::once(self).chain(below.flatten()).collect()
    }

    /// Those of a kind whose class has that word.
    pub fn of<'a>(&'a self, name: &str, class: &str) -> Vec<&'a Element> {
        let is = |element: &&Element| {
            element.name == name
                && (class.is_empty() || element.attribute("class").split(' ').any(|word| word == class))
        };
        self.all().into_iter().filter(is).collect()
    }

    /// The only one of them.
    pub fn only<'a>(&'a self, name: &str, class: &str) -> &'a Element {
        let found = self.of(name, class);
        assert_eq!(found.len(), 1, "{name}.{class}");
        found[0]
    }

    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// All text below it.
    pub fn text(&self) -> String {
        let texts = self.children.iter().map(|child| match child {
            Node::Element(element) => element.text(),
            Node::Text(text) => text.clone(),
        });
        texts.collect()
    }
}

/// Reads a page.
pub fn read(page: &str) -> Element {
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n").expect("a doctype");
    let mut open = vec![Element::default()];
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("</") {
            let (name, after) = after.split_once('>').expect("an end of a tag");
            let element = open.pop().unwrap();
            assert_eq!(element.name, name, "closed in another order");
            open.last_mut().expect("nothing to close").children.push(Node::Element(element));
            rest = after;
        } else if let Some(after) = rest.strip_prefix('<') {
            let (element, empty, after) = tag(after);
            if empty {
                open.last_mut().unwrap().children.push(Node::Element(element));
            } else {
                open.push(element);
            }
            rest = after;
        } else {
            let end = rest.find('<').unwrap_or(rest.len());
            open.last_mut().unwrap().children.push(Node::Text(plain(&rest[..end])));
            rest = &rest[end..];
        }
    }
    assert_eq!(open.len(), 1, "never closed: {:?}", open.iter().map(|element| &element.name).collect::<Vec<_>>());
    open.pop().unwrap()
}

/// A tag after its `<`: name, attributes in double quotes, and whether it is closed at once.
fn tag(text: &str) -> (Element, bool, &str) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let end = text.find(|c| !is_name(c)).expect("a name's end");
    assert!(end > 0, "no name: {:.20}", text);
    let mut element = Element { name: text[..end].to_owned(), ..Element::default() };
    let mut rest = &text[end..];
    loop {
        if let Some(after) = rest.strip_prefix('>') {
            return (element, false, after);
        }
        if let Some(after) = rest.strip_prefix(" />") {
            return (element, true, after);
        }
        let attribute = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no attribute: {rest:.20}"));
        let (name, value) = attribute.split_once("=\"").expect("a value in quotes");
        assert!(!name.is_empty() && name.chars().all(is_name), "{name:.20}");
        let (value, after) = value.split_once('"').expect("a quote's end");
        assert!(!value.contains('<'), "{value}");
        assert!(element.attributes.insert(name.to_owned(), plain(value)).is_none(), "twice: {name}");
        rest = after;
    }
}

/// Text with its entities resolved; no others than XML's own are known, and no character that XML does not know.
fn plain(text: &str) -> String {
    let mut parts = text.split('&');
    let mut plain = parts.next().unwrap().to_owned();
    for part in parts {
        let (entity, rest) = part.split_once(';').unwrap_or_else(|| panic!("a lone & before {part:.20}"));
        plain.push_str(match entity {
            "amp" => "&",
            "lt" => "<",
            "gt" => ">",
            "quot" => "\"",
            "#39" => "'",
            other => panic!("&{other:.20};"),
        });
        plain.push_str(rest);
    }
    let odd = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{fffe}' | '\u{ffff}');
    assert!(!plain.contains(odd), "{plain:?}");
    plain
}
