//! `csv-profile`: what each column of a CSV document holds.

use std::collections::HashSet;

use chrono::{DateTime, NaiveDate};
use csv::{ReaderBuilder, StringRecord};
use serde_json::{Map, Value, json};

use super::{
    Step,
    outcome::{clip, ratio, round},
    parameters::Parameters,
};

const COLUMNS_MAX: usize = 200;
const SHOWN_MAX: usize = 100;
const LINES_SHOWN_MAX: usize = 10;
/// Above this a double no longer holds every whole number, so that a result would change the digits.
const INTEGER_MAX: i64 = 1 << 53;

pub(super) fn run(parameters: &Parameters<'_>, step: Step<'_>) -> Result<Value, String> {
    let document = parameters.text("csv")?;
    let delimiter = parameters.text("delimiter")?.bytes().next().unwrap_or(b',');
    let nulls: HashSet<&str> = parameters.texts("null_markers")?.into_iter().collect();

    step("read the rows", 0);
    let table = Table::read(document, delimiter, parameters.flag("header")?, &nulls)?;

    step("measure the columns", 40);
    let columns: Vec<Value> = table
        .names
        .iter()
        .zip(&table.columns)
        .map(|(name, values)| profile(name, values, table.rows))
        .collect();

    step("look for irregularities", 80);
    let warnings = warnings(document, &table);
    Ok(json!({"rows": table.rows, "columns": columns, "warnings": warnings}))
}

#[derive(Default)]
struct Table {
    names: Vec<String>,
    /// The values of each column that are not missing.
    columns: Vec<Vec<String>>,
    rows: usize,
    ragged_rows: usize,
    /// The lines of the first ragged rows.
    ragged_lines: Vec<String>,
}

impl Table {
    /// Reads into one record, again and again: each record of the csv crate keeps room for as many
    /// fields as the widest before it had.
    fn read(
        document: &str,
        delimiter: u8,
        header: bool,
        nulls: &HashSet<&str>,
    ) -> Result<Self, String> {
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .from_reader(document.as_bytes());
        let mut row = StringRecord::new();
        let mut read = |row: &mut StringRecord| {
            reader.read_record(row).map_err(|error| format!("/csv: {error}"))
        };
        if !read(&mut row)? {
            return Err("/csv: there is no row".to_owned());
        }
        let width = row.len();
        if width > COLUMNS_MAX {
            return Err(format!(
                "/csv: {width} columns, and at most {COLUMNS_MAX} can be profiled"
            ));
        }
        let name = |column| name(row.get(column).filter(|_| header), column);
        let names = (0..width).map(name).collect();
        let mut table = Self { names, columns: vec![Vec::new(); width], ..Self::default() };
        if !header {
            table.add(&row, nulls);
        }
        while read(&mut row)? {
            table.add(&row, nulls);
        }
        Ok(table)
    }

    fn add(&mut self, row: &StringRecord, nulls: &HashSet<&str>) {
        self.rows += 1;
        if row.len() != self.names.len() {
            self.ragged_rows += 1;
            if self.ragged_lines.len() < LINES_SHOWN_MAX {
                let line = row.position().map(csv::Position::line);
                self.ragged_lines.extend(line.map(|line| line.to_string()));
            }
        }
        for (field, column) in row.iter().map(str::trim).zip(&mut self.columns) {
            if !nulls.contains(field) {
                column.push(field.to_owned());
            }
        }
    }
}

fn name(header: Option<&str>, column: usize) -> String {
    match header.map(str::trim) {
        Some(name) if !name.is_empty() => clip(name, SHOWN_MAX),
        _ => format!("column_{}", column + 1),
    }
}

fn profile(name: &str, values: &[String], rows: usize) -> Value {
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let distinct = values.iter().collect::<HashSet<_>>().len();
    let kind = Kind::of(&values);

    let mut profile = Map::new();
    profile.insert("name".to_owned(), name.into());
    profile.insert("type".to_owned(), kind.word().into());
    profile.insert("values".to_owned(), values.len().into());
    profile.insert("nulls".to_owned(), (rows - values.len()).into());
    profile.insert("distinct".to_owned(), distinct.into());
    profile.extend(kind.measures(&values));
    Value::Object(profile)
}

#[derive(Clone, Copy)]
enum Kind {
    Empty,
    Boolean,
    Integer,
    Number,
    Date,
    Timestamp,
    Text,
}

impl Kind {
    /// The narrowest type that every value has.
    fn of(values: &[&str]) -> Self {
        if values.is_empty() {
            return Self::Empty;
        }
        let all = |test: fn(&str) -> bool| values.iter().all(|value| test(value));
        if all(|value| value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")) {
            Self::Boolean
        } else if all(|value| integer(value).is_some()) {
            Self::Integer
        } else if all(|value| number(value).is_some()) {
            Self::Number
        } else if all(|value| date(value).is_some()) {
            Self::Date
        } else if all(|value| DateTime::parse_from_rfc3339(value).is_ok()) {
            Self::Timestamp
        } else {
            Self::Text
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Text => "text",
        }
    }

    fn measures(self, values: &[&str]) -> Map<String, Value> {
        let measures = match self {
            Self::Empty => json!({}),
            Self::Boolean => {
                let yes = values.iter().filter(|value| value.eq_ignore_ascii_case("true")).count();
                json!({"true": yes, "share_true": round(ratio(yes, values.len()), 4)})
            }
            Self::Integer => {
                let numbers = values.iter().filter_map(|value| integer(value));
                let (min, max) = (numbers.clone().min(), numbers.clone().max());
                json!({"min": min, "max": max, "mean": mean(numbers.map(|n| n as f64))})
            }
            Self::Number => {
                let numbers = values.iter().filter_map(|value| number(value));
                let min = numbers.clone().fold(f64::INFINITY, f64::min);
                let max = numbers.clone().fold(f64::NEG_INFINITY, f64::max);
                json!({"min": min, "max": max, "mean": mean(numbers)})
            }
            // Written with four digits of year these sort as they are.
            Self::Date => json!({"min": values.iter().min(), "max": values.iter().max()}),
            Self::Timestamp => {
                let time = |value: &&&str| DateTime::parse_from_rfc3339(value).ok();
                let shown = |value: &&str| clip(value, SHOWN_MAX);
                json!({
                    "min": values.iter().min_by_key(time).map(shown),
                    "max": values.iter().max_by_key(time).map(shown),
                })
            }
            Self::Text => {
                let lengths = values.iter().map(|value| value.chars().count());
                let (min, max) = (lengths.clone().min(), lengths.clone().max());
                let mean = mean(lengths.map(|length| length as f64));
                json!({"min_length": min, "max_length": max, "mean_length": mean})
            }
        };
        match measures {
            Value::Object(measures) => measures,
            _ => Map::new(),
        }
    }
}

/// A leading zero makes an identifier, such as a postcode, and so does a number that a double
/// cannot hold.
fn integer(value: &str) -> Option<i64> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    if digits.len() > 1 && digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    value.parse().ok().filter(|number: &i64| number.abs() <= INTEGER_MAX)
}

fn number(value: &str) -> Option<f64> {
    let plain = |byte: u8| byte.is_ascii_digit() || b".+-eE".contains(&byte);
    let digits = value.trim_start_matches('-');
    let zero_first = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    // Digits alone that are no integer are an identifier that is too long for one.
    let identifier = zero_first || digits.bytes().all(|b| b.is_ascii_digit());
    if !value.bytes().all(plain) || identifier && integer(value).is_none() {
        return None;
    }
    value.parse().ok().filter(|number: &f64| number.is_finite())
}

fn date(value: &str) -> Option<NaiveDate> {
    // chrono would also take 2024-1-5, which does not sort.
    if value.len() == 10 { NaiveDate::parse_from_str(value, "%Y-%m-%d").ok() } else { None }
}

/// Step by step, because a sum of large numbers would be infinite.
fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut mean = 0.0;
    for (index, number) in numbers.enumerate() {
        let count = (index + 1) as f64;
        mean = mean * (index as f64 / count) + number / count;
    }
    round(mean, 6)
}

fn warnings(document: &str, table: &Table) -> Vec<String> {
    let Table { names, ragged_rows, ragged_lines, .. } = table;
    let mut warnings = Vec::new();
    if *ragged_rows > 0 {
        let more = if *ragged_rows > ragged_lines.len() { ", …" } else { "" };
        warnings.push(format!(
            "rows with more or fewer than {} fields: {ragged_rows} (line {}{more})",
            names.len(),
            ragged_lines.join(", "),
        ));
    }
    let mut seen = HashSet::new();
    for name in names.iter().filter(|name| !seen.insert(name.as_str())) {
        warnings.push(format!("two columns are called {name:?}"));
    }
    if document.bytes().filter(|byte| *byte == b'"').count() % 2 == 1 {
        warnings.push("an odd number of quotation marks: one may not be closed".to_owned());
    }
    warnings
}
