//! What a result may hold: short strings, rounded numbers, and no more than the contract lets it.

use serde_json::Value;

/// The most that a result may be as JSON text: see `CompleteExecutionRequest.result`.
pub(super) const RESULT_BYTES_MAX: usize = 256 * 1024;

/// The first `characters_max` characters, with an ellipsis for the rest.
pub(super) fn clip(text: &str, characters_max: usize) -> String {
    match text.char_indices().nth(characters_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Rounds to so many decimal places. A number too large to have any stays as it is.
pub(super) fn round(number: f64, places: i32) -> f64 {
    let scale = 10f64.powi(places);
    let rounded = (number * scale).round() / scale;
    // Adding zero turns -0 into 0.
    if rounded.is_finite() { rounded + 0.0 } else { number }
}

/// The share of a part in the whole, 0 when there is no whole.
pub(super) fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// As many of the items, from the first, as take up so many bytes of JSON text.
pub(super) fn first_of(items: impl Iterator<Item = Value>, bytes_max: usize) -> Vec<Value> {
    let mut bytes = 0;
    items
        .take_while(|item| {
            bytes += item.to_string().len() + 1;
            bytes <= bytes_max
        })
        .collect()
}

/// Refuses a result that the catalog would refuse.
pub(super) fn within_limit(result: Value) -> Result<Value, String> {
    let bytes = result.to_string().len();
    if bytes > RESULT_BYTES_MAX {
        return Err(format!(
            "the result is {bytes} bytes of JSON text and may be {RESULT_BYTES_MAX}: \
             give the skill less at a time"
        ));
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn clipping_keeps_characters_whole() {
        assert_eq!(clip("äöü", 3), "äöü");
        assert_eq!(clip("äöü", 2), "äö…");
        assert_eq!(clip("", 0), "");
    }

    #[test]
    fn rounding_survives_numbers_of_any_size() {
        assert_eq!(round(2.0 / 3.0, 2), 0.67);
        assert_eq!(round(1e308, 6), 1e308);
        assert!(round(-0.0001, 2).is_sign_positive());
    }

    #[test]
    fn a_list_ends_before_the_item_that_is_too_much() {
        let items = || [json!("ab"), json!("cd"), json!("e")].into_iter();
        assert_eq!(first_of(items(), 10).len(), 2);
        assert_eq!(first_of(items(), 9).len(), 1);
        assert_eq!(first_of(items(), 14).len(), 3);
    }

    #[test]
    fn a_result_over_the_limit_of_the_contract_is_refused() {
        assert!(within_limit(json!("a".repeat(RESULT_BYTES_MAX - 2))).is_ok());
        assert!(within_limit(json!("a".repeat(RESULT_BYTES_MAX))).is_err());
    }
}
