//! Server-sent events, the part of the WHATWG text that our own streams use: `data:` lines, a blank line ends an event.

/// Takes bytes as they arrive, gives whole events.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    rest: Vec<u8>,
    data: String,
}

/// Most bytes of one unfinished line; a longer one is a broken server.
const LINE_BYTES_MAX: usize = 1 << 20;

/// The stream is not one of ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LineTooLong;

impl std::fmt::Display for LineTooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the event stream has a line longer than {LINE_BYTES_MAX} bytes")
    }
}

impl std::error::Error for LineTooLong {}

impl Decoder {
    /// The data of each event that `bytes` completes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, LineTooLong> {
        self.rest.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                if !self.data.is_empty() {
                    events.push(std::mem::take(&mut self.data));
                }
            } else if let Some(data) = line.strip_prefix("data:") {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            }
        }
        if self.rest.len() > LINE_BYTES_MAX {
            return Err(LineTooLong);
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_the_bytes_are_cut() {
        let stream = b": hello\n\nid: 1\nevent: progress\ndata: {\"a\":1}\n\ndata: x\r\ndata: y\r\n\r\ndata: cut";
        for size in 1..stream.len() {
            let mut decoder = Decoder::default();
            let events: Vec<String> = stream.chunks(size).flat_map(|chunk| decoder.push(chunk).unwrap()).collect();
            assert_eq!(events, ["{\"a\":1}", "x\ny"]);
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        assert_eq!(Decoder::default().push(&vec![b'x'; LINE_BYTES_MAX + 1]), Err(LineTooLong));
    }
}
