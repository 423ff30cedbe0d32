//! Where in a trace something happens: the `traceparent` of W3C Trace Context, level 1. It is carried and never looked into
//! by who only carries it.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Length of version 00, the one that is written: `00-<32 hex>-<16 hex>-<2 hex>`.
const LENGTH: usize = 55;

/// A span that others are part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Traceparent {
    /// The trace: never 0.
    pub trace_id: u128,
    /// The span: never 0.
    pub span_id: u64,
    /// Whether whoever began the trace keeps it. Who is asked to be part of it does as they do.
    pub sampled: bool,
}

/// It is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a traceparent is 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, in lower case, with neither id zero")]
pub struct NoTraceparent;

impl Traceparent {
    /// The trace's id as logs and tracing systems have it: 32 hex digits.
    pub fn trace(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, span_id, sampled } = self;
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{:02x}", u8::from(*sampled))
    }
}

impl FromStr for Traceparent {
    type Err = NoTraceparent;

    /// Reads version 00, and of later versions what they have in common with it, as the specification asks.
    fn from_str(text: &str) -> Result<Self, NoTraceparent> {
        let head = text.get(..LENGTH).ok_or(NoTraceparent)?;
        let mut parts = head.split('-');
        let mut part = |length: usize| {
            let part = parts.next().filter(|part| part.len() == length)?;
            let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            part.bytes().all(lower).then_some(part)
        };
        let (version, trace, span, flags) = (part(2), part(32), part(16), part(2));
        let rest = &text[LENGTH..];
        let longer = matches!(version, Some(version) if version != "00") && rest.starts_with('-');
        if version == Some("ff") || !(rest.is_empty() || longer) {
            return Err(NoTraceparent);
        }
        let trace_id = trace.and_then(|hex| u128::from_str_radix(hex, 16).ok()).filter(|id| *id != 0);
        let span_id = span.and_then(|hex| u64::from_str_radix(hex, 16).ok()).filter(|id| *id != 0);
        let flags = flags.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (trace_id, span_id, flags) {
            (Some(trace_id), Some(span_id), Some(flags)) => Ok(Self { trace_id, span_id, sampled: flags & 1 == 1 }),
            (_, _, _) => Err(NoTraceparent),
        }
    }
}

impl TryFrom<String> for Traceparent {
    type Error = NoTraceparent;

    fn try_from(text: String) -> Result<Self, NoTraceparent> {
        text.parse()
    }
}

impl From<Traceparent> for String {
    fn from(parent: Traceparent) -> Self {
        parent.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn it_is_what_was_written() {
        let parent: Traceparent = GIVEN.parse().unwrap();
        assert_eq!((parent.trace_id, parent.sampled), (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, true));
        assert_eq!((parent.to_string().as_str(), parent.trace().as_str()), (GIVEN, &GIVEN[3..35]));
        let unkept = GIVEN.replace("-01", "-00");
        assert_eq!(unkept.parse::<Traceparent>().map(|parent| parent.to_string()), Ok(unkept));
        let json = serde_json::to_string(&parent).unwrap();
        assert_eq!(serde_json::from_str::<Traceparent>(&json).unwrap(), parent);
    }

    #[test]
    fn later_versions_are_read_and_what_is_none_is_refused() {
        for good in [GIVEN.replacen("00", "cc", 1), format!("{}-what-comes", GIVEN.replacen("00", "cc", 1))] {
            assert_eq!(good.parse::<Traceparent>(), GIVEN.parse(), "{good}");
        }
        let zeros = |from: &str| GIVEN.replace(from, &"0".repeat(from.len()));
        let none = [
            String::new(),
            "00".to_owned(),
            GIVEN.to_uppercase(),
            GIVEN.replacen("00", "ff", 1),
            format!("{GIVEN}-more"),
            format!("{}x", GIVEN.replacen("00", "cc", 1)),
            GIVEN.replace('-', "_"),
            GIVEN.replace("4b", "+b"),
            GIVEN.replace("4bf9", "é9"),
            zeros(&GIVEN[3..35]),
            zeros(&GIVEN[36..52]),
        ];
        for text in none {
            assert_eq!(text.parse::<Traceparent>(), Err(NoTraceparent), "{text}");
        }
    }
}
