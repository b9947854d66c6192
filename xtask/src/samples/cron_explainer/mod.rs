//! `cron-explainer`: a cron expression as an English sentence, and when it is next due.

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use expression::Expression;

use super::{Step, parameters::Parameters};

mod expression;
mod next;
mod sentence;

pub(super) fn run(parameters: &Parameters<'_>, step: Step<'_>) -> Result<Value, String> {
    let text = parameters.text("expression")?;
    let count = parameters.count("count")?;
    let after = match parameters.value("after").and_then(Value::as_str) {
        Some(after) => time(after)?,
        None => Utc::now(),
    };

    step("parse the expression", 0);
    let expression = Expression::parse(text).map_err(|error| format!("/expression: {error}"))?;

    step("explain it", 20);
    let sentence = sentence::of(&expression);

    step("find the next occurrences", 40);
    let occurrences = next::after(&expression, after, count);

    let note = match occurrences.len() {
        0 => Some("It is never due: no month has such a day."),
        found if found < count => Some("It is not due more often in the next 400 years."),
        _ => None,
    };
    Ok(json!({
        "expression": expression.to_string(),
        "sentence": sentence,
        "fields": {
            "minutes": expression.minutes.values(),
            "hours": expression.hours.values(),
            "days_of_month": expression.days.values(),
            "months": expression.months.values(),
            "days_of_week": expression.weekdays.values(),
        },
        "day_rule": expression.day_rule().explanation(),
        "after": rfc3339(after),
        "occurrences": occurrences.into_iter().map(rfc3339).collect::<Vec<_>>(),
        "note": note,
    }))
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    let parse = |format| NaiveDateTime::parse_from_str(text, format);
    parse("%Y-%m-%dT%H:%M:%SZ")
        .or_else(|_| parse("%Y-%m-%dT%H:%MZ"))
        .map(|time| time.and_utc())
        .map_err(|error| format!("/after: {error}"))
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
