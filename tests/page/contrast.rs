//! Colours that can be told apart (WCAG 2.2, 1.4.3), from the page's own style.

use std::collections::BTreeMap;

/// Every pair of a text's colour and what it stands on, with its contrast. A rule that names no ground stands on any of
/// those that hold text.
pub fn pairs(style: &str) -> Vec<(String, String, f64)> {
    let colours: BTreeMap<String, [u8; 3]> = style.split(';').filter_map(named).collect();
    let grounds = ["--paper", "--card"];
    let mut pairs = Vec::new();
    for rule in style.split('}') {
        let Some((_, body)) = rule.split_once('{') else { continue };
        let value = |property: &str| {
            let found = body
                .split([';', '{'])
                .filter_map(|line| line.trim().split_once(':'))
                .find(|(key, _)| key.trim() == property);
            found.map(|(_, value)| value.trim().to_owned())
        };
        let ground = value("background");
        let on: Vec<&str> = match &ground {
            Some(ground) => vec![variable(ground)],
            None => grounds.to_vec(),
        };
        // A mark must be seen as well as a letter must be read.
        for property in ["color", "fill", "stroke"] {
            let Some(text) = value(property).filter(|value| value != "none") else { continue };
            let text = variable(&text).to_owned();
            for on in on.iter().filter(|_| text != "--line") {
                pairs.push((text.clone(), (*on).to_owned(), contrast(colours[&text], colours[*on])));
            }
        }
    }
    pairs
}

fn variable(value: &str) -> &str {
    value
        .strip_prefix("var(")
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap_or_else(|| panic!("no named colour: {value}"))
}

/// `--paper: #f2f4ef`, at the end of a text.
fn named(text: &str) -> Option<(String, [u8; 3])> {
    let (name, value) = text.split_once(": #")?;
    let name = &name[name.find("--")?..];
    let digits = u32::from_str_radix(value, 16).ok().filter(|_| value.len() == 6)?;
    let [_, red, green, blue] = digits.to_be_bytes();
    Some((name.to_owned(), [red, green, blue]))
}

fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
    let luminance = |colour: [u8; 3]| {
        let [red, green, blue] = colour.map(|channel| {
            let channel = f64::from(channel) / 255.0;
            if channel <= 0.04045 { channel / 12.92 } else { ((channel + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    };
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn black_on_white() {
    assert!((contrast([0; 3], [255; 3]) - 21.0).abs() < 1e-9);
    assert!((contrast([0x77; 3], [255; 3]) - 4.48).abs() < 0.01);
}
