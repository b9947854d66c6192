//! Cases of `markdown-link-check`.

use serde_json::{Value, json};

use super::{ok, quick};

fn check(markdown: &str) -> Value {
    ok("markdown-link-check", json!({"markdown": markdown}))
}

/// Each link as "kind line target".
fn links(markdown: &str) -> Vec<String> {
    let result = check(markdown);
    let links = result["links"].as_array().unwrap();
    links
        .iter()
        .map(|link| {
            let word = |key: &str| link[key].as_str().unwrap_or("-").to_owned();
            format!("{} {} {}", word("kind"), link["line"], word("target"))
        })
        .collect()
}

/// Each problem as "kind line".
fn problems(markdown: &str) -> Vec<String> {
    let result = check(markdown);
    let problems = result["problems"].as_array().unwrap();
    problems.iter().map(|p| format!("{} {}", p["kind"].as_str().unwrap(), p["line"])).collect()
}

/// What is said about one address, shown as some text.
fn doubts(text: &str, address: &str) -> String {
    let result = check(&format!("[{text}](<{address}>)"));
    let problems = result["problems"].as_array().unwrap();
    problems.iter().map(|p| p["detail"].as_str().unwrap()).collect::<Vec<_>>().join("; ")
}

#[test]
fn every_kind_of_link_is_found_with_its_line() {
    let markdown = "\
[a](https://a.example) and ![i](i.png)\n\
[b][ref] and [Ref][] and [ref]\n\
<https://c.example> <me@d.example>\n\
see https://e.example/x_y_(z), (www.f.example).\n\
[![logo](logo.png)](https://g.example)\n\n\
[REF]: /r \"title\"\n";
    assert_eq!(
        links(markdown),
        [
            "inline 1 https://a.example",
            "image 1 i.png",
            "reference 2 /r",
            "reference 2 /r",
            "reference 2 /r",
            "autolink 3 https://c.example",
            "autolink 3 mailto:me@d.example",
            "bare 4 https://e.example/x_y_(z)",
            "bare 4 http://www.f.example",
            "inline 5 https://g.example",
            "image 5 logo.png",
        ]
    );
}

#[test]
fn what_is_code_or_escaped_is_no_link() {
    let markdown =
        "`[a](b)` \\[c](d)\n\n```\n[e](f) https://g.example\n[h]: /i\n```\n\n    [j]: /k\n";
    assert_eq!(check(markdown)["link_count"], 0);
    assert_eq!(check(markdown)["ok"], true);
}

#[test]
fn references_without_a_definition_are_problems_and_shortcuts_only_if_asked() {
    let markdown = "[a][nowhere]\n[nothing][]\n[sic] [x]\n- [ ] task\n";
    assert_eq!(problems(markdown), ["undefined-reference 1", "undefined-reference 2"]);
    let parameters = json!({"markdown": markdown, "check_shortcuts": true});
    assert_eq!(ok("markdown-link-check", parameters)["problem_count"], 4);
}

#[test]
fn duplicate_and_unused_definitions_are_found_wherever_they_stand() {
    let markdown = "\
[one]: /1\n\
[ONE]: /2\n\
> [two  words]: /3\n\n\
- item\n\n  [Two Words]:\n  /4\n\n\
paragraph\n[one]: not a definition, because a paragraph goes on\n\n\
[^note]: a footnote\n\n\
Use [one], [two words] and [^note].\n\
\n[three]: /5\n";
    assert_eq!(
        problems(markdown),
        ["duplicate-definition 2", "duplicate-definition 7", "unused-definition 17"]
    );
}

#[test]
fn anchors_are_headings_as_github_names_them_and_elements() {
    let markdown = "\
# Hello, `World` & *more*!\n\
## Same\n## Same\n## Same-1\n\
Ünï Cödé\n---\n\
<a id=\"here\"></a> <A NAME='there'>\n\n\
[a](#hello-world--more) [b](#same) [c](#same-1) [d](#same-1-1) [e](#ünï-cödé)\n\
[f](#%C3%BCn%C3%AF-c%C3%B6d%C3%A9) [g](#here) [h](#there) [i](#) [j](#TOP)\n";
    assert_eq!(problems(markdown), [""; 0]);
    assert_eq!(
        problems("# A b\n[x](#A-b)\n[y](#a-c) [z](other.md#a)\n"),
        ["missing-anchor 2", "missing-anchor 3"]
    );
}

#[test]
fn empty_targets_lead_nowhere() {
    assert_eq!(
        problems("[a]()\n[b](<>)\n[c][d]\n\n[d]: <>\n"),
        ["empty-target 1", "empty-target 2", "empty-target 3"]
    );
}

#[test]
fn suspicious_addresses_are_named_with_the_reason() {
    for (address, reason) in [
        ("JavaScript:alert(1)", "the address is a script"),
        ("data:text/html,x", "the address is a document of its own"),
        ("file:///etc/passwd", "the address is a file on the reader's computer"),
        ("http://a.example", "the connection is not encrypted"),
        (
            "https://bank.example@evil.example/",
            "a user name stands before the host, and may pass for it",
        ),
        ("https://0x7f000001/", "the host is an IP address"),
        ("https://[::1]/", "the host is an IP address"),
        ("https://localhost:80/", "the host is only known on the reader's computer or network"),
        ("https://printer.local/", "the host is only known on the reader's computer or network"),
        ("https://bаnk.example/", "the host has letters beyond ASCII, and may look like another"),
        ("https://https://a.example", "the scheme is there twice"),
        (
            "https://a b.example/",
            "the address contains white space or a control character; the address is not valid: invalid international domain name",
        ),
        ("https://", "the address is not valid: empty host"),
    ] {
        assert_eq!(doubts("text", address), reason, "{address}");
    }
    for address in
        ["https://a.example/", "mailto:a@b.example", "../x.md?y#z", "//a.example/", "tel:1"]
    {
        assert_eq!(doubts("text", address), "", "{address}");
    }
    assert_eq!(
        doubts("text", &format!("https://a.example/{}", "x".repeat(2048))),
        "the address is longer than 2048 bytes"
    );
}

#[test]
fn a_text_that_shows_another_host_is_suspicious() {
    assert_eq!(doubts("https://a.example", "https://b.example"), "the text shows another host");
    assert_eq!(doubts("www.a.example/x", "https://a.example/y"), "");
    assert_eq!(doubts("a.example", "https://b.example"), "");
}

#[test]
fn a_quarter_of_a_million_characters_of_anything_is_quick() {
    let parts = [
        "[",
        "]",
        "[a](",
        "[a][",
        "[a][b]",
        "![",
        "<",
        "<!--",
        "*a",
        "**a ",
        "`",
        "> ",
        "- ",
        "# a\n",
        "|a",
        "[a]: b\n",
        "[a][a]\n",
        "a\\",
        "<a id=",
        "http://a.b ",
        "([",
        "_*",
        "~",
        "&",
        "[^a]",
        "[^a]: b\n",
        "\n",
        "[](x) ",
        "- [ ] ",
        "$",
        "1. ",
        "[[",
        "``` ",
        "\t",
    ];
    for part in parts {
        let markdown: String = part.chars().cycle().take(250_000).collect();
        quick("markdown-link-check", json!({"markdown": markdown, "check_shortcuts": true}))
            .unwrap();
    }
}
