//! An expression in English.

use super::expression::{DayRule, Expression, Field};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
/// More times of day than this are told as minutes and hours.
const TIMES_MAX: usize = 6;

/// One sentence that says when the expression is due.
pub(super) fn of(expression: &Expression) -> String {
    let parts = [time(expression), days(expression), months(&expression.months)];
    let sentence = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    format!("It is due {sentence} (UTC).")
}

fn time(expression: &Expression) -> String {
    let Expression { minutes, hours, .. } = expression;
    let (minute, hour) = (minutes.values(), hours.values());
    if minute.len() * hour.len() <= TIMES_MAX {
        let times = hour
            .iter()
            .flat_map(|hour| minute.iter().map(move |minute| format!("{hour:02}:{minute:02}")));
        return format!("at {}", list(times.collect()));
    }
    let minute = match minutes.even_step {
        _ if minutes.is_full() => "every minute".to_owned(),
        Some(step) => format!("every {step} minutes"),
        None => format!("at {} {}", plural("minute", minute.len()), runs(&minute, number)),
    };
    let on_the_hour = minute == "at minute 0";
    match hours.even_step {
        _ if hours.is_full() && on_the_hour => "at the start of every hour".to_owned(),
        _ if hours.is_full() && minute.starts_with("every") => minute,
        _ if hours.is_full() => format!("{minute} of every hour"),
        Some(step) if on_the_hour => {
            format!("at the start of every {} hour from midnight", ordinal(step))
        }
        Some(step) => format!("{minute} of every {} hour from midnight", ordinal(step)),
        None => {
            let hours = format!("{} {}", plural("hour", hour.len()), runs(&hour, two_digits));
            format!("{minute} of {hours}")
        }
    }
}

fn days(expression: &Expression) -> String {
    let Expression { days, weekdays, .. } = expression;
    let of_month = || format!("the {} of the month", runs(&days.values(), ordinal));
    let of_week = || runs(&weekdays.values(), weekday);
    match (days.is_full(), weekdays.is_full()) {
        // What is due every hour is due every day.
        (true, true) if expression.hours.is_full() => String::new(),
        (true, true) => "every day".to_owned(),
        (false, true) => match expression.day_rule() {
            // The field lets every day through, which is enough under this rule.
            DayRule::Either => "every day".to_owned(),
            DayRule::Both => format!("on {}", of_month()),
        },
        (true, false) => match expression.day_rule() {
            DayRule::Either => "every day".to_owned(),
            DayRule::Both => format!("on {}", of_week()),
        },
        (false, false) => match expression.day_rule() {
            DayRule::Either => format!("on {} and also on {}", of_month(), of_week()),
            DayRule::Both => format!("on {} if it is {}", of_month(), one_of(weekdays)),
        },
    }
}

fn one_of(weekdays: &Field) -> String {
    let names: Vec<String> = weekdays.values().into_iter().map(weekday).collect();
    match names.as_slice() {
        [] => String::new(),
        [only] => format!("a {only}"),
        [most @ .., last] => format!("a {} or {last}", most.join(", ")),
    }
}

fn months(months: &Field) -> String {
    if months.is_full() {
        return String::new();
    }
    format!("in {}", runs(&months.values(), |month| name(&MONTHS, month, 1)))
}

/// Rising numbers as "1, 3 and 5 to 9".
fn runs(values: &[u32], word: impl Fn(u32) -> String) -> String {
    let mut items = Vec::new();
    for run in values.chunk_by(|a, b| a + 1 == *b) {
        match run {
            [first, .., last] if run.len() > 2 => {
                items.push(format!("{} to {}", word(*first), word(*last)));
            }
            short => items.extend(short.iter().map(|value| word(*value))),
        }
    }
    list(items)
}

fn list(items: Vec<String>) -> String {
    match items.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

fn plural(noun: &str, count: usize) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}

fn number(value: u32) -> String {
    value.to_string()
}

fn two_digits(value: u32) -> String {
    format!("{value:02}")
}

fn ordinal(value: u32) -> String {
    let suffix = match (value % 100, value % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{value}{suffix}")
}

fn weekday(value: u32) -> String {
    name(&WEEKDAYS, value, 0)
}

fn name(names: &[&str], value: u32, first: u32) -> String {
    let index = value.saturating_sub(first) as usize;
    names.get(index).copied().unwrap_or_default().to_owned()
}
