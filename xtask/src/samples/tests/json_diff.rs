//! Cases of `json-diff`, and the proof that its changes lead from one value to the other.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ok, quick, refusal};

fn diff(from: Value, to: Value) -> Value {
    ok("json-diff", json!({"from": from, "to": to, "max_changes": 1000}))
}

/// The operations and paths, in order.
fn operations(from: Value, to: Value) -> Vec<String> {
    let result = diff(from, to);
    let changes = result["changes"].as_array().unwrap();
    let text = |change: &Value, key: &str| change[key].as_str().unwrap().to_owned();
    changes.iter().map(|change| text(change, "op") + " " + &text(change, "path")).collect()
}

/// Carries out a JSON Patch, also checking what each change says was there.
fn apply(mut value: Value, changes: &[Value]) -> Value {
    for change in changes {
        let path = change["path"].as_str().unwrap();
        if let Some(previous) = change.get("previous") {
            assert_eq!(value.pointer(path), Some(previous), "{path}");
        }
        let Some((parent, token)) = path.rsplit_once('/') else {
            value = change["value"].clone();
            continue;
        };
        let token = token.replace("~1", "/").replace("~0", "~");
        match (value.pointer_mut(parent).unwrap(), change["op"].as_str().unwrap()) {
            (Value::Object(members), "remove") => drop(members.remove(&token).unwrap()),
            (Value::Object(members), _) => drop(members.insert(token, change["value"].clone())),
            (Value::Array(items), op) => {
                let index: usize = token.parse().unwrap();
                match op {
                    "add" => items.insert(index, change["value"].clone()),
                    "remove" => drop(items.remove(index)),
                    _ => items[index] = change["value"].clone(),
                }
            }
            (other, op) => panic!("{op} at {path} in {other}"),
        }
    }
    value
}

#[test]
fn values_of_each_type_are_compared() {
    assert_eq!(operations(json!(null), json!(null)), [""; 0]);
    assert_eq!(operations(json!(null), json!(false)), ["replace "]);
    assert_eq!(operations(json!({}), json!([])), ["replace "]);
    assert_eq!(operations(json!("a"), json!("b")), ["replace "]);
    assert_eq!(operations(json!({"a": null}), json!({})), ["remove /a"]);
    assert_eq!(operations(json!({}), json!({"a": null})), ["add /a"]);
}

#[test]
fn numbers_are_compared_by_value_and_large_integers_exactly() {
    assert_eq!(diff(json!([1, 0, 1e2]), json!([1.0, -0.0, 100]))["equal"], true);
    assert_eq!(operations(json!(9007199254740993u64), json!(9007199254740992u64)), ["replace "]);
    assert_eq!(operations(json!(-1), json!(u64::MAX)), ["replace "]);
}

#[test]
fn pointers_escape_tildes_and_slashes_and_keep_empty_names() {
    let from = json!({"a/b": {"~": 1, "": {"": 1}, "~1": 1}});
    let to = json!({"a/b": {"~": 2, "": {"": 2}, "~1": 2}});
    assert_eq!(operations(from, to), ["replace /a~1b//", "replace /a~1b/~0", "replace /a~1b/~01"]);
}

#[test]
fn an_item_put_in_or_taken_out_anywhere_is_one_change() {
    let items = json!([1, 2, 3, 4]);
    assert_eq!(operations(items.clone(), json!([0, 1, 2, 3, 4])), ["add /0"]);
    assert_eq!(operations(items.clone(), json!([1, 2, 9, 3, 4])), ["add /2"]);
    assert_eq!(operations(items.clone(), json!([1, 2, 3, 4, 5])), ["add /4"]);
    assert_eq!(operations(items.clone(), json!([2, 3, 4])), ["remove /0"]);
    assert_eq!(operations(items, json!([])), ["remove /0"; 4]);
}

#[test]
fn an_item_that_moved_is_removed_and_added() {
    assert_eq!(operations(json!([1, 2, 3, 4]), json!([4, 1, 2, 3])), ["add /0", "remove /4"]);
}

#[test]
fn nested_arrays_and_objects_change_where_they_differ() {
    let from = json!({"a": [[1, 2], [3, {"x": [true]}]]});
    let to = json!({"a": [[1], [3, {"x": [true, null]}]]});
    assert_eq!(operations(from, to), ["remove /a/0/1", "add /a/1/1/x/1"]);
}

#[test]
fn changes_beyond_the_limit_are_counted_and_not_listed() {
    let from: Value = (0..50).collect();
    let to: Value = (100..150).collect();
    let result = ok("json-diff", json!({"from": from, "to": to, "max_changes": 10}));
    assert_eq!(result["total"], 50);
    assert_eq!(result["changes"].as_array().unwrap().len(), 10);
    assert_eq!(result["truncated"], true);
}

#[test]
fn a_value_that_is_nested_too_deep_is_refused_at_any_depth() {
    let nested = |depth: usize| (0..depth).fold(json!(1), |value, _| json!([value]));
    assert_eq!(diff(nested(24), nested(24))["equal"], true);
    for depth in [25, 1000] {
        let message = refusal("json-diff", json!({"from": 1, "to": nested(depth)}));
        assert_eq!(message, "/to: the value is nested more than 24 deep");
    }
}

#[test]
fn a_quarter_of_a_million_characters_of_anything_is_quick() {
    let zeros: Value = std::iter::repeat_n(0, 60_000).collect();
    let rising: Value = (0..30_000).collect();
    let falling: Value = (0..30_000).rev().collect();
    let cycle: Value = (0..60_000).map(|n| n % 7).collect();
    let name = "n".repeat(100_000);
    let deep = |item: Value| (0..20).fold(item, |value, _| json!([value, "x"]));
    for (from, to) in [
        (zeros.clone(), cycle.clone()),
        (rising.clone(), falling.clone()),
        (cycle, rising.clone()),
        // Each change repeats the long name in its pointer.
        (json!({&name: zeros.clone()}), json!({&name: rising.clone()})),
        (deep(rising), deep(falling)),
        (json!({}), json!({&name: zeros})),
    ] {
        quick("json-diff", json!({"from": from, "to": to, "max_changes": 1000})).unwrap();
    }
}

/// Small values with few different parts, so that arrays share many items.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        (0..4).prop_map(|number| json!(number)),
        "[a~/]{0,2}".prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 40, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            prop::collection::btree_map("[ab~/]{0,2}", inner, 0..5)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn the_changes_lead_from_one_value_to_the_other(from in value(), to in value()) {
        let result = diff(from.clone(), to.clone());
        prop_assert_eq!(&result["truncated"], false);
        prop_assert_eq!(result["equal"] == true, from == to);
        prop_assert_eq!(apply(from, result["changes"].as_array().unwrap()), to);
    }
}
