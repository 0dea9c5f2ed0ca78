//! The code in a Markdown page: fenced blocks and spans. Prose is not looked at.

/// What a piece of code is by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Between backticks in a line.
    Span,
    /// A command line of a block that is marked `bash` or not at all.
    Shell,
}

/// A piece of code.
#[derive(Debug)]
pub struct Code {
    pub line: usize,
    pub kind: Kind,
    pub text: String,
}

/// All code of a page, in its order.
///
/// # Errors
/// What is not well-formed: it would hide what follows.
pub fn code(page: &str) -> Result<Vec<Code>, String> {
    let mut found: Vec<Code> = Vec::new();
    let mut fenced = false;
    let mut continued = false;
    for (number, line) in page.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            if !fenced && !matches!(language, "" | "bash") {
                return Err(format!("line {number}: a block of {language}, which nobody checks"));
            }
            fenced = !fenced;
        } else if !fenced {
            let cell = line.trim_start().starts_with('|');
            let spans = spans(line).ok_or_else(|| format!("line {number}: a span without an end"))?;
            found.extend(spans.into_iter().map(|span| {
                let text = if cell { span.replace("\\|", "|") } else { span.to_owned() };
                Code { line: number, kind: Kind::Span, text }
            }));
        } else {
            let text = line.trim().trim_end_matches('\\').trim_end();
            match found.last_mut().filter(|_| continued) {
                Some(last) => last.text.extend([" ", text]),
                None if text.is_empty() || text.starts_with('#') => {}
                None => found.push(Code { line: number, kind: Kind::Shell, text: text.to_owned() }),
            }
            continued = line.trim_end().ends_with('\\');
        }
    }
    if fenced { Err("a block without an end".to_owned()) } else { Ok(found) }
}

/// The spans of a line; none if one does not end.
fn spans(line: &str) -> Option<Vec<&str>> {
    let mut spans = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find('`') {
        let fence: usize = rest[at..].bytes().take_while(|byte| *byte == b'`').count();
        let inside = &rest[at + fence..];
        let end = inside.find(&"`".repeat(fence))?;
        spans.push(inside[..end].trim());
        rest = &inside[end + fence..];
    }
    Some(spans)
}

/// The rows of a page's tables as cells.
pub fn rows(page: &str) -> Vec<Vec<&str>> {
    let lines = page.lines().map(str::trim).filter(|line| line.starts_with('|'));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// A page without its code.
pub fn prose(page: &str) -> String {
    let mut fenced = false;
    let mut prose = String::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            prose.extend(line.split('`').step_by(2));
            prose.push('\n');
        }
    }
    prose
}
