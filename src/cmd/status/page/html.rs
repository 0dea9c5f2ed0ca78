//! Text between tags and in attributes. What comes from sticks and records can hold anything.

use std::fmt::{self, Write};

use crate::text::Shown;

/// A text that can be nothing but text, whatever it holds: what [`Shown`] shows as escapes, and what has a meaning in HTML.
pub struct Html<'a>(pub &'a str);

impl fmt::Display for Html<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in Shown(self.0.as_bytes()).to_string().chars() {
            match c {
                '&' => f.write_str("&amp;"),
                '<' => f.write_str("&lt;"),
                '>' => f.write_str("&gt;"),
                '"' => f.write_str("&quot;"),
                '\'' => f.write_str("&#39;"),
                // No characters in XML.
                '\u{fffe}' | '\u{ffff}' => f.write_char(char::REPLACEMENT_CHARACTER),
                c => f.write_char(c),
            }?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out() {
        assert_eq!(Html("<script>alert('1')</script>").to_string(), "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;");
        assert_eq!(
            Html("\" onload=\"&amp;\n\u{202e}\u{ffff}図").to_string(),
            "&quot; onload=&quot;&amp;amp;\\u{a}\\u{202e}\u{fffd}図"
        );
    }
}
