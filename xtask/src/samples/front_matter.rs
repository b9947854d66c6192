//! Reads a `SKILL.md`: the front matter of the Agent Skills standard, and the body after it.
//!
//! The standard's front matter is flat `key: value` lines and one nested map, so this reads that
//! subset of YAML and refuses the rest: a YAML parser would be a dependency for seven files.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

const KEYS: [&str; 6] =
    ["name", "description", "license", "compatibility", "metadata", "allowed-tools"];

/// The front matter of a `SKILL.md`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct FrontMatter {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) license: String,
    pub(super) compatibility: String,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) allowed_tools: Vec<String>,
}

/// Splits a document into its front matter and its body, which begins after the closing `---`.
pub(super) fn parse(document: &str) -> Result<(FrontMatter, &str)> {
    let (front, body) = split(document)?;
    let mut fields: BTreeMap<&str, String> = BTreeMap::new();
    let mut metadata: Option<BTreeMap<String, String>> = None;
    let mut in_metadata = false;

    for (index, line) in front.lines().enumerate() {
        // The opening `---` is line 1.
        let number = index + 2;
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = entry(line).with_context(|| format!("line {number}"))?;
        if line.starts_with(' ') {
            let map = metadata.as_mut().filter(|_| in_metadata);
            let map = map.with_context(|| format!("line {number}: only metadata has entries"))?;
            let value = scalar(value).with_context(|| format!("line {number}"))?;
            let earlier = map.insert(key.to_owned(), value);
            ensure!(earlier.is_none(), "line {number}: {key} is there twice");
            continue;
        }
        ensure!(KEYS.contains(&key), "line {number}: {key} is not a key of the standard");
        let twice = if key == "metadata" { metadata.is_some() } else { fields.contains_key(key) };
        ensure!(!twice, "line {number}: {key} is there twice");
        in_metadata = key == "metadata";
        if in_metadata {
            ensure!(value.is_empty(), "line {number}: metadata is a map, one entry a line");
            metadata = Some(BTreeMap::new());
        } else {
            fields.insert(key, scalar(value).with_context(|| format!("line {number}"))?);
        }
    }

    let tools = fields.remove("allowed-tools").unwrap_or_default();
    let front = FrontMatter {
        name: fields.remove("name").context("name is missing")?,
        description: fields.remove("description").context("description is missing")?,
        license: fields.remove("license").unwrap_or_default(),
        compatibility: fields.remove("compatibility").unwrap_or_default(),
        metadata: metadata.unwrap_or_default(),
        allowed_tools: tools.split_whitespace().map(str::to_owned).collect(),
    };
    Ok((front, body))
}

fn split(document: &str) -> Result<(&str, &str)> {
    let rest = document.strip_prefix("---\n").context("the first line is not ---")?;
    if let Some(body) = rest.strip_prefix("---\n") {
        return Ok(("", body.trim_start_matches('\n')));
    }
    let end = rest.find("\n---\n").context("the front matter is not closed by ---")?;
    Ok((&rest[..end], rest[end + "\n---\n".len()..].trim_start_matches('\n')))
}

/// `key: value`, at the margin or two spaces in.
fn entry(line: &str) -> Result<(&str, &str)> {
    let text = line.strip_prefix("  ").unwrap_or(line);
    ensure!(!text.starts_with([' ', '\t']), "entries are indented by exactly two spaces");
    let (key, value) = text.split_once(':').context("this is not key: value")?;
    let key_is_plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    ensure!(!key.is_empty() && key_is_plain, "this is not key: value");
    ensure!(value.is_empty() || value.starts_with(' '), "a space is missing after {key}:");
    Ok((key, value.trim()))
}

/// A plain or double-quoted scalar that YAML would also read as this string.
fn scalar(text: &str) -> Result<String> {
    if let Some(quoted) = text.strip_prefix('"') {
        return unquote(quoted);
    }
    ensure!(!text.is_empty(), "the value is empty");
    ensure!(
        !text.starts_with(|c| "-?:,[]{}#&*!|>'\"%@`".contains(c)),
        "a value that begins with this character needs double quotes"
    );
    ensure!(
        !text.contains(": ") && !text.contains(" #") && !text.ends_with(':'),
        "a value with a colon and a space, or a space and a #, needs double quotes"
    );
    let not_a_string =
        matches!(text, "true" | "false" | "null" | "~" | "yes" | "no" | "on" | "off");
    ensure!(
        !not_a_string && text.parse::<f64>().is_err(),
        "a value that YAML does not read as a string needs double quotes"
    );
    Ok(text.to_owned())
}

fn unquote(quoted: &str) -> Result<String> {
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                ensure!(characters.as_str().is_empty(), "there is text after the closing quote");
                ensure!(!value.is_empty(), "the value is empty");
                return Ok(value);
            }
            '\\' => match characters.next() {
                Some(escaped @ ('"' | '\\')) => value.push(escaped),
                _ => bail!("only \\\" and \\\\ are escapes here"),
            },
            plain => value.push(plain),
        }
    }
    bail!("the closing quote is missing")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(document: &str) -> String {
        format!("{:#}", parse(document).expect_err("the document is wrong"))
    }

    #[test]
    fn all_six_keys_are_read() {
        let (front, body) = parse(
            "---\nname: a\ndescription: \"Says: \\\"hi\\\" # there\"\nlicense: MIT\n\
             compatibility: Anything\nmetadata:\n  author: me\n  version: \"1.0\"\n\
             allowed-tools: Read Bash(git:*)\n---\n\n# Title\n",
        )
        .unwrap();
        assert_eq!(front.description, "Says: \"hi\" # there");
        assert_eq!(front.metadata["version"], "1.0");
        assert_eq!(front.allowed_tools, ["Read", "Bash(git:*)"]);
        assert_eq!(body, "# Title\n");
    }

    #[test]
    fn a_horizontal_rule_in_the_body_stays_in_the_body() {
        let (_, body) = parse("---\nname: a\ndescription: b\n---\none\n---\ntwo\n").unwrap();
        assert_eq!(body, "one\n---\ntwo\n");
    }

    #[test]
    fn what_the_standard_does_not_know_is_refused_with_its_line() {
        assert_eq!(
            problem("---\nname: a\nversion: b\n---\n"),
            "line 3: version is not a key of the standard"
        );
        assert_eq!(problem("---\nname: a\nname: b\n---\n"), "line 3: name is there twice");
        assert_eq!(problem("---\nname: a\n  b: c\n---\n"), "line 3: only metadata has entries");
        assert_eq!(problem("---\nname: a\n---\n"), "description is missing");
        assert_eq!(problem("name: a\n"), "the first line is not ---");
        assert_eq!(problem("---\nname: a\n"), "the front matter is not closed by ---");
    }

    #[test]
    fn a_scalar_that_yaml_would_read_otherwise_needs_quotes() {
        for text in ["1.0", "true", "- a", "a: b", "a #b", "{a}", "*a", ""] {
            assert!(scalar(text).is_err(), "{text:?} was taken for a string");
        }
        assert_eq!(scalar("a:b, c#d").unwrap(), "a:b, c#d");
        assert_eq!(scalar("\"true\"").unwrap(), "true");
        assert!(scalar("\"a\" b").is_err());
        assert!(scalar("\"a").is_err());
    }
}
