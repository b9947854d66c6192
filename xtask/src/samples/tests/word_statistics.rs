//! Cases of `word-statistics`.

use serde_json::{Value, json};

use super::{ok, quick};

fn statistics(text: &str) -> Value {
    ok("word-statistics", json!({"text": text}))
}

#[test]
fn an_empty_text_has_nothing_and_divides_by_nothing() {
    for text in ["", " \n\n ", "…!?"] {
        let result = statistics(text);
        assert_eq!(result["words"], 0, "{text:?}");
        assert_eq!(result["average_word_length"], 0.0);
        assert_eq!(result["longest_words"], json!([]));
        assert_eq!(result["reading_time"]["seconds"], 0);
    }
}

#[test]
fn case_and_position_do_not_make_a_word_another() {
    let result = statistics("Straße, STRASSE? straße. ÉTÉ été");
    assert_eq!(result["words"], 5);
    // Lower case keeps ß and ss apart; only full case folding would not.
    assert_eq!(result["unique_words"], 3);
    assert_eq!(result["most_frequent"][0], json!({"word": "straße", "count": 2, "share": 0.4}));
}

#[test]
fn a_character_is_what_a_reader_sees() {
    let result = statistics("e\u{301}👩‍👩‍👧‍👦 🇩🇪\r\nx");
    assert_eq!(result["characters"], 5);
    assert_eq!(result["characters_without_spaces"], 4);
}

#[test]
fn apostrophes_and_decimal_points_stay_inside_a_word() {
    let result = statistics("Don't pay 3.14 for well-known things");
    let words = result["most_frequent"].as_array().unwrap();
    let words: Vec<&str> = words.iter().map(|entry| entry["word"].as_str().unwrap()).collect();
    assert_eq!(words, ["3.14", "don't", "for", "known", "pay", "things", "well"]);
}

#[test]
fn paragraphs_are_parted_by_blank_lines_also_with_spaces_in_them() {
    assert_eq!(statistics("\n\na\nb\n \t\nc\r\n\r\nd\n")["paragraphs"], 3);
}

#[test]
fn ties_are_in_alphabetical_order_and_the_lists_end_where_asked() {
    let result = ok("word-statistics", json!({"text": "d c b a c", "top": 3.0, "longest": 1}));
    let frequent = result["most_frequent"].as_array().unwrap();
    let words: Vec<&Value> = frequent.iter().map(|entry| &entry["word"]).collect();
    assert_eq!(words, ["c", "a", "b"]);
    assert_eq!(result["longest_words"], json!([{"word": "a", "length": 1}]));
}

#[test]
fn reading_time_is_rounded_up_to_a_second() {
    let parameters = json!({"text": "word ".repeat(101), "words_per_minute": 100});
    assert_eq!(ok("word-statistics", parameters)["reading_time"]["seconds"], 61);
}

#[test]
fn a_quarter_of_a_million_characters_of_anything_is_quick() {
    for part in ["a", "a ", "a. ", ". ", " ", "a.", "\u{300}", "🇩", "👩‍", "'", "1,", "\"", "字"]
    {
        let text: String = part.chars().cycle().take(250_000).collect();
        quick("word-statistics", json!({"text": text})).unwrap();
    }
}
