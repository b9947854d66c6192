//! `markdown-link-check`: the links of a Markdown document, and what is wrong with them.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Value, json};

use document::{Document, Link, Target};

use super::{
    Step,
    outcome::{clip, first_of},
    parameters::Parameters,
};

mod addresses;
mod anchors;
mod document;

const TARGET_SHOWN_MAX: usize = 200;
const TEXT_SHOWN_MAX: usize = 80;
/// Two lists of this size and the counts make less than 256 KiB.
const LIST_BYTES_MAX: usize = 120 * 1024;

pub(super) fn run(parameters: &Parameters<'_>, step: Step<'_>) -> Result<Value, String> {
    let markdown = parameters.text("markdown")?;
    let check_shortcuts = parameters.flag("check_shortcuts")?;

    step("read the document", 0);
    let document = Document::read(markdown, check_shortcuts);

    step("check the references", 50);
    let mut problems = definitions(&document);
    problems.extend(document.links.iter().filter_map(undefined));

    step("check the anchors", 70);
    problems.extend(document.links.iter().filter_map(|link| missing(link, &document.anchors)));

    step("check the addresses", 80);
    problems.extend(document.links.iter().flat_map(addresses));
    problems.sort_by_key(|problem| problem.line);

    Ok(report(&document, &problems))
}

/// Something that is wrong.
struct Problem {
    kind: &'static str,
    line: usize,
    detail: String,
}

fn definitions(document: &Document) -> Vec<Problem> {
    let used: HashSet<&str> = document
        .links
        .iter()
        .filter_map(|link| match &link.target {
            Target::Defined { label, .. } => Some(label.as_str()),
            _ => None,
        })
        .collect();
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut problems = Vec::new();
    for definition in &document.definitions {
        let (label, line) = (definition.label.as_str(), definition.line);
        let shown = clip(label, TEXT_SHOWN_MAX);
        if let Some(earlier) = first.get(label) {
            let detail = format!("[{shown}] is already defined in line {earlier}, which counts");
            problems.push(Problem { kind: "duplicate-definition", line, detail });
            continue;
        }
        first.insert(label, line);
        if !used.contains(label) {
            let detail = format!("no link uses [{shown}]");
            problems.push(Problem { kind: "unused-definition", line, detail });
        }
    }
    problems
}

fn undefined(link: &Link) -> Option<Problem> {
    let Target::Undefined { label } = &link.target else { return None };
    let detail = format!("[{}] is not defined", clip(label, TEXT_SHOWN_MAX));
    Some(Problem { kind: "undefined-reference", line: link.line, detail })
}

fn missing(link: &Link, anchors: &HashSet<String>) -> Option<Problem> {
    let fragment = anchors::decode(link.target.address()?.strip_prefix('#')?);
    // Both mean the top of the document (HTML, section 7.4.6.4).
    if fragment.is_empty() || fragment.eq_ignore_ascii_case("top") || anchors.contains(&fragment) {
        return None;
    }
    let detail = format!("no heading or element is called #{}", clip(&fragment, TEXT_SHOWN_MAX));
    Some(Problem { kind: "missing-anchor", line: link.line, detail })
}

fn addresses(link: &Link) -> Vec<Problem> {
    let problem = |kind| move |detail| Problem { kind, line: link.line, detail };
    match link.target.address() {
        None => Vec::new(),
        Some(address) if address.trim().is_empty() => {
            vec![problem("empty-target")("the link leads nowhere".to_owned())]
        }
        Some(address) => addresses::doubts(address, &link.text)
            .into_iter()
            .map(problem("suspicious-address"))
            .collect(),
    }
}

fn report(document: &Document, problems: &[Problem]) -> Value {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for link in &document.links {
        *counts.entry(link.kind).or_default() += 1;
    }
    let links = document.links.iter().map(|link| {
        json!({
            "kind": link.kind,
            "line": link.line,
            "text": clip(&link.text, TEXT_SHOWN_MAX),
            "target": link.target.address().map(|address| clip(address, TARGET_SHOWN_MAX)),
        })
    });
    let listed = problems.iter().map(
        |problem| json!({"kind": problem.kind, "line": problem.line, "detail": problem.detail}),
    );
    let links = first_of(links, LIST_BYTES_MAX);
    let listed = first_of(listed, LIST_BYTES_MAX);
    json!({
        "ok": problems.is_empty(),
        "link_count": document.links.len(),
        "counts": counts,
        "problem_count": problems.len(),
        "truncated": links.len() < document.links.len() || listed.len() < problems.len(),
        "links": links,
        "problems": listed,
    })
}
