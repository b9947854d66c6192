//! Passwords that are guessed first: common words and phrases, their repetition, walks over a keyboard.

use std::{collections::HashSet, io::Read as _, sync::LazyLock};

use flate2::read::GzDecoder;

/// Words and phrases of our own collecting, in lower case, without spaces and
/// signs, sorted. Plain text, so that a change of it can be read.
const PHRASES: &str = include_str!("common.txt");
/// The 20,000 passwords that were seen most in breaches, as Django 5.2 ships them, in
/// the same form.
const BREACHED: &[u8] = include_bytes!("breached.txt.gz");

static COMMON: LazyLock<HashSet<Box<str>>> =
    LazyLock::new(|| PHRASES.lines().chain(breached().lines()).map(Into::into).collect());

fn breached() -> String {
    let mut text = String::new();
    let read = GzDecoder::new(BREACHED).read_to_string(&mut text);
    read.expect("the list was compressed when it was put here");
    text
}

/// What fingers walk along: the rows of keyboards, the digits and the alphabet.
const WALKS: [&str; 9] = [
    "1234567890",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "qsdfghjklm",
    "zxcvbnm",
    "yxcvbnm",
    "abcdefghijklmnopqrstuvwxyz",
];

/// A part that is shorter than this may not make up a password by repetition.
const REPEATED_MIN: usize = 8;

/// The letters and digits of a text in lower case: how much it differs in the rest
/// does not make it harder to guess.
pub(super) fn squeeze(text: &str) -> String {
    text.chars().filter(|it| it.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Why a password, in the form NFKC, is among the first to be guessed; none if it is not.
pub(super) fn problem(password: &str) -> Option<&'static str> {
    let squeezed = squeeze(password);
    if is_common(&squeezed) || is_common(&squeeze(&plain(password))) {
        return Some("must not be a common word or phrase, whatever digits or signs are added");
    }
    if repeats(password) || repeats(&squeezed) {
        return Some("must not repeat one short part");
    }
    let letters = squeezed.trim_end_matches(|it: char| it.is_ascii_digit());
    if walks(&squeezed) || (!letters.is_empty() && walks(letters)) {
        return Some("must not follow the keys of a keyboard or the alphabet");
    }
    None
}

/// Whether it is in the list, by itself or repeated, with digits around it or not.
fn is_common(squeezed: &str) -> bool {
    let core = squeezed.trim_matches(|it: char| it.is_ascii_digit());
    [squeezed, core].into_iter().any(|it| COMMON.contains(it) || COMMON.contains(unit(it)))
}

/// With the letters that digits and signs are written for, as in "p@ssw0rd". Digits
/// at either end stand for themselves.
fn plain(password: &str) -> String {
    let core = password.trim_matches(|it: char| !it.is_alphabetic() && it != '@' && it != '$');
    let letter = |it| match it {
        '@' | '4' => 'a',
        '3' => 'e',
        '1' | '!' => 'i',
        '0' => 'o',
        '$' | '5' => 's',
        '7' => 't',
        other => other,
    };
    core.chars().map(letter).collect()
}

/// Whether it is one short part again and again, the last time perhaps not whole.
fn repeats(text: &str) -> bool {
    let characters: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
    (1..REPEATED_MIN)
        .take_while(|period| period * 2 <= characters.len())
        .any(|period| characters.iter().zip(&characters[period..]).all(|(a, b)| a == b))
}

/// The shortest part that, repeated, gives the whole; the whole if there is none.
fn unit(text: &str) -> &str {
    let divides = |end: &usize| {
        text.len().is_multiple_of(*end) && text[..*end].repeat(text.len() / end) == text
    };
    let ends = text.char_indices().map(|(at, _)| at).skip(1).take_while(|it| it * 2 <= text.len());
    text.get(..ends.into_iter().find(divides).unwrap_or(text.len())).unwrap_or(text)
}

/// Whether each character is beside the one before on some walk, or the same, but
/// for a leap in every five: "qwertyuiop12345".
fn walks(text: &str) -> bool {
    let characters: Vec<char> = text.chars().collect();
    let leaps = characters.windows(2).filter(|it| !is_step(it[0], it[1])).count();
    characters.len() > 2 && leaps * 5 <= characters.len()
}

fn is_step(from: char, to: char) -> bool {
    let beside = |walk: &&str| {
        let at = |it| walk.chars().position(|key| key == it);
        matches!((at(from), at(to)), (Some(a), Some(b)) if a.abs_diff(b) <= 1)
    };
    from == to || WALKS.iter().any(beside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_guessed_first_is_refused_whatever_is_put_around_it() {
        for password in [
            "correct horse battery staple",
            "Correct-Horse-Battery-Staple!",
            "password12345678",
            "Password!!!!!!!!!2024",
            "2024password2024",
            "p@ssw0rdp@ssw0rd",
            "P@$$w0rd1234567890",
            "passwordpassword",
            "LetMeIn LetMeIn 99",
            "This is my password 1",
            "ThisIsMyPassw0rd!",
        ] {
            assert!(problem(password).is_some_and(|it| it.contains("common")), "{password}");
        }
    }

    #[test]
    fn repetition_and_walks_are_refused() {
        for password in
            ["aaaaaaaaaaaaaaa", "xk7xk7xk7xk7xk7", "!?!?!?!?!?!?!?!?", "ab1 AB1 ab1 AB1 a"]
        {
            assert_eq!(problem(password), Some("must not repeat one short part"), "{password}");
        }
        for password in
            ["qwertyuiopasdfgh", "123456789012345", "zyxwvutsrqponmlk", "asdfghjklasdfg12"]
        {
            assert!(problem(password).is_some_and(|it| it.contains("keyboard")), "{password}");
        }
    }

    #[test]
    fn a_common_word_as_a_part_of_more_is_no_reason() {
        for password in [
            "my password for the blue attic",
            "another horse, another staple",
            "kD8#vQp2!mZr7Lw",
            "пароль из семи разных слов",
            "😀 umbrella 😀 teapot 😀",
        ] {
            assert_eq!(problem(password), None, "{password}");
        }
    }

    #[test]
    fn what_was_seen_in_breaches_is_refused() {
        for password in ["trustno1", "metallica", "Liverpool2024", "charlie.1", "zaq12wsx"] {
            assert!(problem(password).is_some_and(|it| it.contains("common")), "{password}");
        }
    }

    #[test]
    fn the_lists_are_sorted_and_in_the_form_that_is_looked_up() {
        let breached = breached();
        for (list, at_least) in [(PHRASES, 1000), (&breached, 15_000)] {
            let lines: Vec<&str> = list.lines().collect();

            assert!(lines.is_sorted_by(|a, b| a < b) && lines.len() > at_least, "{}", lines.len());
            assert!(lines.iter().all(|it| squeeze(it) == *it && it.len() >= 3));
        }
    }
}
