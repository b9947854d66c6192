//! What a Markdown document has in the way of links, definitions and anchors.

use std::{collections::HashSet, ops::Range};

use pulldown_cmark::{
    BrokenLink, CowStr, Event, LinkType, Options, Parser, Tag, TagEnd, TextMergeWithOffset,
};

use super::anchors::{Slugs, html_anchors};

/// What was found.
pub(super) struct Document {
    pub(super) links: Vec<Link>,
    pub(super) definitions: Vec<Definition>,
    pub(super) anchors: HashSet<String>,
}

/// A link or an image.
pub(super) struct Link {
    pub(super) kind: &'static str,
    pub(super) line: usize,
    pub(super) text: String,
    pub(super) target: Target,
}

/// Where a link leads.
pub(super) enum Target {
    /// The address is in the link itself.
    Here(String),
    /// The address is in a definition.
    Defined { label: String, address: String },
    /// The address should be in a definition that is not there.
    Undefined { label: String },
}

impl Target {
    pub(super) fn address(&self) -> Option<&str> {
        match self {
            Self::Here(address) | Self::Defined { address, .. } => Some(address),
            Self::Undefined { .. } => None,
        }
    }
}

/// `[label]: address`.
pub(super) struct Definition {
    pub(super) label: String,
    pub(super) line: usize,
}

impl Document {
    /// Markdown that is wrong does not exist: everything is at least text.
    pub(super) fn read(markdown: &str, shortcuts: bool) -> Self {
        let options = Options::ENABLE_TABLES
            | Options::ENABLE_FOOTNOTES
            | Options::ENABLE_TASKLISTS
            | Options::ENABLE_STRIKETHROUGH;
        // With an address for each undefined reference, the parser reports it as a link.
        let mut undefined = |link: BrokenLink<'_>| {
            let wanted = shortcuts || link.link_type != LinkType::Shortcut;
            wanted.then_some((CowStr::Borrowed(""), CowStr::Borrowed("")))
        };
        let parser = Parser::new_with_broken_link_callback(markdown, options, Some(&mut undefined));
        let mut reader = Reader::new(markdown);
        for (event, range) in TextMergeWithOffset::new(parser.into_offset_iter()) {
            reader.event(event, range);
        }
        let definitions = definitions(markdown, &reader.covered);
        Self { links: reader.links, definitions, anchors: reader.anchors }
    }
}

struct Reader<'a> {
    markdown: &'a str,
    /// Where events have been counted to, and the line there: events come in order.
    line_at: (usize, usize),
    links: Vec<Link>,
    anchors: HashSet<String>,
    slugs: Slugs,
    /// Links whose text is being read.
    open: Vec<usize>,
    heading: Option<String>,
    in_code: bool,
    /// What is text, code or HTML, and so cannot be a definition.
    covered: Vec<Range<usize>>,
}

impl<'a> Reader<'a> {
    fn new(markdown: &'a str) -> Self {
        Self {
            markdown,
            line_at: (0, 1),
            links: Vec::new(),
            anchors: HashSet::new(),
            slugs: Slugs::default(),
            open: Vec::new(),
            heading: None,
            in_code: false,
            covered: Vec::new(),
        }
    }

    fn event(&mut self, event: Event<'_>, range: Range<usize>) {
        if !is_container(&event) {
            self.covered.push(range.clone());
        }
        match event {
            Event::Start(Tag::Link { link_type, dest_url, id, .. }) => {
                self.link(link_kind(link_type), link_type, &dest_url, &id, range.start);
            }
            Event::Start(Tag::Image { link_type, dest_url, id, .. }) => {
                self.link("image", link_type, &dest_url, &id, range.start);
            }
            Event::End(TagEnd::Link | TagEnd::Image) => {
                self.open.pop();
            }
            Event::Start(Tag::Heading { .. }) => self.heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                if let Some(text) = self.heading.take() {
                    self.anchors.insert(self.slugs.next(&text));
                }
            }
            Event::Start(Tag::CodeBlock(_)) => self.in_code = true,
            Event::End(TagEnd::CodeBlock) => self.in_code = false,
            Event::Html(html) | Event::InlineHtml(html) => {
                self.anchors.extend(html_anchors(&html));
            }
            Event::Text(text) => {
                self.text(&text);
                if !self.in_code && self.open.is_empty() {
                    self.bare_addresses(&text, range.start);
                }
            }
            Event::Code(text) => self.text(&text),
            Event::SoftBreak | Event::HardBreak => self.text(" "),
            _ => {}
        }
    }

    fn link(&mut self, kind: &'static str, link: LinkType, url: &str, id: &str, at: usize) {
        let target = match link {
            LinkType::ReferenceUnknown | LinkType::CollapsedUnknown | LinkType::ShortcutUnknown => {
                Target::Undefined { label: normal(id) }
            }
            LinkType::Reference | LinkType::Collapsed | LinkType::Shortcut => {
                Target::Defined { label: normal(id), address: url.to_owned() }
            }
            LinkType::Email => Target::Here(format!("mailto:{url}")),
            LinkType::Inline | LinkType::Autolink | LinkType::WikiLink { .. } => {
                Target::Here(url.to_owned())
            }
        };
        self.open.push(self.links.len());
        let line = self.line(at);
        self.links.push(Link { kind, line, text: String::new(), target });
    }

    fn text(&mut self, text: &str) {
        if let Some(heading) = &mut self.heading {
            heading.push_str(text);
        }
        // An image inside a link has its own text, which the link also shows. Nothing else nests.
        for index in self.open.iter().rev().take(2) {
            self.links[*index].text.push_str(text);
        }
    }

    /// Addresses that GitHub makes links of although nothing marks them.
    fn bare_addresses(&mut self, text: &str, at: usize) {
        let starts = ["http://", "https://", "www."];
        for word in text.split([' ', '\t', '<', '>']) {
            let word = word.trim_start_matches(['(', '*', '_', '~', '"', '\'']);
            if !starts.iter().any(|start| word.starts_with(start)) {
                continue;
            }
            let word =
                word.trim_end_matches(['?', '!', '.', ',', ':', ';', '*', '_', '~', '\'', '"']);
            let word = match word.strip_suffix(')') {
                Some(inner) if !inner.contains('(') => inner,
                _ => word,
            };
            if starts.contains(&word) {
                continue;
            }
            let line = self.line(at);
            let address =
                if word.starts_with("www.") { format!("http://{word}") } else { word.to_owned() };
            let target = Target::Here(address);
            self.links.push(Link { kind: "bare", line, text: word.to_owned(), target });
        }
    }

    fn line(&mut self, at: usize) -> usize {
        let (from, line) = self.line_at;
        if let Some(passed) = self.markdown.get(from..at) {
            self.line_at = (at, line + newlines(passed));
        }
        self.line_at.1
    }
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

fn link_kind(link: LinkType) -> &'static str {
    match link {
        LinkType::Inline | LinkType::WikiLink { .. } => "inline",
        LinkType::Autolink | LinkType::Email => "autolink",
        _ => "reference",
    }
}

/// Blocks that contain other blocks, definitions among them.
fn is_container(event: &Event<'_>) -> bool {
    matches!(
        event,
        Event::End(_)
            | Event::Start(
                Tag::BlockQuote(_) | Tag::List(_) | Tag::Item | Tag::FootnoteDefinition(_)
            )
    )
}

/// Labels match in any case and with any white space (CommonMark, section 4.7).
fn normal(label: &str) -> String {
    label.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Every definition, also those that the parser drops because an earlier one has their label: the
/// lines that look like one and are nothing else.
fn definitions(markdown: &str, covered: &[Range<usize>]) -> Vec<Definition> {
    let mut definitions = Vec::new();
    let mut covered = covered.iter().peekable();
    let mut covered_to = 0;
    let mut start = 0;
    for (index, line) in markdown.split_inclusive('\n').enumerate() {
        let marker = |c: char| c.is_ascii_digit() || " \t>-*+.)".contains(c);
        let text = line.trim_start_matches(marker);
        let at = start + line.len() - text.len();
        start += line.len();
        while let Some(range) = covered.next_if(|range| range.start <= at) {
            covered_to = covered_to.max(range.end);
        }
        let label = text.strip_prefix('[').and_then(label).filter(|_| at >= covered_to);
        definitions.extend(label.map(|label| Definition { label: normal(label), line: index + 1 }));
    }
    definitions
}

/// What stands before the first `]:`, if that is a label and not that of a footnote.
fn label(text: &str) -> Option<&str> {
    let mut escaped = false;
    let end = text.find(|c: char| {
        let ends = !escaped && (c == ']' || c == '[');
        escaped = !escaped && c == '\\';
        ends
    })?;
    let label = &text[..end];
    let is_label = text[end..].starts_with("]:") && !label.trim().is_empty();
    (is_label && !label.starts_with('^')).then_some(label)
}
