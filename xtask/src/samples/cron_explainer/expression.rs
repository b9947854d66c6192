//! The five fields of a cron expression, as in Vixie cron's crontab(5).

use std::fmt;

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// A cron expression.
#[derive(Debug)]
pub(super) struct Expression {
    pub(super) minutes: Field,
    pub(super) hours: Field,
    pub(super) days: Field,
    pub(super) months: Field,
    /// 0 is Sunday.
    pub(super) weekdays: Field,
}

/// The numbers that a field lets through.
#[derive(Debug)]
pub(super) struct Field {
    text: String,
    values: u64,
    /// The field begins with `*`, so it does not take part in the rule for both day fields.
    pub(super) star: bool,
    /// The step of a field that is `*/step`, if it divides the range evenly.
    pub(super) even_step: Option<u32>,
    full: bool,
}

/// How the two day fields go together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum DayRule {
    /// At least one field begins with `*`: a day must match both.
    Both,
    /// Neither field begins with `*`: a day must match at least one.
    Either,
}

impl DayRule {
    pub(super) fn explanation(self) -> &'static str {
        match self {
            Self::Both => "a day must match day of month and day of week",
            Self::Either => {
                "both day fields are restricted, so a day must match at least one of them"
            }
        }
    }
}

/// What one field may say.
struct Rule {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

impl Expression {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let text = if text.starts_with('@') { nickname(text)? } else { text };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!(
                "{} fields, and five are needed: minute, hour, day of month, month, day of week",
                fields.len()
            ));
        };
        let rule = |name, min, max| Rule { name, min, max, names: &[] };
        Ok(Self {
            minutes: rule("minute", 0, 59).parse(minutes)?,
            hours: rule("hour", 0, 23).parse(hours)?,
            days: rule("day of month", 1, 31).parse(days)?,
            months: Rule { names: &MONTHS, ..rule("month", 1, 12) }.parse(months)?,
            weekdays: Rule { names: &WEEKDAYS, ..rule("day of week", 0, 7) }
                .parse(weekdays)?
                .with_one_sunday(),
        })
    }

    pub(super) fn day_rule(&self) -> DayRule {
        if self.days.star || self.weekdays.star { DayRule::Both } else { DayRule::Either }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { minutes, hours, days, months, weekdays } = self;
        let text = [minutes, hours, days, months, weekdays].map(|field| field.text.as_str());
        f.write_str(&text.join(" "))
    }
}

fn nickname(text: &str) -> Result<&'static str, String> {
    match text.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        "@monthly" => Ok("0 0 1 * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@hourly" => Ok("0 * * * *"),
        "@reboot" => Err("@reboot is not a time".to_owned()),
        _ => Err(format!("{text} is not a nickname that cron knows")),
    }
}

impl Rule {
    fn parse(&self, text: &str) -> Result<Field, String> {
        let mut values = 0;
        for item in text.split(',') {
            values |= self.item(item).map_err(|error| format!("{}: {error}", self.name))?;
        }
        let size = self.last() - self.min + 1;
        let step = text.strip_prefix("*/").and_then(|step| step.parse().ok());
        Ok(Field {
            text: text.to_ascii_uppercase(),
            values,
            star: text.starts_with('*'),
            even_step: step.filter(|step| size.is_multiple_of(*step)),
            full: values.count_ones() >= size,
        })
    }

    /// `*`, a number, a range, and a step after a star or a range.
    fn item(&self, item: &str) -> Result<u64, String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, self.step(step)?),
            None => (item, 1),
        };
        let (first, last) = if range == "*" {
            (self.min, self.last())
        } else if let Some((first, last)) = range.split_once('-') {
            let (first, last) = (self.number(first)?, self.number(last)?);
            // FRI-SUN is what people write for 5-7.
            (first, if self.max == 7 && last == 0 && first > 0 { 7 } else { last })
        } else if item.contains('/') {
            return Err(format!(
                "a step needs a range, and crons differ without one: write {range}-{}/{step}",
                self.last()
            ));
        } else {
            let number = self.number(range)?;
            (number, number)
        };
        if first > last {
            return Err(format!("the range {range} runs backwards"));
        }
        Ok((first..=last).step_by(step).fold(0, |values, value| values | 1 << value))
    }

    /// The last value that is not an earlier one again, as Sunday is when it is called 7.
    fn last(&self) -> u32 {
        if self.max == 7 { 6 } else { self.max }
    }

    fn step(&self, text: &str) -> Result<usize, String> {
        let step = digits(text).filter(|step| (1..=self.max).contains(step));
        step.map(|step| step as usize)
            .ok_or_else(|| format!("the step {text:?} is not a number from 1 to {}", self.max))
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let name = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let number = match name {
            Some(index) => Some(index as u32 + self.min),
            None => digits(text),
        };
        number.filter(|number| (self.min..=self.max).contains(number)).ok_or_else(|| {
            let or_name = if self.names.is_empty() { "" } else { ", nor a name" };
            format!("{text:?} is not a number from {} to {}{or_name}", self.min, self.max)
        })
    }
}

/// Digits only: `parse` alone would take "+5".
fn digits(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl Field {
    pub(super) fn has(&self, value: u32) -> bool {
        self.values >> value & 1 == 1
    }

    pub(super) fn values(&self) -> Vec<u32> {
        (0..64).filter(|value| self.has(*value)).collect()
    }

    /// Every value goes through.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    fn with_one_sunday(mut self) -> Self {
        if self.has(7) {
            self.values = self.values & !(1 << 7) | 1;
        }
        self.full = self.values.count_ones() == 7;
        self
    }
}
