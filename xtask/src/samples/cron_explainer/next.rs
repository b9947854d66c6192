//! When an expression is due.

use chrono::{DateTime, Datelike, Days, NaiveDate, Timelike, Utc};

use super::expression::{DayRule, Expression};

/// The Gregorian calendar, weekdays included, repeats after 400 years: what is not due until then
/// is never due.
const DAYS_MAX: usize = 146_097;

/// The first `count` occurrences after a time, or fewer if the next 400 years have fewer.
pub(super) fn after(
    expression: &Expression,
    time: DateTime<Utc>,
    count: usize,
) -> Vec<DateTime<Utc>> {
    let mut occurrences = Vec::new();
    let now = (time.hour(), time.minute());
    let mut day = time.date_naive();

    for index in 0..=DAYS_MAX {
        if matches(expression, day) {
            for (hour, minute) in times(expression) {
                if index == 0 && (hour, minute) <= now {
                    continue;
                }
                if occurrences.len() == count {
                    return occurrences;
                }
                occurrences.extend(day.and_hms_opt(hour, minute, 0).map(|time| time.and_utc()));
            }
        }
        let Some(tomorrow) = day.checked_add_days(Days::new(1)) else { break };
        day = tomorrow;
    }
    occurrences
}

fn matches(expression: &Expression, day: NaiveDate) -> bool {
    let month = expression.months.has(day.month());
    let day_of_month = expression.days.has(day.day());
    let weekday = expression.weekdays.has(day.weekday().num_days_from_sunday());
    month
        && match expression.day_rule() {
            DayRule::Both => day_of_month && weekday,
            DayRule::Either => day_of_month || weekday,
        }
}

fn times(expression: &Expression) -> impl Iterator<Item = (u32, u32)> {
    let hours = (0..24).filter(|hour| expression.hours.has(*hour));
    hours.flat_map(|hour| {
        (0..60).filter(|minute| expression.minutes.has(*minute)).map(move |minute| (hour, minute))
    })
}
