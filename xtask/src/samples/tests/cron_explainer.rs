//! Cases of `cron-explainer`.

use serde_json::{Value, json};

use super::{ok, refusal};

fn explain(expression: &str) -> Value {
    ok("cron-explainer", json!({"expression": expression, "after": "2026-01-01T00:00:00Z"}))
}

fn sentence(expression: &str) -> String {
    explain(expression)["sentence"].as_str().unwrap().to_owned()
}

/// The next occurrences after a time, without seconds.
fn next(expression: &str, after: &str, count: usize) -> Vec<String> {
    let parameters = json!({"expression": expression, "after": after, "count": count});
    let result = ok("cron-explainer", parameters);
    let occurrences = result["occurrences"].as_array().unwrap();
    occurrences.iter().map(|time| time.as_str().unwrap()[..16].to_owned()).collect()
}

#[test]
fn expressions_become_sentences() {
    for (expression, expected) in [
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("*/7 * * * *", "at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour"),
        ("5 * * * *", "at minute 5 of every hour"),
        ("@hourly", "at the start of every hour"),
        ("0 */2 * * *", "at the start of every 2nd hour from midnight every day"),
        ("*/10 9-17 * * mon-fri", "every 10 minutes of hours 09 to 17 on Monday to Friday"),
        ("0,30 9 * * *", "at 09:00 and 09:30 every day"),
        ("0 0 1,15 * *", "at 00:00 on the 1st and 15th of the month"),
        ("0 0 13 * 5", "at 00:00 on the 13th of the month and also on Friday"),
        (
            "0 0 */2 * 1,3",
            "at 00:00 on the 1st, 3rd, 5th, 7th, 9th, 11th, 13th, 15th, 17th, 19th, 21st, \
            23rd, 25th, 27th, 29th and 31st of the month if it is a Monday or Wednesday",
        ),
        ("0 12 * jun-aug *", "at 12:00 every day in June to August"),
        ("* * * 2 *", "every minute in February"),
        ("@yearly", "at 00:00 on the 1st of the month in January"),
        ("0 0 1 * 0-6", "at 00:00 every day"),
    ] {
        assert_eq!(sentence(expression), format!("It is due {expected} (UTC)."), "{expression}");
    }
}

#[test]
fn lists_ranges_steps_and_names_make_the_values() {
    let fields = &explain("1-10/3,59 0-23/12 31,1 Feb,DEC Sat,sun")["fields"];
    assert_eq!(fields["minutes"], json!([1, 4, 7, 10, 59]));
    assert_eq!(fields["hours"], json!([0, 12]));
    assert_eq!(fields["days_of_month"], json!([1, 31]));
    assert_eq!(fields["months"], json!([2, 12]));
    assert_eq!(fields["days_of_week"], json!([0, 6]));
}

#[test]
fn sunday_is_0_and_7_and_the_end_of_a_range() {
    for (field, days) in [
        ("7", json!([0])),
        ("0,7", json!([0])),
        ("5-7", json!([0, 5, 6])),
        ("fri-sun", json!([0, 5, 6])),
        ("sun-tue", json!([0, 1, 2])),
        ("*/2", json!([0, 2, 4, 6])),
        ("1-7", json!([0, 1, 2, 3, 4, 5, 6])),
    ] {
        assert_eq!(explain(&format!("0 0 * * {field}"))["fields"]["days_of_week"], days, "{field}");
    }
}

#[test]
fn when_both_day_fields_are_restricted_either_is_enough() {
    // The 13th of February 2026 is a Friday.
    let either = next("0 0 13 2 5", "2026-02-01T00:00:00Z", 3);
    assert_eq!(either, ["2026-02-06T00:00", "2026-02-13T00:00", "2026-02-20T00:00"]);
    // A field that begins with a star does not take part, whatever its step.
    let both = next("0 0 */2 2 5", "2026-02-01T00:00:00Z", 3);
    assert_eq!(both, ["2026-02-13T00:00", "2026-02-27T00:00", "2027-02-05T00:00"]);
    assert!(explain("0 0 13 2 5")["day_rule"].as_str().unwrap().contains("at least one"));
}

#[test]
fn leap_days_come_every_four_years_but_for_most_centuries() {
    let days = next("0 0 29 2 *", "2092-03-01T00:00:00Z", 3);
    assert_eq!(days, ["2096-02-29T00:00", "2104-02-29T00:00", "2108-02-29T00:00"]);
    let result = explain("0 0 30 2 *");
    assert_eq!(result["occurrences"], json!([]));
    assert_eq!(result["note"], "It is never due: no month has such a day.");
}

#[test]
fn what_is_rarer_than_asked_for_is_listed_for_400_years() {
    // The 29th of February on a Sunday.
    let parameters =
        json!({"expression": "0 0 29 2 */7", "after": "2026-01-01T00:00:00Z", "count": 100});
    let result = ok("cron-explainer", parameters);
    assert_eq!(result["occurrences"].as_array().unwrap().len(), 13);
    assert_eq!(result["occurrences"][0], "2032-02-29T00:00:00Z");
    assert_eq!(result["note"], "It is not due more often in the next 400 years.");
}

#[test]
fn occurrences_are_later_than_the_time_given_to_the_second() {
    assert_eq!(next("30 9 * * *", "2026-01-01T09:30:00Z", 1), ["2026-01-02T09:30"]);
    assert_eq!(next("30 9 * * *", "2026-01-01T09:29:59Z", 1), ["2026-01-01T09:30"]);
    assert_eq!(next("* * * * *", "2026-12-31T23:59Z", 2), ["2027-01-01T00:00", "2027-01-01T00:01"]);
    let last = next("0 0 31 12 *", "9999-12-30T00:00:00Z", 1);
    assert_eq!(last, ["9999-12-31T00:00"]);
    let from_now_on = ok("cron-explainer", json!({"expression": "@weekly"}));
    assert_eq!(from_now_on["occurrences"].as_array().unwrap().len(), 5);
}

#[test]
fn a_wrong_expression_is_refused_with_the_field_and_the_reason() {
    for (expression, reason) in [
        (
            "* * * *",
            "4 fields, and five are needed: minute, hour, day of month, month, day of week",
        ),
        ("60 * * * *", "minute: \"60\" is not a number from 0 to 59"),
        ("* 24 * * *", "hour: \"24\" is not a number from 0 to 23"),
        ("* * 0 * *", "day of month: \"0\" is not a number from 1 to 31"),
        ("* * * 13 *", "month: \"13\" is not a number from 1 to 12, nor a name"),
        ("* * * * 8", "day of week: \"8\" is not a number from 0 to 7, nor a name"),
        (
            "5/15 * * * *",
            "minute: a step needs a range, and crons differ without one: write 5-59/15",
        ),
        ("*/0 * * * *", "minute: the step \"0\" is not a number from 1 to 59"),
        ("30-10 * * * *", "minute: the range 30-10 runs backwards"),
        ("1,,2 * * * *", "minute: \"\" is not a number from 0 to 59"),
        ("+5 * * * *", "minute: \"+5\" is not a number from 0 to 59"),
        ("* * L * *", "day of month: \"L\" is not a number from 1 to 31"),
        ("99999999999 * * * *", "minute: \"99999999999\" is not a number from 0 to 59"),
        ("@reboot", "@reboot is not a time"),
        ("@never", "@never is not a nickname that cron knows"),
    ] {
        let message = refusal("cron-explainer", json!({"expression": expression}));
        let expected = format!("/expression: {reason}");
        assert_eq!(message, expected, "{expression}");
    }
    let wrong_time = json!({"expression": "@daily", "after": "2026-02-30T00:00:00Z"});
    assert!(refusal("cron-explainer", wrong_time).starts_with("/after: "));
    let zone = json!({"expression": "@daily", "after": "2026-02-03T00:00:00+01:00"});
    assert!(refusal("cron-explainer", zone).starts_with("/after: "));
}
