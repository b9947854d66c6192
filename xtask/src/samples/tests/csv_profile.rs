//! Cases of `csv-profile`.

use serde_json::{Value, json};

use super::{ok, quick, refusal};

fn profile(csv: &str) -> Value {
    ok("csv-profile", json!({"csv": csv}))
}

/// The profile of a single column with these values.
fn column(values: &[&str]) -> Value {
    profile(&format!("c\n{}\n", values.join("\n")))["columns"][0].clone()
}

#[test]
fn quoted_fields_hold_delimiters_line_breaks_and_quotes() {
    let result = profile("a,b\n\"x,y\",\"one\ntwo\"\n\"say \"\"hi\"\"\",\n");
    assert_eq!(result["rows"], 2);
    assert_eq!(result["columns"][0]["max_length"], 8);
    assert_eq!(result["columns"][1]["max_length"], 7);
    assert_eq!(result["columns"][1]["nulls"], 1);
    assert_eq!(result["warnings"], json!([]));
}

#[test]
fn the_type_is_the_narrowest_that_all_values_have() {
    let cases: &[(&[&str], &str)] = &[
        (&["1", "-2", "0"], "integer"),
        (&["1", "2.5"], "number"),
        (&["1e9", "-.5"], "number"),
        (&["true", "FALSE"], "boolean"),
        (&["2024-02-29"], "date"),
        (&["2024-01-01T00:00:00Z", "2024-01-01T00:00:00+02:00"], "timestamp"),
        (&["1", "x"], "text"),
        (&["true", "1"], "text"),
        (&["NA", "null"], "empty"),
    ];
    for (values, kind) in cases {
        assert_eq!(column(values)["type"], *kind, "{values:?}");
    }
}

#[test]
fn what_a_number_would_change_is_text() {
    let texts = [
        "007",
        "00.5",
        "12345678901234567890",
        "9007199254740993",
        "NaN",
        "inf",
        "1_000",
        "1e999",
        "-",
        ".",
        "+",
        "e",
        "0x1F",
        "2023-02-29",
        "2024-1-05",
        "١٢",
    ];
    for text in texts {
        assert_eq!(column(&[text])["type"], "text", "{text}");
    }
    assert_eq!(column(&["9007199254740992"])["type"], "integer");
    assert_eq!(column(&["-0.5"])["type"], "number");
}

#[test]
fn measures_are_of_the_values_that_are_there() {
    let numbers = column(&["3", "NA", "1", "1", "N/A"]);
    assert_eq!(numbers["values"], 3);
    assert_eq!(numbers["nulls"], 2);
    assert_eq!(numbers["distinct"], 2);
    assert_eq!((&numbers["min"], &numbers["max"]), (&json!(1), &json!(3)));
    assert_eq!(numbers["mean"], json!(1.666667));
    assert_eq!(column(&["1.7e308", "1.7e308"])["mean"], json!(1.7e308));
    let times = column(&["2024-01-01T00:30:00+02:00", "2024-01-01T00:00:00Z"]);
    assert_eq!(times["min"], "2024-01-01T00:30:00+02:00");
    assert_eq!(column(&["true", "true", "false"])["share_true"], json!(0.6667));
}

#[test]
fn ragged_rows_repeated_names_and_open_quotes_are_reported() {
    let result = profile("a,a,\n1\n1,2,3,4\n5,6,\"7\n");
    let names: Vec<&Value> =
        result["columns"].as_array().unwrap().iter().map(|column| &column["name"]).collect();
    assert_eq!(names, ["a", "a", "column_3"]);
    assert_eq!(
        result["warnings"],
        json!([
            "rows with more or fewer than 3 fields: 2 (line 2, 3)",
            "two columns are called \"a\"",
            "an odd number of quotation marks: one may not be closed",
        ])
    );
}

#[test]
fn a_header_alone_has_empty_columns_and_without_one_they_are_counted() {
    let result = profile("\u{feff}a,b\r\n");
    assert_eq!(result["rows"], 0);
    assert_eq!(result["columns"][0]["name"], "a");
    assert_eq!(result["columns"][1]["type"], "empty");
    let parameters = json!({"csv": "1;2\n3;4\n", "header": false, "delimiter": ";"});
    let result = ok("csv-profile", parameters);
    assert_eq!(result["rows"], 2);
    assert_eq!(result["columns"][1]["name"], "column_2");
}

#[test]
fn the_markers_of_missing_values_can_be_chosen() {
    let parameters = json!({"csv": "a\n-\nNA\n\"\"\n", "null_markers": ["-"]});
    let column = &ok("csv-profile", parameters)["columns"][0];
    assert_eq!((&column["nulls"], &column["values"]), (&json!(1), &json!(2)));
}

#[test]
fn a_document_without_rows_and_one_with_too_many_columns_are_refused() {
    assert_eq!(refusal("csv-profile", json!({"csv": "\n\n"})), "/csv: there is no row");
    let message = refusal("csv-profile", json!({"csv": ",".repeat(200)}));
    assert_eq!(message, "/csv: 201 columns, and at most 200 can be profiled");
}

#[test]
fn a_quarter_of_a_million_characters_of_anything_is_quick() {
    let wide = format!("{}\n", "a,".repeat(199));
    for (head, part) in [("a\n", "1\n"), ("a\n", ","), ("", "\""), (&wide, "1\n"), ("a\n", "\"\"")]
    {
        let csv: String = head.chars().chain(part.chars().cycle()).take(250_000).collect();
        quick("csv-profile", json!({"csv": csv})).unwrap();
    }
    // One row far wider than the others, which come after it.
    let csv: String = ["a\n", &",".repeat(100_000), &"\n1".repeat(70_000)].concat();
    quick("csv-profile", json!({"csv": csv})).unwrap();
}
