//! Cases of `text-redactor`.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ok, quick};

fn redact(text: &str) -> String {
    ok("text-redactor", json!({"text": text}))["text"].as_str().unwrap().to_owned()
}

#[test]
fn email_addresses_end_where_the_sentence_goes_on() {
    for (text, redacted) in [
        ("Write to a.b+c@mail.example.org.", "Write to [email]."),
        ("<a@b.co>,(c@d.co);'e@f.co'", "<[email]>,([email]);'[email]'"),
        ("a@b.co...and", "[email]...and"),
        ("jürgen@müller.example", "[email]"),
        ("o'brien_1%x@a-b.example-", "[email]-"),
        ("to=a@b.co&x mailto:a@b.co?s", "to=[email]&x mailto:[email]?s"),
        ("a@b@c.co", "a@[email]"),
        ("a@xn--bcher-kva.example a@b.xn--p1ai", "[email] [email]"),
        (
            "@name a@ @b.co a@b a@1.5 a@b.c ..@b.co a@-b.co",
            "@name a@ @b.co a@b a@1.5 a@b.c ..@b.co a@-b.co",
        ),
    ] {
        assert_eq!(redact(text), redacted);
    }
}

#[test]
fn ipv4_addresses_are_found_with_ports_and_prefixes() {
    for (text, redacted) in [
        ("192.0.2.1, 10.0.0.0/8 (127.0.0.1:80).", "[ipv4], [ipv4]/8 ([ipv4]:80)."),
        ("ip:10.0.0.1 http://10.0.0.1/x", "ip:[ipv4] http://[ipv4]/x"),
        ("10.0.0.1-10.0.0.9", "[ipv4]-[ipv4]"),
        ("…10.0.0.1…", "…[ipv4]…"),
        (
            "256.0.0.1 1.2.3 1.2.3.4.5 01.2.3.4 v1.2.3.4 1.2.3.4b a_1.2.3.4",
            "256.0.0.1 1.2.3 1.2.3.4.5 01.2.3.4 v1.2.3.4 1.2.3.4b a_1.2.3.4",
        ),
    ] {
        assert_eq!(redact(text), redacted);
    }
}

#[test]
fn ipv6_addresses_are_found_in_every_form() {
    for (text, redacted) in [
        ("2001:db8:0:0:0:0:0:1 2001:DB8::1 ::1 fe80::1%eth0", "[ipv6] [ipv6] [ipv6] [ipv6]%eth0"),
        ("::ffff:192.0.2.1 [2001:db8::]:443 2001:db8::/32", "[ipv6] [[ipv6]]:443 [ipv6]/32"),
        ("From 2001:db8::1: lost. To 2001:db8::2.", "From [ipv6]: lost. To [ipv6]."),
        ("src:2001:db8::1", "src:[ipv6]"),
        (
            "12:30:45 00:1a:2b:3c:4d:5e std::vec bed::fade :: a:b 1::2::3",
            "12:30:45 00:1a:2b:3c:4d:5e std::vec bed::fade :: a:b 1::2::3",
        ),
    ] {
        assert_eq!(redact(text), redacted);
    }
}

#[test]
fn card_numbers_meet_the_check_digit_and_stand_alone() {
    for (text, redacted) in [
        (
            "4111111111111111 4111-1111-1111-1111 4111\u{a0}1111\u{a0}1111\u{a0}1111",
            "[card] [card] [card]",
        ),
        (
            "3782 822463 10005, 4222222222222, 6304000000000000001",
            "[card], [card], 6304000000000000001",
        ),
        ("order 12 4111 1111 1111 1111 12", "order 12 [card] 12"),
        ("no.5555555555554444.", "no.[card]."),
        (
            "4111111111111112 411111111111111 x4111111111111111 4111111111111111x",
            "4111111111111112 411111111111111 x4111111111111111 4111111111111111x",
        ),
        (
            "0.4111111111111111 4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 4111  1111  1111  1111",
            "0.4111111111111111 4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 4111  1111  1111  1111",
        ),
        ("0000000000000000 1234567890123452", "0000000000000000 1234567890123452"),
    ] {
        assert_eq!(redact(text), redacted);
    }
}

#[test]
fn the_same_value_has_the_same_number_however_it_is_written() {
    let text = "A@b.co a@B.co c@d.co 4111111111111111 4111-1111-1111-1111 ::1 0:0:0:0:0:0:0:1";
    let result = ok("text-redactor", json!({"text": text, "numbered": true}));
    assert_eq!(result["text"], "[email-1] [email-1] [email-2] [card-1] [card-1] [ipv6-1] [ipv6-1]");
    assert_eq!(result["counts"]["email"], json!({"found": 3, "distinct": 2}));
    assert_eq!(result["total"], 7);
}

#[test]
fn only_the_kinds_asked_for_are_looked_for() {
    let parameters = json!({"text": "a@b.co 192.0.2.1", "kinds": ["ipv4"]});
    let result = ok("text-redactor", parameters);
    assert_eq!(result["text"], "a@b.co [ipv4]");
    assert_eq!(result["counts"], json!({"ipv4": {"found": 1, "distinct": 1}}));
}

#[test]
fn the_text_around_what_was_found_stays_as_it_was() {
    let text = "ä\r\n\u{0}👩‍👩‍👧 a@b.co\u{feff}\t";
    assert_eq!(redact(text), text.replace("a@b.co", "[email]"));
    assert_eq!(redact(""), "");
}

#[test]
fn a_hundred_thousand_characters_of_anything_are_quick_and_fit_in_a_result() {
    let parts = [
        "@",
        "a@",
        "a@b.co ",
        "a.",
        "1",
        "1.",
        "1:",
        ":",
        "1.2.3.4:",
        "::1 ",
        "4111 ",
        "4111111111111111 ",
        "4",
        "4 ",
        "a@a.",
        "..",
        "é",
        "é@é.éé ",
    ];
    for part in parts {
        let text: String = part.chars().cycle().take(100_000).collect();
        let result: Value =
            quick("text-redactor", json!({"text": text, "numbered": true})).unwrap();
        assert!(result["text"].is_string());
    }
}

proptest! {
    #[test]
    fn what_was_redacted_has_nothing_left_to_redact(text in "[@:.1-4a-fé \\-_%]{0,60}") {
        let redacted = redact(&text);
        prop_assert_eq!(redact(&redacted), redacted);
    }
}
