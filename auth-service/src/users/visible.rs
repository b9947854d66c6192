//! What can be seen of a text: two names that look the same should be the same.

use unicode_properties::{
    GeneralCategory, GeneralCategoryGroup as Group, UnicodeGeneralCategory as _,
};

/// ZERO WIDTH NON-JOINER and ZERO WIDTH JOINER, which some scripts spell with, and emoji.
const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];
/// Letters and symbols that are blank all the same.
const BLANKS: [char; 5] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}'];
/// The longest label of a DNS name (RFC 1035 section 2.3.4).
const LABEL_MAX: usize = 63;

/// Whether it shows nothing but changes what is shown: controls, formats such as those
/// that turn the direction around, and ends of lines.
pub(super) fn is_invisible(it: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
    matches!(it.general_category(), Control | Format | LineSeparator | ParagraphSeparator)
}

/// Whether `text` is one line of which each character counts: nothing invisible, but
/// for a joiner between two characters that it can join.
pub(super) fn is_plain_line(text: &str) -> bool {
    let joinable = |it: Option<&char>| {
        let group = it.map(|it| it.general_category_group());
        matches!(group, Some(Group::Letter | Group::Mark | Group::Symbol))
    };
    let chars: Vec<char> = text.chars().collect();
    chars.iter().enumerate().all(|(at, it)| {
        let before = at.checked_sub(1).and_then(|at| chars.get(at));
        let joins = JOINERS.contains(it) && joinable(before) && joinable(chars.get(at + 1));
        joins || !is_invisible(*it)
    })
}

/// Whether nothing of `text` can be seen.
pub(super) fn is_blank(text: &str) -> bool {
    let is_blank = |it: char| {
        let on_nothing = matches!(it.general_category_group(), Group::Mark);
        it.is_whitespace() || is_invisible(it) || on_nothing || BLANKS.contains(&it)
    };
    text.chars().all(is_blank)
}

/// Whether `host` is labels as those of DNS, in any script.
pub(super) fn is_host(host: &str) -> bool {
    let allowed = |it: char| {
        matches!(it.general_category_group(), Group::Letter | Group::Mark | Group::Number)
            || it == '-'
    };
    host.split('.').all(|label| {
        (1..=LABEL_MAX).contains(&label.chars().count())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(allowed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joiner_joins_and_everything_else_that_is_invisible_is_refused() {
        for line in
            ["Ann Müller", "می\u{200c}خواهم", "ක්\u{200d}ෂ", "👩\u{200d}💻", "O'Neil-García 3"]
        {
            assert!(is_plain_line(line), "{line:?}");
        }
        for line in [
            "\u{200b}\u{200b}",
            "\u{202e}Eevil",
            "a\u{200d}",
            "\u{200c}a",
            "a \u{200d}b",
            "a\u{200d}\u{200d}b",
            "a\u{feff}b",
            "a\u{ad}b",
            "a\u{2066}b",
            "a\u{2028}b",
            "a\nb",
        ] {
            assert!(!is_plain_line(line), "{line:?}");
        }
    }

    #[test]
    fn a_name_must_leave_something_to_see() {
        for blank in ["", "  ", "\u{a0}", "\u{3164}", "\u{2800}", "\u{301}"] {
            assert!(is_blank(blank), "{blank:?}");
        }
        assert!(!is_blank(" x "));
    }

    #[test]
    fn a_host_is_labels() {
        for host in ["b", "b.de", "exämple.com", "xn--exmple-cua.com", "1.2", "почта.рф", "ไทย.th"]
        {
            assert!(is_host(host), "{host}");
        }
        for host in ["", ".", "b..de", "-b.de", "b-.de", "b.de.", ".de", "b_c.de", "b,de", "[::1]"]
        {
            assert!(!is_host(host), "{host}");
        }
        assert!(is_host(&"b".repeat(63)) && !is_host(&"b".repeat(64)));
    }
}
