//! What nobody sends by accident: texts that break programs at every place of the OpenAPI document that takes one, and bodies
//! that are no JSON at every operation that takes any. Each is taken or refused clearly; nothing breaks, nothing is lost.

mod bombs;
mod places;

use reqwest::{Method, StatusCode};

use self::places::{At, Place, filled, places};
use crate::matrix::{Operation, Tenant, Who, document, operations, state};
use crate::rig::{ADMIN_TOKEN, Reply, Rig};
use crate::worker::client;

/// How many of the texts each place gets beside the NUL; the next place begins where this one ended.
const SHARE: usize = 6;
/// The longest answer that says no, in bytes: it does not send back what it was sent. A message of 600 characters of four
/// bytes stands in it twice, beside the field's name.
const REFUSAL_BYTES_MAX: usize = 6_144;
/// The longest text in an address, in characters: servers take no longer addresses.
const ADDRESS_CHARS_MAX: usize = 4_000;
/// What the database can keep in no text.
const NUL: &str = "a\0b";

/// Texts that are known for breaking what reads them.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "null",
        "-1",
        "1e999",
        "NaN",
        "'; drop table image; --",
        "\" or \"\"=\"",
        "%s%n%x%p",
        "%",
        "\\",
        "../../../../etc/passwd",
        "${jndi:ldap://127.0.0.1:9/a}",
        "{{7*7}}",
        "$(sleep 60)",
        "<script>alert(1)</script>",
        "a\r\nSet-Cookie: a=b",
        "\u{1}\u{7f}\u{85}\u{9f}",
        "\u{feff}\u{200b}\u{2060}",
        "\u{202e}txet\u{202c}",
        "\u{fffe}\u{ffff}\u{10ffff}",
        "👩‍👩‍👧‍👦🏴‍☠️🇩🇪",
        "İıſK",
        "ﷺ",
        "00000000-0000-0000-0000-000000000000",
        "18446744073709551616",
        "9223372036854775807",
        "2026-02-30T25:61:61Z",
        "http://[::1]:9/",
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "a@b@c",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.extend([
        "x".repeat(160_000),
        "e\u{301}".repeat(20_000),
        format!("e{}", "\u{301}".repeat(20_000)),
        "(".repeat(40_000),
        "🙂".repeat(40_000),
        "[[[[[[".repeat(5_000),
        "\n".repeat(30_000),
    ]);
    texts
}

/// Who may do it: what is asked gets as far as it can.
fn who(operation: &Operation, tenant: &Tenant) -> Who {
    if operation.takes("apiKey") {
        tenant.bearer()
    } else if operation.takes("session") {
        tenant.cookie()
    } else if operation.takes("adminToken") {
        Who::Bearer(ADMIN_TOKEN.to_owned())
    } else {
        Who::Nobody
    }
}

async fn send(rig: &Rig, who: &Who, method: &Method, path: &str, body: Option<Vec<u8>>) -> Reply {
    let mut request = who.as_from(client().request(method.clone(), format!("{}{path}", rig.url)));
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body);
    }
    Reply::of(request.send().await.unwrap()).await
}

/// With every byte escaped that could mean something.
fn escaped(text: &str) -> String {
    let short: String = text.chars().take(ADDRESS_CHARS_MAX).collect();
    let byte =
        |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    short.bytes().map(byte).collect()
}

async fn try_at(rig: &Rig, tenant: &Tenant, place: &Place, text: &str) -> Reply {
    let Place { operation, at } = place;
    let whole = operation.at(&tenant.ids);
    let (path, body) = match at {
        At::Path(name) => {
            let parts = operation.path.split('/').zip(whole.split('/'));
            let parts = parts.map(|(part, id)| if part == name { escaped(text) } else { id.to_owned() });
            (parts.collect::<Vec<_>>().join("/"), None)
        }
        At::Query(name) => (format!("{whole}?{name}={}", escaped(text)), None),
        At::Body(body, _) => (whole, Some(filled(body, text).to_string().into_bytes())),
    };
    send(rig, &who(operation, tenant), &operation.method, &path, body).await
}

/// What is wrong with an answer, if anything is.
fn fault(operation: &Operation, reply: &Reply) -> Option<String> {
    let said = reply.body.to_string();
    let start: String = said.chars().take(200).collect();
    let status = reply.status;
    if status.is_server_error() {
        return Some(format!("{status} {start}"));
    }
    // A wrong password is answered with 401 too; elsewhere it means that this test lost its way in.
    if status == StatusCode::UNAUTHORIZED && !operation.path.starts_with("/api/v1/auth/") {
        return Some(format!("not asked: {status} {start}"));
    }
    if status.is_client_error() && said.len() > REFUSAL_BYTES_MAX {
        return Some(format!("{status} repeats what it was sent, {} bytes: {start}", said.len()));
    }
    let explained = reply.body["error"]["message"].as_str().is_some_and(|message| !message.is_empty());
    (status.is_client_error() && !explained && !operation.is_for_people())
        .then(|| format!("{status} says nothing: {start}"))
}

#[tokio::test]
async fn no_text_at_any_place_breaks_anything() {
    let rig = Rig::start().await;
    let _worker = rig.serve("w");
    let tenant = Tenant::new(&rig, "owner@example.org").await;
    let places = places(&document(&rig).await, &operations(&rig).await);
    assert!(places.len() > 200, "{} places", places.len());
    let texts = texts();
    let (mut turn, mut faults) = (texts.iter().cycle(), Vec::new());
    for place in &places {
        let reply = try_at(&rig, &tenant, place, NUL).await;
        faults.extend(fault(&place.operation, &reply).map(|fault| format!("{}: a NUL: {fault}", place.name())));
        if !reply.status.is_client_error() {
            faults.push(format!("{}: a NUL is taken: {}", place.name(), reply.status));
        }
        for text in turn.by_ref().take(SHARE) {
            let reply = try_at(&rig, &tenant, place, text).await;
            let text: String = text.chars().take(40).collect();
            faults.extend(fault(&place.operation, &reply).map(|fault| format!("{}: {text:?}: {fault}", place.name())));
        }
    }
    assert_eq!(faults, Vec::<String>::new());
    rig.audit().await;
}

/// Bodies that are no JSON, or none that anything takes.
fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let of = |text: &str| text.as_bytes().to_vec();
    vec![
        ("nothing", Vec::new()),
        ("half an object", of("{\"prompt\": \"a")),
        ("two objects", of("{} {}")),
        ("a comma too many", of("{\"prompt\": \"a\",}")),
        ("a name twice", of("{\"prompt\":\"a\",\"prompt\":\"b\",\"model\":[]}")),
        ("bad UTF-8", vec![b'{', b'"', 0xff, 0xfe, b'"', b':', b'1', b'}']),
        ("half a surrogate pair", of("{\"prompt\": \"\\ud800\"}")),
        ("a raw NUL", of("{\"prompt\": \"\0\"}")),
        ("nested too deep", "[".repeat(100_000).into_bytes()),
        ("objects nested too deep", "{\"a\":".repeat(40_000).into_bytes()),
        ("a number too large", of("{\"seed\": 1e400}")),
        ("a number of many digits", format!("{{\"seed\": {}}}", "9".repeat(100_000)).into_bytes()),
        ("too much", vec![b' '; 3 << 20]),
        ("a list", of("[1, 2, 3]")),
        ("a text", of("\"a\"")),
        ("null", of("null")),
        ("UTF-16", "{\"prompt\": \"a\"}".encode_utf16().flat_map(u16::to_le_bytes).collect()),
    ]
}

#[tokio::test]
async fn a_body_that_is_no_json_is_refused_everywhere_and_changes_nothing() {
    let rig = Rig::start().await;
    let _worker = rig.serve("w");
    let tenant = Tenant::new(&rig, "owner@example.org").await;
    let document = document(&rig).await;
    let reads = |operation: &&Operation| {
        let described = &document["paths"][&operation.path][operation.method.as_str().to_lowercase()];
        described["requestBody"]["content"]["application/json"]["schema"].is_object()
    };
    let all = operations(&rig).await;
    let (before, mut faults, mut tried) = (state(&rig).await, Vec::new(), 0);
    for operation in all.iter().filter(reads) {
        let (who, path) = (who(operation, &tenant), operation.at(&tenant.ids));
        for (what, body) in broken() {
            let reply = send(&rig, &who, &operation.method, &path, Some(body)).await;
            tried += 1;
            let named = |fault| format!("{}: {what}: {fault}", operation.name());
            faults.extend(fault(operation, &reply).map(named));
            if !reply.status.is_client_error() {
                faults.push(named(format!("{} {}", reply.status, reply.body)));
            }
        }
    }
    assert!(tried > 500, "{tried} bodies");
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(state(&rig).await, before, "nothing was changed");
    rig.audit().await;
}
