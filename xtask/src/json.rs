//! JSON as the contract carries it: `google.protobuf.Struct` and `Value`.

use prost_types::{ListValue, Struct, value::Kind};
use serde_json::{Map, Number, Value};

/// The largest integer that a double holds exactly, as a double.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// The message of a JSON object; of anything else, an empty one.
pub(crate) fn to_struct(value: &Value) -> Struct {
    let fields = value.as_object().into_iter().flatten();
    Struct { fields: fields.map(|(name, value)| (name.clone(), to_value(value))).collect() }
}

/// The message of any JSON value.
pub(crate) fn to_value(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or(f64::NAN)),
        Value::String(value) => Kind::StringValue(value.clone()),
        Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.iter().map(to_value).collect() })
        }
        Value::Object(_) => Kind::StructValue(to_struct(value)),
    };
    prost_types::Value { kind: Some(kind) }
}

/// The JSON object of a message.
pub(crate) fn from_struct(message: Struct) -> Value {
    let fields = message.fields.into_iter();
    Value::Object(fields.map(|(name, value)| (name, from_value(value))).collect::<Map<_, _>>())
}

/// The JSON value of a message.
pub(crate) fn from_value(message: prost_types::Value) -> Value {
    match message.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::NumberValue(value)) => number(value),
        Some(Kind::StringValue(value)) => Value::String(value),
        Some(Kind::ListValue(list)) => {
            Value::Array(list.values.into_iter().map(from_value).collect())
        }
        Some(Kind::StructValue(message)) => from_struct(message),
    }
}

/// A schema that asks for an integer is not met by 3.0 in every reader.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() <= INTEGER_MAX {
        return Value::from(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_comes_back_as_it_was_sent() {
        let value = json!({"a": [1, -2, 0.5, null, true, "text"], "b": {"c": {}, "d": []}});

        assert_eq!(from_struct(to_struct(&value)), value);
        assert_eq!(from_value(to_value(&value)), value);
    }
}
