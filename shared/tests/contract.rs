//! What the contract says in its comments alone.

/// The reasons as a user reads them.
const REASONS: &str = include_str!("../../proto/ihuman/error/v1/error_reason.proto");

#[test]
fn every_reason_of_an_error_has_an_example() {
    let (_, values) = REASONS.split_once("enum ErrorReason {").unwrap();
    let mut comment = String::new();

    let mut reasons = 0;
    for line in values.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("// ") {
            comment.push_str(text);
            continue;
        }
        if let Some((name, _)) = line.split_once(" = ") {
            let is_never_sent = comment == "Never sent.";
            assert!(is_never_sent || comment.contains("Example: "), "{name}: {comment}");
            reasons += 1;
        }
        comment.clear();
    }
    assert!(reasons > 30, "{reasons}");
}
