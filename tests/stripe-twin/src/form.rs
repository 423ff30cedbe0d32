//! Stripe's way of sending objects as forms: `a[b][0][c]=v`. Values stay text.

use serde_json::{Map, Value};

/// Fields of a form: more is no request of anybody's.
const FIELDS_MAX: usize = 1_000;
/// Nesting of a field's name.
const DEPTH_MAX: usize = 10;

/// Reads a form, or a query, into an object. What cannot be read is left out.
pub(crate) fn parse(text: &str) -> Value {
    let mut root = Value::Object(Map::new());
    for pair in text.split('&').filter(|pair| !pair.is_empty()).take(FIELDS_MAX) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name);
        let path: Vec<&str> = name.split('[').map(|part| part.trim_end_matches(']')).take(DEPTH_MAX).collect();
        put(&mut root, &path, decode(value));
    }
    arrays(root)
}

fn put(into: &mut Value, path: &[&str], value: String) {
    let Some((first, rest)) = path.split_first() else {
        *into = Value::String(value);
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    if let Some(fields) = into.as_object_mut() {
        let name = if first.is_empty() { fields.len().to_string() } else { (*first).to_owned() };
        put(fields.entry(name).or_insert(Value::Null), rest, value);
    }
}

/// Objects whose names are 0, 1, 2, ... are lists.
fn arrays(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let list = !fields.is_empty() && (0..fields.len()).all(|n| fields.contains_key(&n.to_string()));
    if list {
        let mut fields = fields;
        let items = (0..fields.len()).filter_map(|n| fields.remove(&n.to_string())).map(arrays);
        return Value::Array(items.collect());
    }
    Value::Object(fields.into_iter().map(|(name, value)| (name, arrays(value))).collect())
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                let digits = std::str::from_utf8(&digits).unwrap_or("00");
                bytes.push(u8::from_str_radix(digits, 16).unwrap_or(b'?'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_with_brackets_are_objects_and_lists() {
        let form = "mode=payment&line_items[0][quantity]=1&line_items[0][price_data][product_data][name]=100+credits\
                    &line_items%5B1%5D%5Bquantity%5D=2&metadata[a]=%C3%A9&expand[]=x";
        let expected = json!({
            "mode": "payment",
            "line_items": [
                { "quantity": "1", "price_data": { "product_data": { "name": "100 credits" } } },
                { "quantity": "2" }
            ],
            "metadata": { "a": "é" },
            "expand": ["x"]
        });
        assert_eq!(parse(form), expected);
        assert_eq!(parse(""), json!({}));
    }
}
